"""Kubernetes: a fleet applied, at rest, copied, and changed, beside raw requests of the same.

The cluster is the API server of the tests, in a process of its own: what it takes to answer is the
same for both sides.
"""

import asyncio
import gc
import logging
import random
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import structlog

from adapters.k8s.access import Kubeconfig
from adapters.k8s.kinds import BUILT_IN
from adapters.k8s.reflector import Reflector
from adapters.k8s.render.manifests import sent
from bus.intents import Asked
from reconcilers.object_ports import ProjectOrder
from reconcilers.passing import WorkerSettings
from stateward import data
from stateward.collecting import seldom
from stateward.control_plane import Running, running
from stateward.settings import Api, Data, Settings
from tests.benchmarks.k8s_raw import Body, Raw, raw
from tests.benchmarks.places import on_disk
from tests.benchmarks.rows import Promise, Row, Times, millis, per_second, rate, ratio_of, show
from tests.benchmarks.sample import ADMIN
from tests.support.cluster_house import HouseOnCluster
from tests.support.intents import manifest
from tests.support.k8s_orders import RENDERER, order
from tests.support.kubernetes.apart import Apart, apart
from tests.support.kubernetes.reaching import kubeconfig, opened
from tests.support.kubernetes.server import ADMIN_TOKEN

APPS: Final = 500
PROJECTS: Final = 50
APPLY_ROUNDS: Final = 3
TICKS: Final = 15
COPIED: Final = 5_000  # Deployments
COPIES: Final = 5
CHANGES: Final = 25
PATIENCE: Final = 240.0  # seconds for a fleet to come to rest

FIRST = Promise(
    f"Kubernetes: first apply of {APPS} apps, 16 in flight",
    "the same objects by raw aiohttp server-side apply",
    at_least=0.7,
)
TICK = Promise(
    f"Kubernetes: a replay tick of {APPS} converged apps, CPU", "a metadata list", at_most=2
)
COPY = Promise(
    f"Kubernetes: {COPIED:,} Deployments copied", "raw paged list + JSON decode", at_most=1.5
)
STALL = Promise(
    "Kubernetes: longest stall of the event loop meanwhile", "-", at_most=100, unit="ms"
)
NEW = Promise("Kubernetes: a new app to its Deployment", "one raw apply", at_most=30, unit="ms")
IMAGE = Promise(
    "Kubernetes: another image to its Deployment", "one raw apply", at_most=30, unit="ms"
)
PROMISES = (FIRST, TICK, COPY, STALL, NEW, IMAGE)
HOW = (
    "The cluster is the API server of the tests in a process of its own."
    f" {APPLY_ROUNDS} alternating rounds over an empty one, its controllers at rest: a worker that"
    f" finds {APPS} apps of {PROJECTS} projects in the log, and raw requests with what it rendered."
    f" {TICKS} alternating rounds of the worker's tick over that fleet once it is ready, and of a"
    " raw list of its Deployments' metadata, decoded; of both, the CPU time of this process. No"
    f" request may write. {COPIES} alternating rounds of a copy of {COPIED:,} Deployments, and of a"
    " raw list in pages with `json.loads`; the longest stall of all rounds counts, on the clock of"
    " the wall. A control plane with its log on disk,"
    " the cluster's controllers at rest:"
    f" {CHANGES} new apps, then other images of them, one after the other, each from the"
    " acknowledgement of its intent until the server stored its Deployment; between them raw"
    " applies of such Deployments. Images are named by digest."
)


def _spec(image: str) -> dict[str, object]:
    return {
        "image": image,
        "args": ["--workers=4"],
        "env": {"LOG": "info", "RELEASE": "r1", "REGION": "eu-central"},
        "ports": [{"name": "http", "port": 8080}],
        "health": {"readiness": {"http": {"path": "/ready", "port": "http"}}},
        "resources": {"cpu": "100m", "memory": "128Mi"},
        "replicas": 1,
    }


def _image(number: int) -> str:
    return f"registry.example.com/shop/web@sha256:{number:064x}"


# -- a fleet ---------------------------------------------------------------------------------------


