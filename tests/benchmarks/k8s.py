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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import structlog

from adapters.k8s.access import Kubeconfig
from adapters.k8s.kinds import BUILT_IN
from adapters.k8s.reflector import Reflector
from bus.intents import Asked
from stateward import data
from stateward.collecting import seldom
from stateward.control_plane import Running, running
from stateward.settings import Api, Data, Settings
from tests.benchmarks.k8s_fleet import (
    APPLY_ROUNDS,
    APPS,
    FIRST,
    PROJECTS,
    TICK,
    TICKS,
    deployment_of,
    fleets,
    image_named,
    shared_by,
    spec_with,
)
from tests.benchmarks.k8s_raw import Raw, raw
from tests.benchmarks.places import on_disk
from tests.benchmarks.rows import Promise, Row, Times, millis, ratio_of, show
from tests.benchmarks.sample import ADMIN
from tests.support.intents import manifest
from tests.support.kubernetes.apart import Apart, apart
from tests.support.kubernetes.reaching import kubeconfig, opened

COPIED: Final = 5_000  # Deployments
COPIES: Final = 5
CHANGES: Final = 25

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
    await requests.apply_all(shared_by("raw")[:1])
    return await requests.apply(deployment_of("sample", image_named(1)))


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
            await _deployed(plane, cluster, "first", image_named(0))
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
    await requests.apply_all(shared_by("raw")[:1])
    for number in range(CHANGES):
        body = deployment_of(f"a{number}", image_named(1000 + release))
        with floor.taken():
            await requests.apply(body)
        ours.append(
            await _deployed(plane, cluster, f"a{number}", image_named(number + release * CHANGES))
        )
        await asyncio.sleep(0.2)  # until the worker has seen it
    return floor, ours


async def _deployed(plane: Running, cluster: Apart, app: str, image: str) -> float:
    await _send(plane, manifest("App", app, spec_with(image)))
    accepted = time.monotonic()
    return await asyncio.to_thread(cluster.running, image) - accepted


async def _send(plane: Running, asked: Asked) -> None:
    await plane.intents.submit([asked], actor=ADMIN, key=str(uuid.uuid4()))


def measure() -> Sequence[Row]:
    quiet = structlog.make_filtering_bound_logger(logging.WARNING)
    structlog.configure(wrapper_class=quiet)  # a line for each pass is not what is measured
    with on_disk() as directory:
        with _as_served():
            first, tick = asyncio.run(fleets(directory))
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
