"""The server in a process of its own, for measurements: what it costs is not ours.

`with apart() as cluster:` starts it. Orders and answers are lines of JSON over its pipes.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.support.kubernetes.pod_facts import image_of
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.server import KubernetesServer
from tests.support.kubernetes.store import Change, Place

LOOK_SECONDS = 0.005  # a wait for the next change could miss the last one
_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


class Apart:
    """A running server. Each method waits for its answer; call those that take long in a thread."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.url = str(self._answer())

    def pause(self, *, paused: bool) -> None:
        """Let controllers do nothing, or go on."""
        self._ask("pause", paused)

    def writes(self) -> int:
        """How many requests have changed, or could have changed, anything."""
        return int(self._ask("writes", None))

    def stored(self, count: int) -> float:
        """Wait until so many objects are stored that were sent; when, by `time.monotonic`."""
        return float(self._ask("stored", count))

    def running(self, image: str) -> float:
        """Wait until a Deployment names this image; when that was stored."""
        return float(self._ask("running", image))

    def fill(self, body: Object, count: int) -> None:
        """Store copies of a Deployment, as a server would have them."""
        self._ask("fill", [body, count])

    def _ask(self, order: str, what: object) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([order, what]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@contextmanager
def apart() -> Iterator[Apart]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.kubernetes.apart"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path.cwd(),
    )
    try:
        yield Apart(process)
    finally:
        process.terminate()
        process.communicate(timeout=30)


class _Serving:
    def __init__(self, server: KubernetesServer) -> None:
        self._server = server
        self._changes: deque[Change] = deque()
        self._sent: set[Place] = set()
        self._last = 0.0  # when the last of them came
        self._images: dict[str, float] = {}
        server.store.followers.append(self._changes)

    async def note(self) -> None:
        while True:
            await self._server.store.changed()
            now = time.monotonic()
            while self._changes:
                change = self._changes.popleft()
                self._note(change, now)

    def _note(self, change: Change, now: float) -> None:
        managers = change.last.metadata.get("managedFields") or ()
        is_sent = any(one.get("operation") == "Apply" for one in managers)
        if is_sent and change.place not in self._sent:
            self._sent.add(change.place)
            self._last = now
        if is_sent and change.place.plural == "deployments":
            self._images.setdefault(image_of(change.last.object["spec"]["template"]), now)

    async def obey(self, order: str, what: Any) -> object:
        server = self._server
        match order:
            case "pause":
                server.workloads.paused = what
                server.store.wake()
            case "writes":
                return sum(1 for call in server.calls if call.verb in _WRITES)
            case "stored":
                while len(self._sent) < what:
                    await asyncio.sleep(LOOK_SECONDS)  # when it was, `note` knows
                return self._last
            case "running":
                while what not in self._images:
                    await asyncio.sleep(LOOK_SECONDS)
                return self._images[what]
            case "fill":
                self._fill(*what)
            case _:
                raise AssertionError(f"nothing is ordered by {order!r}")
        return None

    def _fill(self, body: Object, count: int) -> None:
        namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
        for number in range(count):
            one = msgspec.json.decode(msgspec.json.encode(body))
            one["metadata"] |= {"name": f"{name}-{number:05d}", "uid": f"{number:08d}-5eed"}
            place = Place("apps", "deployments", namespace, one["metadata"]["name"])
            self._server.store.put(place, one)


async def main() -> None:
    reader = asyncio.StreamReader(limit=2**24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with KubernetesServer() as server:
        serving = _Serving(server)
        noting = asyncio.create_task(serving.note())
        print(json.dumps(server.url), flush=True)
        while line := await reader.readline():
            order, what = json.loads(line)
            print(json.dumps(await serving.obey(order, what)), flush=True)
        noting.cancel()


if __name__ == "__main__":
    asyncio.run(main())
