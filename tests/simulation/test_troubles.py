"""A fault is counted when it changed something, and not when it was only drawn."""

from domain.names import app
from simulation import loop
from simulation.engine import simulated_engine
from simulation.knobs import Fault
from simulation.troubles import Troubles
from simulation.world import INSTALLATION, NEIGHBOUR, World


def test_a_partial_list_counts_when_it_differs_from_the_truth() -> None:
    async def live() -> None:
        world = World(1)
        Troubles(world, {Fault.ENGINE_PARTIAL_LIST: 1.0}).wire()
        machine = world.machines["local"]
        for _ in range(20):
            await simulated_engine(machine, INSTALLATION).replicas.list()
        assert not world.trace.fired
        world.settle_neighbour([app("shop", "web"), app("shop", "api")])
        theirs = simulated_engine(machine, NEIGHBOUR).replicas
        shown = [await theirs.list() for _ in range(20)]
        whole = list(machine.owned(NEIGHBOUR, None))
        partial = sum(len(one) < len(whole) for one in shown)
        assert world.trace.fired[Fault.ENGINE_PARTIAL_LIST] == partial > 0

    loop.run(live())


def test_a_full_disk_counts_once_somebody_meets_it() -> None:
    async def live() -> None:
        world = World(1)
        troubles = Troubles(world, {})
        troubles.wire()
        troubles.disk_full = True
        troubles.await_meeting(Fault.LOG_DISK_FULL)
        assert not world.trace.fired
        for _ in range(2):
            assert world.site.log_faults.refuses() is not None
        assert world.trace.fired == {Fault.LOG_DISK_FULL: 1}

    loop.run(live())
