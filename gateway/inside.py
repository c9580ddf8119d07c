"""The routes that look into an App's replicas: its logs, a command beside it, the plan."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Annotated, Any, Final, final

import structlog
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from domain.access import READ
from domain.refusals import BadValue, NotPossible
from gateway import openapi, shapes, streams, times
from gateway.asking import Freshness, actor_of, reply
from gateway.ports import Services
from gateway.problems import Trouble
from gateway.replicas import choose, known, ready_one
from gateway.routes import ITEM_PATHS, StrictRoute
from reconcilers.ports import EngineError, LogLine, Replica, StartFailed

_APP: Final = ITEM_PATHS["App"]
DEFAULT_TAIL: Final = 100
WAITING_LINES: Final = 1000  # between the replicas and a reader who is slower than they

log = structlog.get_logger("gateway")


@final
class Inside:
    def __init__(self, services: Services, fresh: Freshness) -> None:
        self._services = services
        self._fresh = fresh
        self.router = router = APIRouter(route_class=StrictRoute, tags=["replicas"])
        router.add_api_route(
            f"{_APP}/logs",
            self._logs,
            methods=["GET"],
            operation_id="get_logs",
            summary="What an App's replicas wrote, or write.",
            responses=openapi.streamed(streams.LINES),
            openapi_extra=openapi.reading(f"{_APP}/logs"),
        )
        router.add_api_route(
            f"{_APP}/exec",
            self._exec,
            methods=["POST"],
            operation_id="post_exec",
            summary="Run a command beside a replica's own; as a WebSocket, talk with it.",
            responses=openapi.answers(shapes.ExecAnswer),
            openapi_extra=openapi.reading(f"{_APP}/exec"),
        )
        router.add_api_route(
            f"{_APP}/plan",
            self._plan,
            methods=["GET"],
            operation_id="get_plan",
            summary="What the reconciler would do now.",
            responses=openapi.answers(shapes.Plan),
            openapi_extra=openapi.reading(f"{_APP}/plan"),
        )

    async def _plan(self, request: Request) -> Response:
        ref = await known(self._services, self._fresh, request, READ)
        actions = await self._services.explain_plan(ref.stream)
        position = self._services.desired.position
        return reply({"resource": ref.stream, "position": position, "actions": list(actions)})

    async def _logs(
        self,
        request: Request,
        *,
        tail: Annotated[str, Query(description="Lines of each replica, or `all`.")] = "100",
        since: Annotated[str, Query(description="A time, or a duration ago.")] = "",
        follow: bool = False,
        replica: Annotated[str, Query(description="A slot or a name.")] = "",
        previous: Annotated[bool, Query(description="Exited ones, too.")] = False,
    ) -> Response:
        ref = await known(self._services, self._fresh, request, READ)
        if tail != "all" and not (tail.isdecimal() and len(tail) <= 9):
            raise BadValue("query.tail", tail, "write a number of lines, or `all`")
        count = None if tail == "all" else int(tail)
        start = times.read(since, "query.since", self._services.now()) if since else None
        io, replicas = await self._services.io(ref.stream)
        chosen = choose(self._services, ref, replicas, replica, previous=previous)
        sources = [
            self._lines(io.logs(one, tail=count, since=start, follow=follow), one) for one in chosen
        ]
        merged = _together(sources) if follow else _by_time(sources)
        return streams.respond_lines(merged, request, self._services)

    async def _exec(self, request: Request, body: shapes.ExecRequest) -> Response:
        ref = await known(self._services, self._fresh, request, "exec")
        io, replicas = await self._services.io(ref.stream)
        one = ready_one(self._services, ref, replicas, body.replica)
        name = one.shown(self._services.installation)
        actor = actor_of(request).name
        log.info("exec", actor=actor, resource=ref.stream, replica=name, program=body.argv[0])
        try:
            result = await io.run(one, body.argv, timeout_seconds=body.timeout_seconds)
        except TimeoutError as error:
            limit = f"{body.timeout_seconds:g} s"
            detail = f"{body.argv[0]!r} ran longer than {limit}; its end is not waited for"
            raise Trouble(504, "TimedOut", detail) from error
        except StartFailed as error:
            raise NotPossible(str(error)) from error
        return reply(
            {
                "replica": name,
                "exitCode": result.exit_code,
                "stdout": result.stdout.decode(errors="replace"),
                "stderr": result.stderr.decode(errors="replace"),
            }
        )

    async def _lines(
        self, source: AsyncIterator[LogLine], replica: Replica
    ) -> AsyncIterator[tuple[float, bytes]]:
        name = replica.shown(self._services.installation)
        async for at, stream, text in source:
            told: dict[str, Any] = {
                "at": times.shown(at),
                "replica": name,
                "slot": replica.name.slot,
                "stream": stream,
                "text": text.decode(errors="replace").rstrip("\r\n"),
            }
            yield at, streams.line(told)


async def _by_time(sources: Sequence[AsyncIterator[tuple[float, bytes]]]) -> AsyncGenerator[bytes]:
    """The lines of all sources, which end, oldest first."""
    waiting: list[tuple[float, int, bytes]] = []
    for number, source in enumerate(sources):
        await _pull(waiting, number, source)
    while waiting:
        _, number, text = waiting.pop(waiting.index(min(waiting)))
        yield text
        await _pull(waiting, number, sources[number])


async def _pull(
    waiting: list[tuple[float, int, bytes]],
    number: int,
    source: AsyncIterator[tuple[float, bytes]],
) -> None:
    found = await anext(source, None)
    if found is not None:
        waiting.append((found[0], number, found[1]))


async def _together(sources: Sequence[AsyncIterator[tuple[float, bytes]]]) -> AsyncGenerator[bytes]:
    """The lines of all sources as they come, until all have ended."""
    lines: asyncio.Queue[bytes | EngineError | None] = asyncio.Queue(WAITING_LINES)

    async def pump(source: AsyncIterator[tuple[float, bytes]]) -> None:
        try:
            async for _, text in source:
                await lines.put(text)
        except EngineError as error:
            await lines.put(error)
        await lines.put(None)

    pumps = [asyncio.create_task(pump(source)) for source in sources]
    try:
        ended = 0
        while ended < len(pumps):
            found = await lines.get()
            if found is None:
                ended += 1
            elif isinstance(found, EngineError):
                yield streams.line({"error": str(found)})
            else:
                yield found
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