async def _fleet(url: str, folder: Path) -> HouseOnCluster:
    """A house that was asked for all apps, and has done nothing yet."""
    folder.mkdir(exist_ok=True)
    house = HouseOnCluster(
        url, folder, token=ADMIN_TOKEN, settings=WorkerSettings(replay_interval=3600.0)
    )
    await house.send(
        manifest("Target", "prod", {"engine": "k8s", "k8s": {"kubeconfig": "/config"}}),
        *(manifest("Project", f"p{n}", {"target": "prod"}) for n in range(PROJECTS)),
    )
    for start in range(0, APPS, 100):
        numbers = range(start, start + 100)
        await house.send(
            *(
                manifest("App", f"a{n}", _spec(_image(1)), project=f"p{n % PROJECTS}")
                for n in numbers
            )
        )
    house.desired.fold(house.log.events)
    return house


def _rendered() -> tuple[list[Body], list[Body]]:
    """What such a fleet takes: namespaces, then all that is in them."""
    namespaces, rest = list[Body](), list[Body]()
    for number in range(PROJECTS):
        namespace, *bounds = _shared(f"p{number}")
        namespaces.append(namespace)
        rest += bounds
    for number in range(APPS):
        asked = order(_spec(_image(1)), app=f"a{number}", project=f"p{number % PROJECTS}")
        rest += [sent(one, 1) for one in RENDERER.app(asked)]
    return namespaces, rest


def _shared(project: str) -> list[Body]:
    asked = ProjectOrder(project=project, uid=3)
    return [sent(one, 1) for one in RENDERER.project(asked)]


def _deployment(app: str, image: str) -> Body:
    """That of an app of project `raw`."""
    rendered = RENDERER.app(order(_spec(image), app=app, project="raw"))
    [found] = [sent(one, 1) for one in rendered if one.key.kind == "Deployment"]
    return found


async def _fleets(folder: Path) -> tuple[Row, Row]:
    floor, ours, tick = Times(), Times(), TICK.unmeasured("no fleet came to rest")
    namespaces, rest = _rendered()
    count = len(namespaces) + len(rest)
    for number in range(APPLY_ROUNDS):
        with apart() as cluster:
            cluster.pause(paused=True)
            async with raw(cluster.url) as requests:
                with floor.taken():
                    await requests.apply_all(namespaces)
                    await requests.apply_all(rest)
        with apart() as cluster:
            cluster.pause(paused=True)
            house = await _fleet(cluster.url, folder)
            async with _working(house):
                began = time.monotonic()
                ours.append(await asyncio.to_thread(cluster.stored, count) - began)
                if number == APPLY_ROUNDS - 1:
                    tick = await _ticks(house, cluster)
    told = per_second(rate(count, ours)), per_second(rate(count, floor))
    return FIRST.kept(1 / ratio_of(ours, floor), ours=told[0], floor=told[1]), tick


@asynccontextmanager
async def _working(house: HouseOnCluster) -> AsyncIterator[None]:
    try:
        async with house.working():
            yield
    finally:
        await house.parts.targets.close()


async def _ticks(house: HouseOnCluster, cluster: Apart) -> Row:
    """Of a worker that is at rest."""
    await asyncio.to_thread(cluster.pause, paused=False)
    await _rest(house)
    before = cluster.writes()
    floor, ours = Times(), Times()
    async with raw(cluster.url) as requests:
        await requests.list(metadata_only=True)
        for _ in range(TICKS):
            began = time.process_time()
            assert await requests.list(metadata_only=True) == APPS
            floor.append(time.process_time() - began)
            began = time.process_time()
            await house.worker.tick()
            ours.append(time.process_time() - began)
            assert house.parts.queue.idle()
    written = cluster.writes() - before
    told = f"{millis(ours.median)}, {written} writes"
    return TICK.kept(
        ratio_of(ours, floor), ours=told, floor=millis(floor.median), whole=not written
    )


async def _rest(house: HouseOnCluster) -> None:
    """Tick until all apps are rolled out and no tick finds anything to do."""
    async with asyncio.timeout(PATIENCE):
        while True:
            await house.worker.tick()
            found = [house.desired.app(stream) for stream in house.desired.streams("App")]
            is_done = all(app is not None and app.stable == app.revision for app in found)
            if is_done and house.parts.queue.idle():
                return
            await asyncio.sleep(1)


# -- a copy ----------------------------------------------------------------------------------------


