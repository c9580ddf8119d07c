"""A whole control plane on Docker: from an intent to a container, from a death to a new one.

Moments come from the daemon's own events, so that nobody's polling is measured. The floor is a raw
create and start by the very request that ours sends, between the rounds of ours.
"""

import asyncio
import queue
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import docker

from adapters.docker import labels
from adapters.docker.request import container_request
from bus.intents import Asked
from domain.app import AppSpec
from domain.intents import Apply, Delete, Scale
from domain.names import app as app_ref
from reconcilers.ports import ReplicaName, StartReplica
from stateward import data
from stateward.control_plane import Running, running
from stateward.settings import Api, Data, Engine, Settings
from tests.benchmarks.places import on_disk
from tests.benchmarks.rows import Promise, Row, Times, millis, show
from tests.benchmarks.sample import ADMIN
from tests.support.docker_daemon import NoDocker, erase_installation, running_daemon
from tests.support.images import python_image

STARTS: Final = 12
DEEDS: Final = 5  # of each kind
PATIENCE: Final = 60.0
PROJECT: Final = "default"

START = Promise(
    "intent accepted to container running, image present", "raw create + start", at_most=1.3
)
HEAL = Promise("heal after docker kill, rm -f, stop", "raw create + start", at_most=200, unit="ms")
PROMISES = (START, HEAL)
HOW = (
    f"A control plane with its log on disk and its bus. {STARTS} new apps, one after the other,"
    " each timed from the acknowledgement of its intent to the `start` event. Then one app's"
    f" replicas are killed, removed and stopped, {DEEDS} times each, and timed from the `die` event"
    " to the `start` event of the replacement. A raw create, by the same request, and start stands"
    " before every round."
)


class _Events:
    """The daemon's events of one installation, in a thread."""

    def __init__(self, client: docker.APIClient, installation: str) -> None:
        wanted = {"label": f"{labels.INSTALLATION}={installation}", "type": "container"}
        self._stream = client.events(decode=True, filters=wanted)
        self._queue: queue.Queue[dict[str, Any]] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with suppress(Exception):
            for event in self._stream:
                self._queue.put(event)

    async def next(self, wanted: Callable[[str, dict[str, str]], bool]) -> float:
        """When the next event of this kind happened, in seconds since the epoch."""
        until = time.monotonic() + PATIENCE
        while True:
            event = await asyncio.to_thread(self._queue.get, True, until - time.monotonic())
            attributes = event["Actor"]["Attributes"]
            if wanted(event["Action"], attributes):
                return float(event["timeNano"]) / 1e9

    def forget(self) -> None:
        while not self._queue.empty():
            self._queue.get()

    def close(self) -> None:
        self._stream.close()


