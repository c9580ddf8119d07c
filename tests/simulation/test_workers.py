"""Worlds in which several control planes share the work, and projects come and go."""

import asyncio
from typing import Any

import pytest

from reconcilers.ports import ReplicaName, StartFailed, StartReplica
from simulation import loop, seeds
from simulation.engine import simulated_engine
from simulation.knobs import WORKER_DEEDS
from simulation.machine import Machine
from simulation.world import INSTALLATION

RATES = {fault: 3 * rate for fault, rate in WORKER_DEEDS.items()}
ORDER = StartReplica(
    name=ReplicaName("shop", "web", 1, 0, 1),
    uid=1,
    digest="d",
    position=1,
    image=None,
    command=("serve",),
    args=(),
    workdir=None,
    env={},
    ports=(),
    volumes=(),
    cpu_millis=None,
    memory_bytes=None,
    stop_signal="SIGTERM",
    stop_grace=10.0,
)
ALONE: dict[str, Any] = {"clusters": False, "routes": False}


def test_some_worlds_have_several_workers() -> None:
    assert {seeds.workers_of(seed) for seed in range(40)} == {1, 2, 3}


@pytest.mark.parametrize("seed", [5])
def test_a_seed_with_several_workers_holds_and_tells_one_story(seed: int) -> None:
    first, again = (seeds.run(seed, RATES, minutes=2.0, workers=2, **ALONE) for _ in range(2))
    assert not first.violations
    assert first.digest == again.digest
    assert any(first.fired[fault] for fault in WORKER_DEEDS)


def test_a_ground_that_goes_between_making_and_running_fails_the_start_and_not_the_next() -> None:
    async def story() -> None:
        machine = Machine(asyncio.get_running_loop().time)
        machine.is_believed, machine.gap_seconds = False, 1.0
        engine = simulated_engine(machine, INSTALLATION)
        await engine.grounds.prepare("shop")
        start = asyncio.create_task(engine.replicas.start(ORDER))
        await asyncio.sleep(0.5)
        await engine.grounds.clear("shop")
        with pytest.raises(StartFailed, match="prepare it again"):
            await start
        [made] = await engine.replicas.list()
        assert made.state == "created"
        await engine.grounds.prepare("shop")
        await engine.replicas.start(ORDER)
        [runs] = await engine.replicas.list()
        assert (runs.id, runs.state) == (made.id, "running")

    loop.run(story())
