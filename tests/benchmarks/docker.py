"""The Docker engine against the raw SDK on the same daemon, interleaved, as ratios of medians.

The floor of a sweep is one raw low-level list call of the same containers; the floor of a start is
a raw create and start of a container on the same network.
"""

import asyncio
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import docker

from adapters.docker import labels
from adapters.docker.request import network_name
from reconcilers.ports import ReplicaName, Replicas, StartReplica
from tests.benchmarks.log import Ratio, show
from tests.support.docker_daemon import NoDocker, erase_installation, running_daemon
from tests.support.docker_world import engine_of
from tests.support.images import python_image

INSTALLATION = str(uuid.uuid4())
REPLICAS = 100
SWEEPS = 30
SETTLING = 0.05  # seconds in which the inspections end that a sweep begins and does not wait for
STARTS = 12


def measure(write: Callable[[str], None] = print) -> list[Ratio]:
    """Measure on the daemon that answers, or on one for the occasion.

    Raises:
        NoDocker: there is none to be had.
    """
    with running_daemon() as daemon:
        client = docker.APIClient(daemon.host, version="auto")
        try:
            return asyncio.run(_measure(daemon.host, client, write))
        finally:
            erase_installation(client, INSTALLATION)
            client.close()


async def _measure(
    host: str, client: docker.APIClient, write: Callable[[str], None]
) -> list[Ratio]:
    engine = engine_of(host, INSTALLATION)
    image = python_image(client)
    await engine.grounds.prepare("bench")
    try:
        starts = await _starts(client, engine.replicas, image)
        write(f"starting {REPLICAS} containers")
        await asyncio.gather(
            *(engine.replicas.start(_order(image, "web", slot)) for slot in range(REPLICAS))
        )
        return [starts, await _sweeps(client, engine.replicas)]
    finally:
        await engine.close()


async def _starts(client: docker.APIClient, replicas: Replicas, image: str) -> Ratio:
    network = network_name(INSTALLATION, "bench")
    raw: list[float] = []
    ours: list[float] = []
    for slot in range(STARTS):
        with _timed(raw):
            container = await asyncio.to_thread(_raw_start, client, image, network)
        client.remove_container(container, force=True)
        with _timed(ours):
            await replicas.start(_order(image, "one", slot))
    floor, median = statistics.median(raw), statistics.median(ours)
    detail = f"{1000 * median:.0f} ms against {1000 * floor:.0f} ms of a raw create and start"
    return Ratio("docker, start of a replica", median / floor, 1.3, detail, at_most=True)


async def _sweeps(client: docker.APIClient, replicas: Replicas) -> Ratio:
    mine = {"label": f"{labels.INSTALLATION}={INSTALLATION}"}
    raw: list[float] = []
    ours: list[float] = []
    count = len(await replicas.list())
    for _ in range(SWEEPS):
        with _timed(raw):
            assert len(client.containers(all=True, filters=mine)) == count
        with _timed(ours):
            assert len(await replicas.list()) == count
        await asyncio.sleep(SETTLING)
    floor, median = statistics.median(raw), statistics.median(ours)
    detail = f"{1000 * median:.1f} ms against {1000 * floor:.1f} ms of a raw list, {count} replicas"
    return Ratio("docker, sweep over 100 containers", median / floor, 1.5, detail, at_most=True)


def _order(image: str, app: str, slot: int) -> StartReplica:
    return StartReplica(
        name=ReplicaName("bench", app, 1, slot, 1),
        uid=1,
        digest="5eed5eed5eed5eed",
        position=1,
        image=image,
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


def _raw_start(client: docker.APIClient, image: str, network: str) -> str:
    host = client.create_host_config(network_mode=network, init=True)
    made = client.create_container(image, ["sleep", "3600"], host_config=host)
    client.start(made["Id"])
    return str(made["Id"])


@contextmanager
def _timed(durations: list[float]) -> Iterator[None]:
    started = time.perf_counter()
    yield
    durations.append(time.perf_counter() - started)


if __name__ == "__main__":
    try:
        raise SystemExit(0 if show(measure()) else 1)
    except NoDocker as reason:
        print(f"skipped: {reason}")