class _Bench:
    def __init__(self, client: docker.APIClient, plane: Running, submit: Any, image: str) -> None:
        self._client, self._plane, self._image = client, plane, image
        self._submit = submit
        self._installation = plane.data.installation
        self._events = _Events(client, self._installation)
        self._stranger = self._installation[:6] + str(uuid.uuid4())[6:]  # of the same networks

    def close(self) -> None:
        self._events.close()

    def _app(self, name: str, replicas: int = 1) -> Asked:
        spec = AppSpec(
            image=self._image,
            command=("sleep",),
            args=("3600",),
            replicas=replicas,
            stop_grace="1s",
        )
        return Apply(ref=app_ref(PROJECT, name), spec=spec, labels={})

    async def send(self, asked: Asked) -> None:
        await self._submit([asked], actor=ADMIN, key=str(uuid.uuid4()))

    async def raw(self, times: Times) -> None:
        """A container as ours, made by the very same request and started by hand."""
        order = self._order()
        name = order.name.of(self._stranger)
        request = container_request(order, self._stranger, "local")
        client: Any = self._client  # whose annotations leave this creation out

        def start() -> str:
            with times.taken():
                made = client.create_container_from_config(request, name)
                client.start(made["Id"])
            return str(made["Id"])

        container = await asyncio.to_thread(start)
        self._client.remove_container(container, force=True)

    def _order(self) -> StartReplica:
        """What is ordered for `_app`."""
        return StartReplica(
            name=ReplicaName(PROJECT, "raw", 1, 0, 1),
            uid=1,
            digest="5eed5eed5eed5eed",
            position=1,
            image=self._image,
            command=("sleep",),
            args=("3600",),
            workdir=None,
            env={},
            ports=(),
            volumes=(),
            cpu_millis=None,
            memory_bytes=None,
            stop_signal="SIGTERM",
            stop_grace=1.0,
        )

    async def starts(self) -> Row:
        floor, ours = Times(), Times()
        await self.send(self._app("first"))
        await self._started("first")
        for number in range(STARTS):
            await self.raw(floor)
            self._events.forget()
            name = f"a{number}"
            await self.send(self._app(name))
            accepted = time.time()
            ours.append(await self._started(name) - accepted)
            await self.send(Delete(ref=app_ref(PROJECT, name)))
            await self._gone(name)
        return START.kept(
            ours.median / floor.median, ours=millis(ours.median), floor=millis(floor.median)
        )

    async def heals(self) -> Row:
        floor, ours = Times(), Times()
        deeds = [self._kill, self._remove, self._stop] * DEEDS
        await self.send(self._app("web", len(deeds)))
        for _ in deeds:
            await self._started("web")
        await asyncio.sleep(12)  # a replica that lived so long is no crash loop
        for slot, deed in enumerate(deeds):
            await self.raw(floor)
            self._events.forget()
            (victim,) = self._client.containers(
                filters={
                    "label": [
                        f"{labels.INSTALLATION}={self._installation}",
                        f"{labels.APP}=web",
                        f"{labels.SLOT}={slot}",
                    ]
                }
            )
            doing = asyncio.create_task(asyncio.to_thread(deed, victim["Id"]))
            died = await self._events.next(lambda action, _: action == "die")
            ours.append(await self._started("web") - died)
            await doing
        extra = ours.median - floor.median
        return HEAL.kept(1000 * extra, ours=millis(ours.median), floor=millis(floor.median))

    def _kill(self, container: str) -> None:
        self._client.kill(container)

    def _remove(self, container: str) -> None:
        self._client.remove_container(container, force=True)

    def _stop(self, container: str) -> None:
        self._client.stop(container, timeout=1)

    async def _started(self, app: str) -> float:
        return await self._events.next(
            lambda action, told: action == "start" and told[labels.APP] == app
        )

    async def _gone(self, app: str) -> None:
        await self._events.next(
            lambda action, told: action == "destroy" and told[labels.APP] == app
        )


async def _measure(host: str, client: docker.APIClient, directory: Path) -> list[Row]:
    image = python_image(client)
    settings = Settings(
        data=Data(directory=directory),
        api=Api(port=0),
        engine=Engine(default="docker", docker_host=host),
    )
    with data.opened(directory, new_id=lambda: str(uuid.uuid4())) as held:
        try:
            async with running(settings, held) as plane:
                bench = _Bench(client, plane, plane.intents.submit, image)
                try:
                    rows = [await bench.starts(), await bench.heals()]
                    await bench.send(Scale(ref=app_ref(PROJECT, "web"), replicas=0))
                    return rows
                finally:
                    bench.close()
        finally:
            erase_installation(client, held.installation)


def measure() -> Sequence[Row]:
    try:
        with running_daemon() as daemon, on_disk() as directory:
            client = docker.APIClient(daemon.host, version="auto")
            try:
                return asyncio.run(_measure(daemon.host, client, directory))
            finally:
                client.close()
    except NoDocker as reason:
        return [promise.unmeasured(str(reason)) for promise in PROMISES]


if __name__ == "__main__":
    raise SystemExit(0 if show(measure()) else 1)
