"""Former revisions whose replicas stay, stopped: which these are, and that a return starts them."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import intents as i
from domain.names import app
from reconcilers.ports import ReplicaState
from reconcilers.replica_facts import Seen
from reconcilers.replicas import Start, Stop
from tests.reconcilers.test_draining import behind
from tests.support.house import House, play
from tests.support.intents import manifest
from tests.support.replicas import World, replica, wanting

WEB = app("shop", "web")
KEPT = ReplicaState.KEPT


def rolling(
    kept: tuple[int, ...], serving: int, coming: int, *, replicas: int = 2, **more: object
) -> World:
    """Two replicas of each: those of `kept` stopped, `serving` ready, `coming` yet to start."""
    fields: dict[str, object] = {"stable": serving, "digest": f"d{coming}", "returns": True}
    world = World(wanting(replicas, coming, **(fields | more)))
    for slot in range(2):
        for revision in kept:
            world.put(Seen(replica(revision, slot, state=KEPT, digest=f"d{revision}")))
        world.put(Seen(replica(serving, slot, digest=f"d{serving}"), ready=True))
    return world


def kept(world: World) -> set[int]:
    ended = (one.replica for one in world.seen.values() if one.replica.state is KEPT)
    return {one.name.revision for one in ended}


@pytest.mark.parametrize(("keep", "left"), [(0, set()), (1, {3}), (2, {2, 3}), (9, {1, 2, 3})])
def test_what_was_replaced_stays_and_what_is_older_goes(keep: int, left: set[int]) -> None:
    world = rolling((1, 2), 3, 4, keep=keep)
    world.converge()
    assert kept(world) == left
    assert len(world.running()) == 2
    assert len(world.seen) == 2 + 2 * len(left)


def test_nothing_goes_before_there_is_something_newer_to_return_to() -> None:
    world = rolling((1,), 2, 3, keep=1)
    world.good = lambda revision: revision < 3
    for _ in range(20):
        for action in world.plan().actions:
            world.act(action)
    assert kept(world) == {1}


def test_a_return_starts_what_was_kept_and_keeps_what_it_replaces() -> None:
    world = rolling((1,), 2, 3, keep=1, digest="d1")
    before = {one.replica.id for one in world.seen.values() if one.replica.state is KEPT}
    world.converge()
    assert {one.id for one in world.running(3)} == before
    assert kept(world) == {2}


def test_in_place_a_return_starts_what_was_kept() -> None:
    world = rolling((1,), 2, 3, keep=1, digest="d1", stop_first=True)
    before = {one.replica.id for one in world.seen.values() if one.replica.state is KEPT}
    world.converge()
    assert {one.id for one in world.running(3)} == before


def test_a_restart_makes_new_ones_and_keeps_none_that_are_alike() -> None:
    world = rolling((1,), 2, 3, keep=1, digest="d2", returns=False)
    world.converge()
    assert kept(world) == {1}
    assert all(one.id == replica(3, one.name.slot).id for one in world.running())


def test_what_returned_and_died_is_made_anew() -> None:
    world = rolling((1,), 2, 3, keep=2, digest="d1")
    world.good = lambda revision: revision < 3
    for action in world.plan().actions:
        world.act(action)
    [again] = [one for one in world.plan().actions if isinstance(one, Start)]
    assert (again.attempt, again.reuses) == (2, None)


def test_only_what_was_well_and_as_ordered_is_kept() -> None:
    old = [
        Seen(replica(1, 0, digest="d1", edited=("cpu",)), ready=True),
        Seen(replica(1, 1, digest="d1")),
        Seen(replica(1, 2, digest="d1"), ready=True),
        Seen(replica(1, 3, digest="d1"), ready=True),
    ]
    new = [Seen(replica(2, n, digest="d2"), ready=True) for n in range(3)]
    world = World(wanting(3, 2, stable=1, keep=1, digest="d2", returns=True))
    world.put(*old, *new)
    stops = [one for one in world.plan().actions if isinstance(one, Stop)]
    assert [(one.replica.name.slot, one.may_return) for one in stops] == [
        (0, False),
        (1, False),
        (2, True),
        (3, False),
    ]


@given(st.integers(0, 2), st.booleans())
def test_a_stopped_or_smaller_app_keeps_no_more_than_it_would_start(
    replicas: int, stop_first: bool
) -> None:
    world = rolling((1,), 2, 2, keep=1, replicas=replicas, stop_first=stop_first, keep_dead=0)
    world.converge()
    left = [one.replica.name.slot for one in world.seen.values() if one.replica.state is KEPT]
    assert sorted(left) == list(range(replicas))


# -- stories ----------------------------------------------------------------------------------


def spec(image: str, **more: object) -> dict[str, object]:
    check = {"http": {"path": "/", "port": "http"}, "interval": "1s"}
    return {
        "image": image,
        "ports": [{"name": "http", "port": 80}],
        "health": {"readiness": check},
        "routes": [{"host": "a.localhost"}],
        "rollout": {"keep": 1},
        "replicas": 2,
    } | more


def stopped(house: House) -> list[tuple[int, int]]:
    return [(r.name.revision, r.name.slot) for r in house.replicas() if r.state is KEPT]


async def second(house: House) -> None:
    """The app is at its second revision, and what ran before is kept."""
    for image in ("web:1", "web:2"):
        await house.send(manifest("App", "web", spec(image)))
        await house.ready()
    await house.until(lambda: stopped(house) == [(1, 0), (1, 1)])


def test_an_undo_starts_what_was_kept_and_requests_reach_it_again() -> None:
    async def story(house: House) -> None:
        await second(house)
        before = {one.id for one in house.replicas() if one.state is KEPT}
        await house.send(i.Undo(ref=WEB))
        await house.ready()
        await house.until(lambda: stopped(house) == [(2, 0), (2, 1)])
        returned = [one for one in house.replicas() if one.state is not KEPT]
        assert [one.name.revision for one in returned] == [3, 3]
        assert {one.id for one in returned} == before
        hosts = {one.addresses[0].host for one in returned}
        await house.until(lambda: {end.host for end in behind(house)} == hosts)

    play(story)


def test_what_is_kept_is_no_reason_to_do_anything() -> None:
    async def story(house: House) -> None:
        await second(house)
        status = house.of()
        assert status is not None
        assert (status.ready, status.updated, status.is_true("Synced")) == (2, 2, True)
        assert len(behind(house)) == 2
        before = house.writes()
        await asyncio.sleep(600)
        assert house.writes() == before
        assert stopped(house) == [(1, 0), (1, 1)]

    play(story)


def test_it_goes_when_fewer_or_none_are_asked_for_and_with_its_app() -> None:
    async def story(house: House) -> None:
        await second(house)
        await house.send(i.Scale(ref=WEB, replicas=1))
        await house.until(lambda: stopped(house) == [(1, 0)])
        await house.send(i.Stop(ref=WEB))
        await house.until(lambda: not stopped(house))
        await house.send(i.Start(ref=WEB))
        await house.send(manifest("App", "web", spec("web:3")))
        await house.until(lambda: stopped(house) == [(2, 0)])
        await house.send(i.Delete(ref=WEB))
        await house.until(lambda: not house.replicas())

    play(story)


def test_less_to_keep_is_followed_at_once_and_makes_no_revision() -> None:
    async def story(house: House) -> None:
        await second(house)
        await house.send(manifest("App", "web", spec("web:2", rollout={"keep": 0})))
        await house.until(lambda: not stopped(house))
        assert {number for number, _, _ in house.running()} == {2}

    play(story)
