"""From rows of the table to routes of Caddy: what fits a request, and what then happens.

Hosts are names without a wildcard, so rows of two never fit one request: each host has one route,
with its rows in order below it. Caddy asks one route after the other, those behind the one that
fits as well, so many hosts stand in blocks. A row only says which pool; the two proxies behind all
of them, for HTTP/1.1 and for HTTP/2 without TLS, ask where that is. So a route is small, and
thousands of them are loaded in a moment.
"""

import re
from collections.abc import Iterable
from math import isqrt
from typing import Any, Final
from urllib.parse import unquote

from adapters.caddy import contexts, pools
from adapters.caddy.auth import checks, own_connection, unheard
from adapters.caddy.pages import NO_ROUTE, page
from adapters.caddy.site import Site, port_of
from projections.route_table import Header, Row

JSON = dict[str, Any]

HTTPS: Final = 443
_TRY_SECONDS: Final = 2.0  # that a request waits for a replica that takes its connection
_TRY_INTERVAL: Final = "50ms"
_DIAL_TIMEOUT: Final = "1s"
_IDLE_TIMEOUT: Final = "1s"  # shorter than any server's own: gunicorn's is 2 s, uvicorn's 5 s
_IDLE_PER_HOST: Final = 256
_FEW_HOSTS: Final = 16
_MOST_OF_BLOCK: Final = 100
_WILD: Final = frozenset("*{}")  # mean something to Caddy inside the value of a header
_PROXY: Final = "stateward_proxy"  # a variable of a request that found its row


def routes(rows: Iterable[Row], scheme: str, site: Site) -> list[JSON]:
    """The routes of one server; within a host in the order of the table."""
    of_host: dict[str, list[Row]] = {}
    for row in rows:
        if row.scheme == scheme:
            of_host.setdefault(row.host, []).append(row)
    return [
        {"handle": [{"handler": "headers", "request": {"delete": unheard(site.identity_header)}}]},
        own_connection(),
        *_blocks([_host(scheme, host, found, site) for host, found in of_host.items()]),
        *(contexts.route(header, site.contexts) for header in site.context_headers),
        _proxy("http", site),
        _proxy("h2c", site),
        {"handle": [page(404, NO_ROUTE)]},
    ]


def _blocks(hosts: list[JSON]) -> list[JSON]:
    """Routes of hosts, or of blocks of them.

    Of more than a hundred names in one match, Caddy 2.6 takes only those in small letters for the
    same.
    """
    if len(hosts) <= _FEW_HOSTS:
        return hosts
    size = min(isqrt(len(hosts)), _MOST_OF_BLOCK)
    blocks = [hosts[at : at + size] for at in range(0, len(hosts), size)]
    return [
        {
            "match": [{"host": [host for route in block for host in route["match"][0]["host"]]}],
            "group": "blocks",
            "handle": [{"handler": "subroute", "routes": block}],
        }
        for block in blocks
    ]


def _host(scheme: str, host: str, rows: list[Row], site: Site) -> JSON:
    """The first row that fits has the request, and the others of its group do not.

    Caddy reads what is below a route once more for each level, so a row alone is the route.
    """
    if len(rows) == 1:
        return _route(rows[0], site, "hosts", {"host": [host]})
    below = {"handler": "subroute", "routes": [_route(row, site, "rows", {}) for row in rows]}
    match = [{"host": [host]}]
    return {
        "@id": _plain(f"{scheme}://{host}"),
        "match": match,
        "group": "hosts",
        "handle": [below],
    }


def _route(row: Row, site: Site, group: str, match: JSON) -> JSON:
    route: JSON = {"@id": _plain(row.id), "group": group}
    if match := match | _match(row):
        route["match"] = [match]
    return route | {"handle": [_redirect(site)] if row.redirect else _answer(row, site)}


def _plain(text: str) -> str:
    """An id without what an older Caddy trips over: it cuts ids out by an expression."""
    return re.sub(r"[^\w./:#@-]", "_", text)


