"""What is answered before there is a log: 503 with the reason, so that it looks like no crash."""

from typing import Final, final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from bus.log import LogUnavailable
from gateway import problems

_METHODS: Final = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@final
class Waiting:
    """`reason` is why there is no log yet; set it anew after each attempt."""

    def __init__(self, reason: LogUnavailable) -> None:
        self.reason = reason

    def build(self) -> FastAPI:
        """The application that answers meanwhile: alive, and ready for nothing."""
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        app.add_api_route("/livez", self._live, methods=["GET"])
        app.add_api_route("/{path:path}", self._later, methods=_METHODS)
        return app

    async def _live(self) -> Response:
        return PlainTextResponse("ok\n")

    async def _later(self, _request: Request) -> Response:
        return problems.of_error(self.reason)
