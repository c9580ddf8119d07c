"""A web application that speaks for long: `/socket` is a WebSocket, `/stream` an endless answer.

Everything says what the variable GREETING is: the WebSocket to each message, the stream all the
time.
"""

import asyncio
import os
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

GREETING = os.environ.get("GREETING", "hello")


async def greet(_request: Request) -> PlainTextResponse:
    return PlainTextResponse(GREETING)


async def stream(_request: Request) -> StreamingResponse:
    async def without_end() -> AsyncIterator[str]:
        while True:
            yield f"{GREETING}\n"
            await asyncio.sleep(0.02)

    return StreamingResponse(without_end(), media_type="text/plain")


async def converse(socket: WebSocket) -> None:
    await socket.accept()
    async for _ in socket.iter_text():
        await socket.send_text(GREETING)


ROUTES = [
    Route("/", greet),
    Route("/healthz", greet),
    Route("/stream", stream),
    WebSocketRoute("/socket", converse),
]

if __name__ == "__main__":
    uvicorn.run(Starlette(routes=ROUTES), port=int(os.environ["PORT"]), log_level="warning")
