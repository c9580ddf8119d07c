"""The command line in this process, against a gateway that really listens, on a port of its own."""

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, final

import msgspec
import structlog.testing
from typer.testing import CliRunner, Result

from gateway.server import serve
from reconcilers.status import AppStatus, Condition, ReplicaStatus
from stateward.cli.app import app
from stateward.cli.session import Session
from tests.support.gateway import House
from tests.support.intents import NOON
from tests.support.surroundings import surroundings

type Claims = dict[str, tuple[str, str, str]]
SETTLED: Claims = {
    "Ready": ("True", "AllReplicasReady", "all replicas are ready"),
    "Progressing": ("False", "Complete", "the revision is rolled out"),
    "Degraded": ("False", "AsExpected", "nothing is wrong"),
    "Paused": ("False", "NotPaused", "changes are rolled out"),
}


@final
class CommandLine:
    """Runs commands as one user with a home of their own, who has the token of `house`."""

    def __init__(self, home: Path, house: House, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self.home = home
        self.house = house
        self.url = url
        self._loop = loop
        self.variables = {
            "STATEWARD_SERVER": url,
            "STATEWARD_TOKEN": house.admin,
            "STATEWARD_PROJECT": "shop",
        }

    def run(self, *words: str, given: str = "") -> Result:
        """Run one command line; `given` is its standard input."""

        def opened(**chosen: str) -> Session:
            return Session(
                surroundings(self.home, **self.variables),
                context=chosen["context"],
                server=chosen["server"],
                now=self.now,
            )

        return CliRunner().invoke(app, list(words), input=given, obj=opened, prog_name="stateward")

    def ok(self, *words: str, given: str = "") -> str:
        """The output of a command that has to succeed."""
        result = self.run(*words, given=given)
        assert result.exit_code == 0, f"{words}: {result.exit_code}: {result.output}"
        return result.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.ok(*words, "-o", "json"))

    def fails(self, *words: str, code: int = 1, given: str = "") -> str:
        """What a command that has to fail says."""
        result = self.run(*words, given=given)
        assert result.exit_code == code, f"{words}: {result.exit_code}: {result.output}"
        assert "Traceback" not in result.output
        return result.stderr

    def now(self) -> datetime:
        return NOON + timedelta(seconds=60)

    def do[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def write(self, name: str, text: str) -> str:
        """A file in the home; returns its path."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    def publish(self, name: str, claims: Claims | None = None, **changes: Any) -> None:
        """A status as the app's worker would publish it: settled unless it claims otherwise."""
        self.do(self._publish(name, {**SETTLED, **(claims or {})}, changes))

    async def _publish(self, name: str, claims: Claims, changes: dict[str, Any]) -> None:
        stream = f"App/shop/{name}"
        await self.house.catch_up(0)
        desired = self.house.desired.app(stream)
        assert desired is not None
        since = NOON.timestamp()
        status = AppStatus(
            uid=desired.uid,
            observed_generation=desired.generation,
            observed_at=since + 59,
            revision=desired.revision,
            serving=desired.revision,
            wanted=desired.wanted,
            ready=desired.wanted,
            updated=desired.wanted,
            conditions=tuple(
                Condition(
                    type=kind,
                    status=value,  # type: ignore[arg-type]  # a test may claim anything
                    reason=reason,
                    message=message,
                    last_transition_time=since,
                )
                for kind, (value, reason, message) in claims.items()
            ),
            replicas=tuple(
                ReplicaStatus(
                    name=f"web.r{desired.revision}.{slot}.1",
                    revision=desired.revision,
                    slot=slot,
                    attempt=1,
                    state="running",
                    ready=True,
                    started_at=since,
                    addresses={"http": f"127.0.0.1:{31337 + slot}"},
                )
                for slot in range(desired.wanted)
            ),
        )
        self.house.status.put(stream, msgspec.structs.replace(status, **changes))


@contextmanager
def command_line(home: Path) -> Iterator[CommandLine]:
    """A command line with a gateway that listens while the context lasts."""
    with structlog.testing.capture_logs():  # the gateway's own, which would mix with answers
        yield from _command_line(home)


def _command_line(home: Path) -> Iterator[CommandLine]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="gateway")
    thread.start()

    async def opened() -> tuple[House, Any, str]:
        house = House(home)
        await house.furnish()
        serving = serve(house.app, "127.0.0.1", 0, closing=house.services.closing)
        found = await serving.__aenter__()
        return house, serving, found.url

    async def closed(serving: Any) -> None:
        await serving.__aexit__(None, None, None)
        await loop.shutdown_asyncgens()
        await loop.shutdown_default_executor()

    try:
        house, serving, url = asyncio.run_coroutine_threadsafe(opened(), loop).result(20)
        try:
            yield CommandLine(home, house, url, loop)
        finally:
            asyncio.run_coroutine_threadsafe(closed(serving), loop).result(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()
