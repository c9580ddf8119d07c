"""The routes that tell what happened and why: events, history, revisions, why."""

from collections.abc import AsyncGenerator, Callable
from typing import Annotated, Any, Final, final

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from bus import codec
from bus.log import StoredEvent
from domain import events as e
from domain.access import READ, authorise
from domain.names import Ref, check_name, status_stream
from domain.refusals import BadValue, NotFound
from gateway import chronicle, openapi, shapes, streams
from gateway.asking import Freshness, actor_of, ref_in, reply
from gateway.chronicle import Filter, Found
from gateway.past import Past
from gateway.ports import Services
from gateway.routes import ITEM_PATHS, StrictRoute
from gateway.telling import Told, sentence_of, tell
from gateway.views import app_status

After = Annotated[int | None, Query(ge=0, le=2**53, description="A position.")]
Limit = Annotated[int, Query(ge=1, le=1000)]
Last = Annotated[int | None, Query(ge=1, le=1000, description="The newest N instead.")]
AsOf = Annotated[
    str, Query(alias="asOf", description="As it was known at a position, a time, or 5m ago.")
]

_APP: Final = ITEM_PATHS["App"]
_LAST_EVENT_ID: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": "^[0-9]{1,15}$"},
}


@final
class Stories:
    def __init__(self, services: Services, fresh: Freshness, past: Past) -> None:
        self._services = services
        self._fresh = fresh
        self._past = past
        self.router = APIRouter(route_class=StrictRoute, tags=["events"])
        self._offer("/events", self._events, shapes.EventPage, "What happened, or happens.")
        self._offer(f"{_APP}/events", self._of_app, shapes.EventPage, "What happened to an App.")
        self._offer(f"{_APP}/history", self._history, shapes.EventPage, "What was asked of an App.")
        self._offer(f"{_APP}/revisions", self._revisions, shapes.Revisions, "An App's revisions.")
        self._offer(f"{_APP}/why", self._why, shapes.Why, "Why an App is as it is.")

    def _offer(
        self, path: str, handler: Callable[..., Any], model: type[BaseModel], summary: str
    ) -> None:
        streams_too = path.endswith("/events")
        extra = openapi.reading(path, *([_LAST_EVENT_ID] if streams_too else []))
        answers = (
            openapi.streamed(streams.EVENT_STREAM, model) if streams_too else openapi.answers(model)
        )
        self.router.add_api_route(
            path,
            handler,
            methods=["GET"],
            operation_id=openapi.operation("GET", path),
            summary=summary,
            responses=answers,
            openapi_extra=extra,
        )

    async def _events(  # noqa: PLR0913 -- one for each word of the query
        self,
        request: Request,
        *,
        after: After = None,
        limit: Limit = 100,
        last: Last = None,
        as_of: AsOf = "",
        project: str = "",
        resource: str = "",
        kind: Annotated[str, Query(alias="type", description="app.scaled, or a prefix: app.")] = "",
        bookkeeping: Annotated[bool, Query(alias="all", description="Bookkeeping, too.")] = False,
    ) -> Response:
        wanted = Filter(
            actor_of(request),
            project=project and check_name(project, "query.project"),
            resource=resource and Ref.parse(resource).stream,
            type=kind,
            bookkeeping=bookkeeping,
        )
        if wanted.resource:
            authorise(wanted.actor, READ, Ref.parse(wanted.resource))
        return await self._page_or_stream(request, wanted, after, limit, last, as_of)

    async def _of_app(
        self,
        request: Request,
        after: After = None,
        limit: Limit = 100,
        last: Last = None,
        as_of: AsOf = "",
    ) -> Response:
        wanted = Filter(actor_of(request), resource=(await self._known(request)).stream)
        return await self._page_or_stream(request, wanted, after, limit, last, as_of)

    async def _history(
        self,
        request: Request,
        after: After = None,
        limit: Limit = 100,
        last: Last = None,
        as_of: AsOf = "",
    ) -> Response:
        resource = (await self._known(request)).stream
        wanted = Filter(actor_of(request), resource=resource, transitions=False)
        return _paged(await self._found(wanted, after, limit, last, as_of))

    async def _known(self, request: Request) -> Ref:
        """The App of the path, which has existed at some time."""
        ref = ref_in(request, "App")
        authorise(actor_of(request), READ, ref)
        request.state.resource = ref.stream
        if not await self._services.log.stream(ref.stream):
            raise NotFound(ref, "`stateward get apps` lists those that do")
        return ref

    async def _page_or_stream(
        self,
        request: Request,
        wanted: Filter,
        after: int | None,
        limit: int,
        last: int | None,
        as_of: str,
    ) -> Response:
        if streams.wants_events(request):
            if as_of:
                raise BadValue("query.asOf", as_of, "a stream goes on with what is new; leave it")
            told = self._follow(request, wanted, after, last)
            return streams.respond_events(told, request, self._services)
        return _paged(await self._found(wanted, after, limit, last, as_of))

    async def _found(
        self, wanted: Filter, after: int | None, limit: int, last: int | None, as_of: str
    ) -> Found:
        if last is not None and after is not None:
            raise BadValue("query.last", last, "give `last` or `after`, not both")
        upto = await self._past.position(as_of) if as_of else None
        if last is None:
            return await chronicle.page(self._services.log, wanted, after or 0, limit, upto)
        return await chronicle.newest(self._services.log, wanted, last, upto)

    async def _follow(
        self, request: Request, wanted: Filter, after: int | None, last: int | None
    ) -> AsyncGenerator[bytes]:
        seen = request.headers.get("last-event-id", "")
        if seen.isdecimal() and len(seen) <= 15:
            start = int(seen)
        elif after is not None:
            start = after
        else:
            found = await chronicle.newest(self._services.log, wanted, last or 1)
            start = found.head
            for row in found.rows if last else ():
                yield _message(row)
        async for rows in self._services.log.tail(start):
            for row in rows:
                if wanted.wants(row):
                    yield _message(row)

    async def _revisions(self, request: Request, as_of: AsOf = "") -> Response:
        ref = await self._known(request)
        await self._fresh.reached()
        desired = await self._past.as_of(as_of) if as_of else self._services.desired
        app = desired.app(ref.stream)
        items: list[dict[str, Any]] = []
        for row in await self._services.log.stream(ref.stream):
            if as_of and row.position > desired.position:
                break
            event = _decoded(row)
            if isinstance(event, e.AppImageResolved) and items:
                items[-1]["image"] = event.image
            elif isinstance(event, e.AppEvent) and row.type in e.REVISING:
                items.append(_revision(row, event))
        for item in items:
            item["current"] = app is not None and item["revision"] == app.revision
            item["stable"] = app is not None and item["revision"] == app.stable
        return reply({"items": items})

    async def _why(
        self, request: Request, limit: Annotated[int, Query(ge=1, le=100)] = 10
    ) -> Response:
        ref = await self._known(request)
        await self._fresh.reached()
        intents = {row.position: row for row in await self._services.log.stream(ref.stream)}
        rows = (await self._services.log.stream(status_stream(ref)))[-limit:]
        items: list[Told] = []
        for row in rows:
            told = tell(row)
            cause = str(told["cause"])
            asked = intents.get(int(cause)) if cause.isdecimal() else None
            items.append({**told, "because": tell(asked) if asked else None})
        return reply({"resource": ref.stream, "summary": self._summary(ref), "items": items})

    def _summary(self, ref: Ref) -> str:
        """What its conditions say now, in one line."""
        desired, stream = self._services.desired, ref.stream
        app = desired.app(stream)
        if app is None and stream not in desired.frozen:
            return f"{ref} is deleted"
        now = self._services.now()
        status = app_status(self._services.status.get(stream), app, desired.frozen.get(stream), now)
        said = [c for c in status["conditions"] if c["type"] == "Ready" or c["status"] == "True"]
        return "; ".join(f"{c['type']} {c['status']} ({c['reason']}): {c['message']}" for c in said)


def _decoded(row: StoredEvent) -> e.Event | None:
    try:
        return codec.decode(row.type, row.data)
    except codec.Undecodable:
        return None


def _revision(row: StoredEvent, event: e.AppEvent) -> dict[str, Any]:
    return {
        "revision": event.revision,
        "position": row.position,
        "at": event.at,
        "actor": event.actor,
        "type": row.type,
        "image": event.image,
        "digest": event.digest,
        "sentence": sentence_of(event),
        "current": False,
        "stable": False,
        "spec": event.spec,
    }


def _message(row: StoredEvent) -> bytes:
    return streams.message(row.type, tell(row), row.position)


def _paged(found: Found) -> Response:
    items = [tell(row) for row in found.rows]
    return reply({"items": items, "next": found.next, "head": found.head})
