"""Wherever a secret's value gets to, the world reports it."""

from collections.abc import Callable

import pytest

from bus.log import Appended, IdempotencyKey, NewEvent
from reconcilers.status import TargetStatus
from simulation import loop
from simulation.asking import SECRET_MARK
from simulation.disk import Request
from simulation.invariants.violations import Invariant
from simulation.producers import ACTOR
from simulation.world import World

MARK = SECRET_MARK.encode()


def into_an_event(world: World) -> None:
    _append(world, Request([NewEvent("Secret/shop/db", "secret.defined", MARK)], {}, None, b""))


def into_the_outcome_of_a_key(world: World) -> None:
    _append(world, Request([], {}, IdempotencyKey("user:ada", "one", b"d"), MARK))


def _append(world: World, request: Request) -> Appended:
    group = world.disk.begin()
    appended = world.disk.add(group, request)
    world.disk.sync(group)
    return appended


def into_a_snapshot(world: World) -> None:
    world.disk.snapshots.save("desired", 0, b"", MARK)


def into_a_status(world: World) -> None:
    [controller] = world.controllers
    status = TargetStatus(answers=True, message=SECRET_MARK, observed_at=0.0, replicas=0)
    controller.status.put_target("local", status)


def into_a_refusal(world: World) -> None:
    world.client.requests.refused["one"] = f"not {SECRET_MARK}"


def into_a_refusal_on_the_bus(world: World) -> None:
    world.producer.refused["one"] = f"not {SECRET_MARK}"


@pytest.mark.parametrize(
    "leak",
    [
        into_an_event,
        into_the_outcome_of_a_key,
        into_a_snapshot,
        into_a_status,
        into_a_refusal,
        into_a_refusal_on_the_bus,
    ],
)
def test_a_secret_is_found_in_any_sink(leak: Callable[[World], object]) -> None:
    async def live() -> World:
        world = World(1)
        async with world.living():
            leak(world)
        return world

    world = loop.run(live())
    assert {one.invariant for one in world.violations} == {Invariant.SECRET}


@pytest.mark.parametrize("headers", [{}, {"Error": SECRET_MARK}])
def test_a_secret_is_found_in_a_message_that_nobody_hears(headers: dict[str, str]) -> None:
    async def live() -> World:
        world = World(1)
        async with world.living():
            session = await world.broker.open(ACTOR)
            await session.publish("any.subject", b"" if headers else MARK, headers)
        return world

    world = loop.run(live())
    assert [one.invariant for one in world.violations] == [Invariant.SECRET]
