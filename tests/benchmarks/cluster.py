"""Filling the copy of a cluster: 5,000 Deployments, listed in pages and kept.

The floor lists the same pages with plain aiohttp and decodes them with `json`; it keeps nothing.
The API server runs in a process of its own and has every answer encoded beforehand.
"""

import asyncio
import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

import aiohttp
import msgspec

from adapters.k8s.access import Kubeconfig
from adapters.k8s.cluster import PAGE, Cluster
from adapters.k8s.kinds import BUILT_IN
from adapters.k8s.reflector import Reflector
from tests.benchmarks.rows import Promise, Row, Times, millis, ratio_of, show
from tests.contracts.kubernetes_place import deployment
from tests.support.kubernetes.reaching import kubeconfig, namespace, opened
from tests.support.kubernetes.server import ADMIN_TOKEN, KubernetesServer
from tests.support.kubernetes.store import Place

COUNT = 5_000
ROUNDS = 7
DEPLOYMENTS = BUILT_IN["apps/v1", "Deployment"]

CACHE = Promise(f"copy of {COUNT:,} Deployments filled", "raw paged list, decoded", at_most=1.5)
STALL = Promise("longest turn of the event loop meanwhile", "-", at_most=100, unit="ms")
PROMISES = (CACHE, STALL)
HOW = (
    f"{COUNT:,} Deployments of 2.7 KB are on an API server in a process of its own. {ROUNDS}"
    f" alternating rounds of listing them in pages of {PAGE} with plain aiohttp and `json`, and of"
    " `adapters.k8s.reflector` until everything is in its copy; the ratio is the median of the"
    " rounds' ratios. The longest turn is in processor time: what else runs on the machine is not"
    " counted."
)


# --- the server -------------------------------------------------------------------------------


async def _serve(told: "Queue[str]", stop: Event) -> None:
    async with KubernetesServer() as server:
        server.workloads.paused = True
        namespace(server)
        body = deployment("web", replicas=2)
        variables = [{"name": f"V{number}", "value": "x" * 20} for number in range(12)]
        body["spec"]["template"]["spec"]["containers"][0]["env"] = variables
        encoded = msgspec.json.encode(server.inside.create("Deployment", "shop", body))
        for number in range(COUNT - 1):
            one = msgspec.json.decode(encoded)
            name = f"web-{number:05d}"
            one["metadata"] |= {"name": name, "uid": name}
            place = Place("apps", "deployments", "shop", name)
            assert server.store.put(place, one).as_item
        told.put(server.url)
        while not stop.is_set():
            await asyncio.sleep(0.2)


def _run_server(told: "Queue[str]", stop: Event) -> None:
    asyncio.run(_serve(told, stop))


@contextmanager
def _server() -> Iterator[str]:
    context = multiprocessing.get_context("spawn")
    told: Queue[str] = context.Queue()
    stop = context.Event()
    process = context.Process(target=_run_server, args=(told, stop))
    process.start()
    try:
        yield told.get(timeout=120)
    finally:
        stop.set()
        process.join(30)


# --- both sides -------------------------------------------------------------------------------


async def _listed(session: aiohttp.ClientSession) -> int:
    found, token = 0, ""
    while True:
        params = {"limit": str(PAGE), **({"continue": token} if token else {})}
        async with session.get(DEPLOYMENTS.path(), params=params) as answer:
            page = json.loads(await answer.read())
        found += len(page["items"])
        token = page["metadata"].get("continue", "")
        if not token:
            return found


async def _filled(cluster: Cluster) -> int:
    reflector = Reflector(cluster, DEPLOYMENTS, random.Random(1))
    following = asyncio.create_task(reflector.run())
    await reflector.synced()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    return len(reflector.objects)


async def _longest_turn(cluster: Cluster) -> float:
    """Processor time, in seconds, between two turns of a task that is always ready."""
    filling = asyncio.create_task(_filled(cluster))
    longest, last = 0.0, time.process_time()
    while not filling.done():
        await asyncio.sleep(0)
        now = time.process_time()
        longest, last = max(longest, now - last), now
    assert await filling == COUNT
    return longest


async def _measured(url: str) -> tuple[Times, Times, float]:
    floor, ours = Times(), Times()
    bearer = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    with tempfile.TemporaryDirectory() as folder:
        path = kubeconfig(Path(folder) / "config", url)
        async with (
            aiohttp.ClientSession(url, headers=bearer) as session,
            opened(Kubeconfig(path=path)) as cluster,
        ):
            await _filled(cluster)
            for _ in range(ROUNDS):
                with floor.taken():
                    assert await _listed(session) == COUNT
                with ours.taken():
                    assert await _filled(cluster) == COUNT
            return floor, ours, await _longest_turn(cluster)


def measure() -> Sequence[Row]:
    with _server() as url:
        floor, ours, longest = asyncio.run(_measured(url))
    return [
        CACHE.kept(ratio_of(ours, floor), ours=millis(ours.median), floor=millis(floor.median)),
        STALL.kept(1000 * longest, ours=millis(longest)),
    ]


if __name__ == "__main__":
    raise SystemExit(0 if show(measure()) else 1)
