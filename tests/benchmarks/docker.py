"""A sweep over a Docker daemon against one raw list call, interleaved, on the same containers."""

import asyncio
import time
import uuid
from collections.abc import Sequence

import docker

from adapters.docker import labels
from adapters.docker.engine import DockerEngine
from domain.target import TargetSpec
from reconcilers.differing import differing
from reconcilers.fingerprints import fingerprint
from reconcilers.ports import ReplicaName, StartReplica
from reconcilers.targets import OpenedEngine, TargetView
from tests.benchmarks.rows import Promise, Row, Times, millis, show
from tests.support.docker_daemon import NoDocker, erase_installation, running_daemon
from tests.support.docker_world import engine_of
from tests.support.images import python_image

REPLICAS = 100
SWEEPS = 40
SETTLING = 0.05  # seconds in which the inspections end that a sweep begins and does not wait for
DIGEST = "5eed5eed5eed5eed"

SWEEP = Promise(f"sweep over {REPLICAS} real containers", "one raw list call", at_most=1.5)
PROMISES = (SWEEP,)
HOW = (
    f"{REPLICAS} running containers of ten apps. Ours lists, checks positions, makes fingerprints"
    f" and compares them; the floor is `APIClient.containers` of docker-py. {SWEEPS} alternating"
    " rounds, medians."
)


def measure() -> Sequence[Row]:
    """Measure on the daemon that answers, or on one for the occasion."""
    installation = str(uuid.uuid4())
    try:
        with running_daemon() as daemon:
            client = docker.APIClient(daemon.host, version="auto", timeout=120)
            try:
                return [asyncio.run(_measure(daemon.host, client, installation))]
            finally:
                erase_installation(client, installation)
                client.close()
    except NoDocker as reason:
        return [SWEEP.unmeasured(str(reason))]


async def _measure(host: str, client: docker.APIClient, installation: str) -> Row:
    engine = engine_of(host, installation)
    image = python_image(client)
    await engine.grounds.prepare("bench")
    try:
        names = [ReplicaName("bench", f"a{n // 10}", 1, n % 10, 1) for n in range(REPLICAS)]
        await asyncio.gather(*(engine.replicas.start(_order(image, name)) for name in names))
        return await _sweeps(client, engine, installation)
    finally:
        await engine.close()


async def _sweeps(client: docker.APIClient, engine: DockerEngine, installation: str) -> Row:
    view = TargetView("local", TargetSpec(engine="docker"), now=time.time, check=_unseen)
    view.opened = OpenedEngine(engine, engine.close)
    wanted = {f"App/bench/a{n}": fingerprint(1, 1, DIGEST, 10) for n in range(REPLICAS // 10)}
    mine = {"label": f"{labels.INSTALLATION}={installation}"}
    await view.sweep()  # inspects what is new
    floor, ours = Times(), Times()
    for _ in range(SWEEPS):
        with floor.taken():
            assert len(client.containers(all=True, filters=mine)) == REPLICAS
        with ours.taken():
            await view.sweep()
            assert not differing(wanted, view)
        await asyncio.sleep(SETTLING)
    ratio = ours.median / floor.median
    return SWEEP.kept(ratio, ours=millis(ours.median), floor=millis(floor.median))


def _order(image: str, name: ReplicaName) -> StartReplica:
    return StartReplica(
        name=name,
        uid=1,
        digest=DIGEST,
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


def _unseen(_position: int, _witness: str) -> None:
    return


if __name__ == "__main__":
    raise SystemExit(0 if show(measure()) else 1)
