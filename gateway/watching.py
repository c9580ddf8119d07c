"""Apps as they change, for those who watch: all of them first, then each change.

A change is another generation or another published status; looking is cheap, because both are
compared by identity and nothing is built for an app that stayed the same.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Final, final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway import streams
from gateway.ports import Services
from gateway.views import Entry, Sight, entries, view

LOOK_SECONDS: Final = 0.25

type Wanted = Callable[[Entry], bool]


@final
class Watching:
    def __init__(self, services: Services) -> None:
        self._services = services

    def respond(self, request: Request, wanted: Wanted) -> Response:
        return streams.respond_events(self._changes(wanted), request, self._services)

    async def _changes(self, wanted: Wanted) -> AsyncGenerator[bytes]:
        shown: dict[str, tuple[object, ...]] = {}
        synced = False
        while True:
            for chunk in self._look(wanted, shown):
                yield chunk
            if not synced:
                synced = True
                yield streams.message("synced", {"position": self._services.desired.position})
            await asyncio.sleep(LOOK_SECONDS)

    def _look(self, wanted: Wanted, shown: dict[str, tuple[object, ...]]) -> list[bytes]:
        """What changed since `shown`, which is brought up to date."""
        sight = Sight(self._services.desired, self._services.status, self._services.now())
        present: dict[str, tuple[object, ...]] = {}
        chunks: list[bytes] = []
        for entry in entries(sight.desired, "App"):
            if not wanted(entry):
                continue
            stream = entry.ref.stream
            present[stream] = self._mark(entry)
            if shown.get(stream) != present[stream]:
                chunks.append(streams.message("app", view(sight, entry)))
        chunks += [
            streams.message("gone", {"resource": stream})
            for stream in shown.keys() - present.keys()
        ]
        shown.clear()
        shown.update(present)
        return chunks

    def _mark(self, entry: Entry) -> tuple[object, ...]:
        stream = entry.ref.stream
        status = self._services.status.get(stream)
        app = self._services.desired.app(stream)
        seen = msgspec.structs.replace(status, observed_at=0.0) if status else None
        place = (app.position, app.stable) if app else type(entry.found).__name__
        return (place, seen, stream in self._services.desired.frozen)