async def _copies(folder: Path) -> list[Row]:
    floor, ours, stalls = Times(), Times(), Times()
    with apart() as cluster:
        cluster.pause(paused=True)
        async with (
            raw(cluster.url) as requests,
            opened(Kubeconfig(path=kubeconfig(folder / "copied", cluster.url))) as there,
        ):
            await asyncio.to_thread(cluster.fill, await _sample(requests), COPIED)
            await requests.list()
            for _ in range(COPIES):
                with floor.taken():
                    assert await requests.list() >= COPIED
                reflector = Reflector(there, BUILT_IN["apps/v1", "Deployment"], random.Random(1))
                watching = asyncio.create_task(_longest_stall(stalls))
                with ours.taken():
                    following = asyncio.create_task(reflector.run())
                    await reflector.synced()
                for task in (watching, following):
                    task.cancel()
                await asyncio.gather(watching, following, return_exceptions=True)
                assert len(reflector.objects) >= COPIED
    return [
        COPY.kept(ratio_of(ours, floor), ours=millis(ours.median), floor=millis(floor.median)),
        STALL.kept(
            1000 * max(stalls), ours=f"{millis(max(stalls))}, median {millis(stalls.median)}"
        ),
    ]


async def _sample(requests: Raw) -> dict[str, Any]:
    """A Deployment as a server has it, managed fields and all."""
    await requests.apply_all(_shared("raw")[:1])
    return await requests.apply(_deployment("sample", _image(1)))


async def _longest_stall(stalls: Times) -> None:
    longest, before = 0.0, time.perf_counter()
    try:
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, before = max(longest, now - before), now
    finally:
        stalls.append(longest)


# -- one intent ------------------------------------------------------------------------------------


async def _intents(folder: Path) -> list[Row]:
    settings = Settings(data=Data(directory=folder / "data"), api=Api(port=0))
    with apart() as cluster, data.opened(folder / "data", new_id=lambda: str(uuid.uuid4())) as held:
        cluster.pause(paused=True)
        config = kubeconfig(folder / "asked", cluster.url)
        async with running(settings, held) as plane, raw(cluster.url) as requests:
            target = {"engine": "k8s", "k8s": {"kubeconfig": str(config)}}
            await _send(plane, manifest("Target", "prod", target))
            await _send(plane, manifest("Project", "shop", {"target": "prod"}))
            await _deployed(plane, cluster, "first", _image(0))
            new = await _timed(plane, cluster, requests, 1)
            image = await _timed(plane, cluster, requests, 2)
    return [
        promise.kept(
            1000 * (ours.median - floor.median),
            ours=millis(ours.median),
            floor=millis(floor.median),
        )
        for promise, (floor, ours) in ((NEW, new), (IMAGE, image))
    ]


async def _timed(
    plane: Running, cluster: Apart, requests: Raw, release: int
) -> tuple[Times, Times]:
    floor, ours = Times(), Times()
    await requests.apply_all(_shared("raw")[:1])
    for number in range(CHANGES):
        body = _deployment(f"a{number}", _image(1000 + release))
        with floor.taken():
            await requests.apply(body)
        ours.append(
            await _deployed(plane, cluster, f"a{number}", _image(number + release * CHANGES))
        )
        await asyncio.sleep(0.2)  # until the worker has seen it
    return floor, ours


async def _deployed(plane: Running, cluster: Apart, app: str, image: str) -> float:
    await _send(plane, manifest("App", app, _spec(image)))
    accepted = time.monotonic()
    return await asyncio.to_thread(cluster.running, image) - accepted


async def _send(plane: Running, asked: Asked) -> None:
    await plane.intents.submit([asked], actor=ADMIN, key=str(uuid.uuid4()))


def measure() -> Sequence[Row]:
    quiet = structlog.make_filtering_bound_logger(logging.WARNING)
    structlog.configure(wrapper_class=quiet)  # a line for each pass is not what is measured
    with on_disk() as directory:
        with _as_served():
            first, tick = asyncio.run(_fleets(directory))
        with _as_served():
            copies = asyncio.run(_copies(directory))
        return [first, tick, *copies, *asyncio.run(_intents(directory))]


@contextmanager
def _as_served() -> Iterator[None]:
    """The collector of garbage is set as in a control plane that has started, for both sides."""
    gc.collect()
    gc.freeze()
    try:
        with seldom():
            yield
    finally:
        gc.unfreeze()


if __name__ == "__main__":
    raise SystemExit(0 if show(measure()) else 1)
