"""A fleet of apps on a cluster: applied for the first time, and at rest, beside raw requests."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from adapters.k8s.render.manifests import sent
from reconcilers.object_ports import ProjectOrder
from reconcilers.passing import WorkerSettings
from tests.benchmarks.k8s_raw import Body, raw
from tests.benchmarks.rows import Promise, Row, Times, millis, per_second, rate, ratio_of
from tests.support.cluster_house import HouseOnCluster
from tests.support.intents import manifest
from tests.support.k8s_orders import RENDERER, order
from tests.support.kubernetes.apart import Apart, apart
from tests.support.kubernetes.server import ADMIN_TOKEN

APPS: Final = 500
PROJECTS: Final = 50
APPLY_ROUNDS: Final = 3
TICKS: Final = 15
PATIENCE: Final = 240.0  # seconds for a fleet to come to rest

FIRST = Promise(
    f"Kubernetes: first apply of {APPS} apps, 16 in flight",
    "the same objects by raw aiohttp server-side apply",
    at_least=0.7,
)
TICK = Promise(
    f"Kubernetes: a replay tick of {APPS} converged apps, CPU", "a metadata list", at_most=2
)


def spec_with(image: str) -> dict[str, object]:
    return {
        "image": image,
        "args": ["--workers=4"],
        "env": {"LOG": "info", "RELEASE": "r1", "REGION": "eu-central"},
        "ports": [{"name": "http", "port": 8080}],
        "health": {"readiness": {"http": {"path": "/ready", "port": "http"}}},
        "resources": {"cpu": "100m", "memory": "128Mi"},
        "replicas": 1,
    }


def image_named(number: int) -> str:
    return f"registry.example.com/shop/web@sha256:{number:064x}"


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
                manifest("App", f"a{n}", spec_with(image_named(1)), project=f"p{n % PROJECTS}")
                for n in numbers
            )
        )
    house.desired.fold(house.log.events)
    return house


def _rendered() -> tuple[list[Body], list[Body]]:
    """What such a fleet takes: namespaces, then all that is in them."""
    namespaces, rest = list[Body](), list[Body]()
    for number in range(PROJECTS):
        namespace, *bounds = shared_by(f"p{number}")
        namespaces.append(namespace)
        rest += bounds
    for number in range(APPS):
        asked = order(spec_with(image_named(1)), app=f"a{number}", project=f"p{number % PROJECTS}")
        rest += [sent(one, 1) for one in RENDERER.app(asked)]
    return namespaces, rest


def shared_by(project: str) -> list[Body]:
    """Its namespace, and the bounds inside."""
    asked = ProjectOrder(project=project, uid=3)
    return [sent(one, 1) for one in RENDERER.project(asked)]


def deployment_of(app: str, image: str) -> Body:
    """That of an app of project `raw`."""
    rendered = RENDERER.app(order(spec_with(image), app=app, project="raw"))
    [found] = [sent(one, 1) for one in rendered if one.key.kind == "Deployment"]
    return found


async def fleets(folder: Path) -> tuple[Row, Row]:
    """What a first apply takes, and a tick over what came of it."""
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
