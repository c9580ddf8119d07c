"""Live, rebuilt and reloaded states are compared, and one that differs is reported."""

from unittest.mock import patch

import pytest

from bus import codec
from projections.desired import DesiredState
from reconcilers import projecting
from simulation import loop, sweep
from simulation.asking import app_spec, manifest
from simulation.invariants import history
from simulation.invariants.violations import Invariant
from simulation.sweep import Crash, Run
from simulation.world import World

FURNITURE = [manifest("Target", "local", {"engine": "simulated"}), manifest("Project", "shop", {})]


def keep_a_snapshot(world: World, *, is_true: bool) -> None:
    """Keep a snapshot of all events, or of all but the last."""
    disk = world.disk
    state = DesiredState(codec.decode)
    state.fold(disk.events if is_true else disk.events[:-1])
    state.position = disk.head.position
    disk.snapshots.save(projecting.name(), state.position, disk.head.seal, state.dump())


@pytest.mark.parametrize("is_true", [True, False])
def test_a_snapshot_with_its_tail_is_compared_with_a_rebuild(is_true: bool) -> None:
    async def live() -> World:
        world = World(1)
        async with world.living():
            await world.client.ask(FURNITURE, "furniture")
            keep_a_snapshot(world, is_true=is_true)
            world.compare()
        return world

    found = {one.invariant for one in loop.run(live()).violations}
    assert found == (set() if is_true else {Invariant.PURE})


def test_a_sampled_position_is_compared_at_once() -> None:
    async def live() -> World:
        world = World(1)
        async with world.living():
            await world.client.ask(FURNITURE, "furniture")
            keep_a_snapshot(world, is_true=False)
            with patch.object(history, "SAMPLED", 1.0):
                await world.client.ask([manifest("App", "web", app_spec("web:1"))], "web")
        return world

    first = loop.run(live()).violations[0]
    assert first.invariant is Invariant.PURE
    assert "gives another state at 3" in first.what


@pytest.mark.parametrize(("effect", "is_compared"), [(10, True), (3, False)])
def test_one_run_of_a_sweep_in_ten_is_compared_at_its_end(effect: int, is_compared: bool) -> None:
    compared: list[World] = []

    def note(world: World) -> None:
        compared.append(world)

    with (
        patch.object(World, "compare", note),
        patch.object(history, "SAMPLED", 0.0),
    ):
        sweep.tell(Run("rollout", (Crash("before", effect),)))
    assert len(compared) == is_compared
