"""Answers that go on: server-sent events and lines, ended by who listens, by us, or by a revoke.

Something is sent at least every 15 s, so that a dead connection is noticed on both sides.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import StreamingResponse

from bus.log import LogError
from gateway.asking import still_valid
from gateway.ports import Services
from reconcilers.ports import EngineError

HEARTBEAT_SECONDS: Final = 15.0
EVENT_STREAM: Final = "text/event-stream"
LINES: Final = "application/x-ndjson"

log = structlog.get_logger("gateway")


def wants_events(request: Request) -> bool:
    return EVENT_STREAM in request.headers.get("accept", "")


def message(event: str, data: Any, position: int | None = None) -> bytes:
    """One server-sent event. JSON has no line breaks, so its data is one line."""
    head = b"id: %d\n" % position if position is not None else b""
    return head + b"event: %b\ndata: %b\n\n" % (event.encode(), msgspec.json.encode(data))


def line(data: Any) -> bytes:
    return msgspec.json.encode(data) + b"\n"


def respond_events(
    source: AsyncGenerator[bytes], request: Request, services: Services
) -> StreamingResponse:
    async def content() -> AsyncIterator[bytes]:
        yield b"retry: 1000\n\n"
        async for chunk in _guarded(source, request, services, b":\n\n"):
            yield chunk

    return StreamingResponse(
        content(), media_type=EVENT_STREAM, headers={"X-Accel-Buffering": "no"}
    )


def respond_lines(
    source: AsyncGenerator[bytes], request: Request, services: Services
) -> StreamingResponse:
    content = _guarded(source, request, services, b"\n")
    return StreamingResponse(content, media_type=LINES)


async def _guarded(
    source: AsyncGenerator[bytes], request: Request, services: Services, heartbeat: bytes
) -> AsyncIterator[bytes]:
    """What `source` yields, until it ends, the server closes, or the token is refused."""
    valid = still_valid(request)
    closing: asyncio.Future[Any] = asyncio.ensure_future(services.closing.wait())
    coming = asyncio.ensure_future(_next(source))
    try:
        while not services.closing.is_set():
            await asyncio.wait(
                (coming, closing),
                timeout=HEARTBEAT_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not valid():
                return
            if coming.done():
                chunk = coming.result()
                if chunk is None:
                    return
                yield chunk
                coming = asyncio.ensure_future(_next(source))
            elif not closing.done():
                yield heartbeat
    except (LogError, EngineError) as error:
        log.warning("a stream broke off", path=request.url.path, reason=str(error))
        yield (
            message("problem", {"error": str(error)})
            if heartbeat[:1] == b":"
            else line({"error": str(error)})
        )
    finally:
        closing.cancel()
        coming.cancel()
        await asyncio.wait({coming})
        await source.aclose()


async def _next(source: AsyncGenerator[bytes]) -> bytes | None:
    return await anext(source, None)
