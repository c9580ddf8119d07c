"""From a row of the table to a route of Caddy: what fits it, and what then happens."""

import re
from typing import Any, Final
from urllib.parse import unquote

from adapters.caddy import pools
from adapters.caddy.auth import checks, spellings
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
_WILD: Final = frozenset("*{}")  # mean something to Caddy inside the value of a header


def routes(rows: tuple[Row, ...], scheme: str, site: Site) -> list[JSON]:
    """The routes of one server in the order of the table, and after all the one for the rest."""
    return [
        *(_route(row, site) for row in rows if row.scheme == scheme),
        {"handle": [page(404, NO_ROUTE)]},
    ]


def _route(row: Row, site: Site) -> JSON:
    handlers = [_redirect(site)] if row.redirect else _answer(row, site)
    return {"@id": _plain(row.id), "match": [_match(row)], "handle": handlers, "terminal": True}


def _plain(text: str) -> str:
    """An id without what an older Caddy trips over: it cuts ids out by an expression."""
    return re.sub(r"[^\w./:#@-]", "_", text)


def _match(row: Row) -> JSON:
    """All of it must fit. Paths by expression: Caddy's own matcher takes `/API` for `/api`.

    It looks at a path without its escapes.
    """
    match: JSON = {"host": [row.host]}
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
    handlers = [_headers(row, site), *checks(row.auth, site)]
    if row.strip_prefix and row.path != "/":
        handlers.append({"handler": "rewrite"} | _strip(row.path))
    return [*handlers, _proxy(row, site)]


def _strip(path: str) -> JSON:
    """By prefix, which takes a client's escapes for what they stand for.

    A prefix that has escapes itself Caddy would leave in the request for nothing but it.
    """
    if "%" not in path:
        return {"strip_path_prefix": path}
    return {"path_regexp": [{"find": f"(?i)^{re.escape(path)}/?", "replace": "/"}]}


def _headers(row: Row, site: Site) -> JSON:
    request: JSON = {"delete": spellings(site.identity_header)}
    if row.request_headers:
        request["set"] = _set(row.request_headers)
    handler: JSON = {"handler": "headers", "request": request}
    if row.response_headers:
        handler["response"] = {"deferred": True, "set": _set(row.response_headers)}
    return handler


def _set(headers: tuple[Header, ...]) -> dict[str, list[str]]:
    return {name: [_literal(value)] for name, value in headers}


def _literal(text: str) -> str:
    """Text that Caddy does not search for placeholders."""
    return text.replace("{", r"\{").replace("}", r"\}")


def _proxy(row: Row, site: Site) -> JSON:
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
    if row.h2c:
        transport["versions"] = ["h2c", "2"]
    proxy: JSON = {
        "handler": "reverse_proxy",
        "transport": transport,
        "dynamic_upstreams": {
            "source": "srv",
            "name": f"{pools.name(pools.pool(row))}.",
            "refresh": f"{round(site.refresh * 1000)}ms",
            "resolver": resolver,
        },
        "load_balancing": {
            "selection_policy": {"policy": "round_robin"},
            "try_duration": f"{_TRY_SECONDS:g}s",
            "try_interval": _TRY_INTERVAL,
        },
    }
    if site.closes_streams_late:
        proxy["stream_close_delay"] = f"{site.drain:g}s"
    return proxy
