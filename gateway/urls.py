"""The routes that show by which URLs apps are reached, and which of them a request would hit."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Annotated, Any, Final, final
from urllib.parse import urlsplit

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from domain import target as target_spec
from domain.access import READ, Actor, authorise
from domain.names import Ref, check_name
from domain.names import target as target_ref
from domain.refusals import BadValue
from domain.routing import Routing
from domain.url import as_asked_for, path_prefix, plain
from gateway import openapi, shapes
from gateway.asking import Freshness, actor_of, may_read, reply
from gateway.ports import Services
from gateway.routes import StrictRoute
from gateway.times import shown
from projections import route_matching
from projections.route_matching import Match, Passed
from projections.route_table import RouteTable, Row, Scheme, Share

ALL: Final = "/routes"
WHY: Final = "/routes/why"
MOST: Final = 1000  # characters of a URL, as of all headers of a question

Url = Annotated[
    str, Query(max_length=MOST, description="A URL; without its scheme, https if it has that.")
]
Headers = Annotated[
    str, Query(max_length=MOST, description="Headers of the request, one a line: `name: value`.")
]
TargetName = Annotated[str, Query(description="Of this target alone.")]


@final
class Urls:
    def __init__(self, services: Services, fresh: Freshness) -> None:
        self._services = services
        self._fresh = fresh
        self.router = APIRouter(route_class=StrictRoute, tags=["read"])
        for path, handler, model, summary in (
            (ALL, self._all, shapes.Routes, "By which URLs apps are reached, in order."),
            (WHY, self._why, shapes.RouteMatch, "Which row a request would hit, and why."),
        ):
            self.router.add_api_route(
                path,
                handler,
                methods=["GET"],
                operation_id=openapi.operation("GET", path),
                summary=summary,
                responses=openapi.answers(model),
                openapi_extra=openapi.reading(path),
            )

    async def _all(self, request: Request, project: str = "", target: TargetName = "") -> Response:
        if project:
            check_name(project, "query.project")
        actor = self._reader(request, target)
        await self._fresh.reached()
        items = [
            self._shown(actor, row)
            for _, table in self._tables(target)
            for row in table.rows
            if self._is_seen(actor, row) and project in ("", Ref.parse(row.app).project)
        ]
        return reply({"items": items})

    async def _why(
        self, request: Request, *, url: Url, headers: Headers = "", target: TargetName = ""
    ) -> Response:
        actor = self._reader(request, target)
        scheme, host, path = _asked(url)
        given = _headers(headers)
        await self._fresh.reached()
        there = {
            name: RouteTable(rows=rows)
            for name, table in self._tables(target)
            if (rows := tuple(row for row in table.rows if row.host == host))
        }
        if not scheme:
            every = chain.from_iterable(table.rows for table in there.values())
            scheme = "https" if any(row.scheme == "https" for row in every) else "http"
        asked = route_matching.Request(_SCHEMES[scheme], host, path, given)
        matches = {name: route_matching.match(table, asked) for name, table in there.items()}
        name = next((name for name, one in matches.items() if one.row), next(iter(matches), ""))
        found = matches.get(name) or route_matching.match(RouteTable(), asked)
        return reply(
            {
                "request": {
                    "scheme": scheme,
                    "host": host,
                    "path": path,
                    "headers": given,
                    "target": name,
                },
                "summary": _summary(found, host, known=bool(there)),
                "row": self._shown(actor, found.row) if found.row is not None else None,
                "passed": [
                    self._shown(actor, one.row) | {"why": one.why}
                    for one in (*found.passed, *_elsewhere(there, name))
                ],
            }
        )

    def _reader(self, request: Request, target: str) -> Actor:
        actor = actor_of(request)
        if target:
            authorise(actor, READ, target_ref(check_name(target, "query.target")))
        return actor

    def _tables(self, target: str) -> Iterator[tuple[str, RouteTable]]:
        tables = self._services.tables
        for name in [target] if target else tables.targets():
            yield name, tables.table(name)

    def _is_seen(self, actor: Actor, row: Row) -> bool:
        return may_read(actor, Ref.parse(row.app))

    def _shown(self, actor: Actor, row: Row) -> dict[str, Any]:
        """A row; an app that the actor may not see has no name."""
        return {
            "id": row.id,
            "target": row.target,
            "url": f"{row.scheme}://{row.host}{row.path}",
            "address": f"{row.scheme}://{row.host}{self._port(row)}{row.path}",
            "context": f"{row.context.name}: {row.context.value}" if row.context else "",
            "precedence": row.precedence,
            "app": row.app if self._is_seen(actor, row) else "",
            "port": row.shares[0].backend.port if row.shares else "",
            "fallback": [one for one in _apps(row.fallback) if may_read(actor, Ref.parse(one))],
            "mirror": self._mirrored(actor, row),
            "redirect": row.redirect,
            "stripPrefix": row.strip_prefix,
            "auth": row.auth,
            "tls": row.tls.mode if row.tls is not None else "off",
            "certificateEnds": self._certificate_ends(row),
            "status": self._status(row),
        }

    def _port(self, row: Row) -> str:
        """Where the router of the target listens, unless that goes without saying."""
        found = self._services.desired.resource(target_ref(row.target).stream)
        routing = target_spec.decode(found.spec).routing if found is not None else None
        port = (routing or Routing()).port_for(row.scheme)
        return "" if port == _USUAL[row.scheme] else f":{port}"

    def _mirrored(self, actor: Actor, row: Row) -> dict[str, Any] | None:
        """Who gets copies of its requests; an app that the actor may not see has no name."""
        if row.mirror is None:
            return None
        stream = row.mirror.backend.app
        seen = may_read(actor, Ref.parse(stream))
        return {"app": stream if seen else "", "percent": row.mirror.percent}

    def _certificate_ends(self, row: Row) -> str | None:
        status = self._services.status.get(row.app) if row.tls is not None else None
        return shown(status.certificates.get(row.host)) if status is not None else None

    def _status(self, row: Row) -> str:
        status = self._services.status.get(row.app)
        found = status.condition("Routed") if status is not None else None
        return found.reason if found is not None else "NotObserved"


_USUAL: Final[Mapping[Scheme, int]] = {"http": 80, "https": 443}
_SCHEMES: Final[Mapping[str, Scheme]] = {"http": "http", "https": "https"}


def _apps(shares: tuple[Share, ...]) -> dict[str, None]:
    return dict.fromkeys(share.backend.app for share in shares)


def _elsewhere(there: Mapping[str, RouteTable], name: str) -> Iterator[Passed]:
    """The rows of the host on targets to whose routers the request does not come."""
    for other, table in there.items():
        if other != name:
            why = f"it is on target {other}, and this is what the router of target {name} does"
            yield from (Passed(row, why) for row in table.rows)


def _asked(url: str) -> tuple[str, str, str]:
    """The scheme (or nothing), host and path of a URL as people write it."""
    text = url if "://" in url else f"//{url}"
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError as error:
        raise BadValue("query.url", url, f"it is no URL: {error}") from None
    if parts.scheme not in ("", *_SCHEMES) or not host:
        raise BadValue(
            "query.url", url, "write it as https://shop.example.org/api, or without https://"
        )
    try:
        return parts.scheme, as_asked_for(host), path_prefix(plain(parts.path or "/"))
    except ValueError as error:
        raise BadValue("query.url", url, str(error)) from None


def _headers(lines: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for line in lines.splitlines():
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise BadValue("query.headers", line, "write each header as `name: value`")
        given[name.strip().lower()] = value.strip()
    return given


def _summary(found: Match, host: str, *, known: bool) -> str:
    row = found.row
    if row is None:
        why = "no row fits" if known else f"no app has a route on {host}"
        return f"404: {why}"
    if row.redirect:
        return f"a redirect to https://{row.host} with the same path"
    header = f", for {row.context.name} is {row.context.value}" if row.context else ""
    return f"{row.scheme}://{row.host}{row.path}{header}: precedence {row.precedence}"