def _match(row: Row) -> JSON:
    """All of it must fit. Paths by expression: Caddy's own matcher takes `/API` for `/api`.

    It looks at a path without its escapes.
    """
    match: JSON = {}
    if row.path != "/":
        match["path_regexp"] = {"pattern": f"^{re.escape(unquote(row.path))}(/|$)"}
    if row.context is not None:
        match |= _carries(row.context)
    return match


def _carries(context: Header) -> JSON:
    if _WILD.isdisjoint(context.value):
        return {"header": {context.name: [context.value]}}
    pattern = f"^{re.escape(context.value)}$"
    return {"header_regexp": {context.name: {"pattern": pattern}}}


def _redirect(site: Site) -> JSON:
    port = port_of(site.https[0]) if site.https else HTTPS
    where = "{http.request.host}" if port == HTTPS else f"{{http.request.host}}:{port}"
    return {
        "handler": "static_response",
        "status_code": 308,
        "headers": {"Location": [f"https://{where}{{http.request.uri}}"]},
    }


def _answer(row: Row, site: Site) -> list[JSON]:
    handlers = [*checks(row, site), *_headers(row)]
    if row.strip_prefix and row.path != "/":
        handlers.append({"handler": "rewrite"} | _strip(row.path))
    pool = f"{pools.name(pools.pool(row))}."
    told = {
        contexts.POOL: pool,
        contexts.ROW: contexts.mark(row),
        _PROXY: "h2c" if row.h2c else "http",
    }
    return [*handlers, {"handler": "vars"} | told]


def _strip(path: str) -> JSON:
    """By prefix, which takes a client's escapes for what they stand for.

    A prefix that has escapes itself Caddy would leave in the request for nothing but it.
    """
    if "%" not in path:
        return {"strip_path_prefix": path}
    return {"path_regexp": [{"find": f"(?i)^{re.escape(path)}/?", "replace": "/"}]}


def _headers(row: Row) -> list[JSON]:
    handler: JSON = {}
    if row.request_headers:
        handler["request"] = {"set": _set(row.request_headers)}
    if row.response_headers:
        handler["response"] = {"deferred": True, "set": _set(row.response_headers)}
    return [{"handler": "headers"} | handler] if handler else []


def _set(headers: tuple[Header, ...]) -> dict[str, list[str]]:
    return {name: [_literal(value)] for name, value in headers}


def _literal(text: str) -> str:
    """Text that Caddy does not search for placeholders."""
    return text.replace("{", r"\{").replace("}", r"\}")


def _proxy(kind: str, site: Site) -> JSON:
    """To where the resolvers say. Never `flush_interval: -1`: a change of routes would cut it."""
    resolver = {"addresses": [f"udp/127.0.0.1:{site.inner_port}"]}
    transport: JSON = {
        "protocol": "http",
        "resolver": resolver,
        "dial_timeout": _DIAL_TIMEOUT,
        "keep_alive": {
            "enabled": True,
            "idle_timeout": _IDLE_TIMEOUT,
            "max_idle_conns_per_host": _IDLE_PER_HOST,
        },
    }
    if kind == "h2c":
        transport["versions"] = ["h2c", "2"]
    proxy: JSON = {
        "handler": "reverse_proxy",
        "transport": transport,
        "dynamic_upstreams": {
            "source": "srv",
            "name": f"{{http.vars.{contexts.POOL}}}",
            "refresh": f"{round(site.refresh * 1000)}ms",
            "resolver": resolver,
        },
        "load_balancing": {  # in turns, all pools would share one turn
            "selection_policy": {"policy": "random"},
            "try_duration": f"{_TRY_SECONDS:g}s",
            "try_interval": _TRY_INTERVAL,
        },
    }
    if site.closes_streams_late:
        proxy["stream_close_delay"] = f"{site.drain:g}s"
    return {"match": [{"vars": {_PROXY: [kind]}}], "handle": [proxy], "terminal": True}
