from hypothesis import assume, given
from hypothesis import strategies as st

from reconcilers.ports import Replica, ReplicaState
from reconcilers.replica_facts import Memory, Seen, Slot, Want
from reconcilers.replicas import Remove, Start, Stop, diff
from tests.support.replicas import World, replica, wanting

EXITED = ReplicaState.EXITED


def served(want: Want, revision: int, count: int) -> World:
    """A world in which `count` healthy replicas of a revision serve."""
    world = World(want)
    world.put(*(Seen(replica(revision, slot), ready=True) for slot in range(count)))
    world.least_ready = world.ready
    return world


def slots(world: World) -> list[tuple[int, int]]:
    return sorted((r.name.revision, r.name.slot) for r in world.running())


def test_a_first_app_starts_all_its_replicas_at_once() -> None:
    world = World(wanting(3))
    assert world.plan().actions == tuple(Start(Slot(1, n), 1) for n in range(3))


def test_a_scale_down_ends_the_highest_slots_and_leaves_nothing() -> None:
    world = served(wanting(2, stable=1), 1, 5)
    world.converge()
    assert slots(world) == [(1, 0), (1, 1)]
    assert len(world.seen) == 2


def test_a_dead_replica_is_started_again_as_the_next_attempt_and_its_logs_are_kept() -> None:
    world = World(wanting(1, stable=1))
    world.put(Seen(replica(1, 0, 1, state=EXITED)))
    assert world.plan().actions == (Start(Slot(1, 0), 2),)
    world.converge()
    assert sorted(one.replica.name.attempt for one in world.seen.values()) == [1, 2]


def test_what_is_missing_is_started_under_its_own_name_unless_it_is_known_to_be_over() -> None:
    """A list may be old: then it still runs, and the start of it changes nothing."""
    slot = Slot(1, 0)
    world = World(wanting(1, stable=1), memory=Memory(attempts={slot: 3}))
    assert world.plan().actions == (Start(slot, 3),)
    world.memory = Memory(attempts={slot: 3}, spent=frozenset({(slot, 3)}))
    assert world.plan().actions == (Start(slot, 4),)
    world.memory = Memory(attempts={slot: 3})
    world.put(Seen(replica(1, 0, 3, state=EXITED)))
    assert world.plan().actions == (Start(slot, 4),)


def test_only_the_last_dead_replica_of_a_slot_is_kept() -> None:
    world = World(wanting(1, stable=1))
    world.put(*(Seen(replica(1, 0, n, state=EXITED)) for n in (1, 2, 3)))
    world.converge()
    assert sorted(one.replica.name.attempt for one in world.seen.values()) == [3, 4]


def test_a_start_is_held_until_its_backoff_ends() -> None:
    world = World(wanting(1, stable=1), memory=Memory(not_before={Slot(1, 0): 30.0}))
    assert world.plan().actions == ()
    assert world.plan().wake_at == 30.0


def test_an_edited_replica_is_replaced_before_it_ends() -> None:
    world = World(wanting(1, stable=1))
    world.put(Seen(replica(edited=("memory",)), ready=True))
    world.least_ready = 1
    assert world.plan().actions == (Start(Slot(1, 0), 2),)
    world.converge()
    assert world.least_ready == 1
    assert [r.name.attempt for r in world.running()] == [2]


def test_an_unhealthy_replica_ends_with_its_logs_and_is_replaced() -> None:
    world = World(wanting(1, stable=1))
    world.put(Seen(replica(), failed="liveness: answered 500"))
    stop = world.plan().actions[-1]
    assert isinstance(stop, Stop)
    assert stop.keep
    world.converge()
    assert [r.name.attempt for r in world.running()] == [2]


def test_replicas_of_a_deleted_app_of_the_same_name_go() -> None:
    world = World(wanting(1, uid=7))
    world.put(Seen(replica(uid=3), ready=True), Seen(replica(1, 1, uid=3, state=EXITED)))
    world.converge()
    assert [one.replica.uid for one in world.seen.values()] == [7]


def test_a_stopped_app_keeps_the_logs_of_its_replicas_and_a_deleted_one_nothing() -> None:
    stopped = served(wanting(0, stable=1, keep_dead=2), 1, 2)
    stopped.converge()
    assert [one.replica.state for one in stopped.seen.values()] == [EXITED, EXITED]
    deleted = served(wanting(0, stable=1), 1, 2)
    deleted.converge()
    assert not deleted.seen


def test_a_created_replica_is_started_and_one_that_was_refused_gets_a_new_attempt() -> None:
    world = World(wanting(1, stable=1))
    world.put(Seen(replica(state=ReplicaState.CREATED)))
    assert world.plan().actions == (Start(Slot(1, 0), 1),)
    world.memory = Memory(spent=frozenset({(Slot(1, 0), 1)}))
    refused = replica(state=ReplicaState.CREATED)  # which never ran, and has no logs
    assert world.plan().actions == (Start(Slot(1, 0), 2), Remove(refused))


def test_nothing_old_ends_for_a_revision_that_cannot_start() -> None:
    for stop_first in (False, True):
        want = wanting(3, 2, stable=1, startable=frozenset({1}), stop_first=stop_first)
        world = served(want, 1, 3)
        world.converge()
        assert slots(world) == [(1, 0), (1, 1), (1, 2)]


def test_a_failed_rollout_leaves_the_old_revision_serving_and_one_probe() -> None:
    world = served(wanting(3, 2, stable=1, surge=3), 1, 3)
    world.good = lambda revision: revision == 1
    for _ in range(20):
        for action in world.plan().actions:
            world.act(action)
    assert slots(world) == [(1, 0), (1, 1), (1, 2)]
    assert world.least_ready == 3
    probes = [a for a in world.plan().actions if isinstance(a, Start)]
    assert len(probes) == 1
    assert probes[0].slot.revision == 2


def test_an_old_replica_that_dies_during_a_failed_rollout_is_healed() -> None:
    world = served(wanting(3, 2, stable=1, stalled=True), 1, 3)
    world.good = lambda revision: revision == 1
    world.put(Seen(replica(1, 2, 1, state=EXITED)))
    assert Start(Slot(1, 2), 2) in world.plan().actions


def test_the_room_that_an_old_replica_leaves_is_the_probes() -> None:
    """Else one heals into it, the next makes room, and both go on without end."""
    world = World(wanting(3, 2, stable=1, surge=0, max_unavailable=1))
    world.put(Seen(replica(1, 0)), *(Seen(replica(1, slot), ready=True) for slot in (3, 4)))
    world.converge()
    assert slots(world) == [(2, 0), (2, 1), (2, 2)]


def test_a_third_revision_does_not_wait_for_the_failed_second() -> None:
    world = served(wanting(1, 3, stable=1), 1, 1)
    world.put(Seen(replica(2, 0)))
    world.converge()
    assert slots(world) == [(3, 0)]
    assert world.least_ready == 1


def test_health_that_is_not_known_yet_ends_nothing() -> None:
    world = World(wanting(2, 3, stable=1))
    world.put(*(Seen(replica(r, n), known=False) for r, n in ((1, 0), (1, 1), (2, 0))))
    assert not [a for a in world.plan().actions if isinstance(a, Stop)]


def test_of_two_replicas_in_a_slot_none_ends_before_one_is_known_to_serve() -> None:
    world = World(wanting(1, stable=1))
    world.put(Seen(replica(1, 0, 1), known=False), Seen(replica(1, 0, 2), known=False))
    assert world.plan().actions == ()
    world.put(Seen(replica(1, 0, 1)), Seen(replica(1, 0, 2), ready=True))
    assert [one.name.attempt for one in _stopped(world)] == [1]


def test_a_second_replica_of_a_slot_stands_in_for_one_that_is_missing() -> None:
    world = World(wanting(2, stable=1), memory=Memory(not_before={Slot(1, 1): 30.0}))
    world.put(*(Seen(replica(1, 0, attempt), ready=True) for attempt in (1, 2)))
    assert world.plan().actions == ()
    world.put(Seen(replica(1, 1), ready=True))
    assert [one.name for one in _stopped(world)] == [replica(1, 0, 2).name]


def test_of_two_replicas_with_one_volume_the_second_ends_at_once() -> None:
    world = World(wanting(1, stable=1, stop_first=True))
    world.put(Seen(replica(1, 0, 1), known=False), Seen(replica(1, 0, 2), known=False))
    assert [one.name.attempt for one in _stopped(world)] == [2]


def _stopped(world: World) -> list[Replica]:
    return [action.replica for action in world.plan().actions if isinstance(action, Stop)]


def test_stop_first_replaces_one_slot_after_the_other_and_never_two_in_a_slot() -> None:
    world = served(wanting(3, 2, stable=1, stop_first=True), 1, 3)
    for _ in range(50):
        for action in world.plan().actions:
            world.act(action)
            numbers = [number for _, number in slots(world)]
            assert len(numbers) == len(set(numbers))
        world.settle()
    assert slots(world) == [(2, 0), (2, 1), (2, 2)]
    assert world.least_ready == 2


def test_a_failing_stop_first_rollout_costs_one_slot_only() -> None:
    world = served(wanting(3, 2, stable=1, stop_first=True), 1, 3)
    world.good = lambda revision: revision == 1
    for _ in range(30):
        for action in world.plan().actions:
            world.act(action)
        world.settle()
    assert len(world.running(1)) == 2


wants = st.builds(
    wanting,
    st.integers(0, 5),
    st.integers(1, 4),
    stable=st.integers(0, 4),
    surge=st.integers(0, 3),
    max_unavailable=st.integers(0, 3),
    stop_first=st.booleans(),
    stalled=st.booleans(),
    keep=st.integers(0, 2),
    returns=st.booleans(),
)
anything = st.lists(
    st.builds(
        Seen,
        st.builds(
            replica,
            st.integers(1, 4),
            st.integers(0, 6),
            st.integers(1, 3),
            uid=st.sampled_from([1, 1, 1, 2]),
            state=st.sampled_from(list(ReplicaState)),
            digest=st.sampled_from(["d", "d", "d", "other"]),
            edited=st.sampled_from([(), (), ("cpu",)]),
        ),
        ready=st.booleans(),
        failed=st.sampled_from(["", "", "liveness"]),
        routed=st.sampled_from([True, True, False]),
    ),
    max_size=12,
    unique_by=lambda one: one.replica.id,
)


def world_of(want: Want, seen: list[Seen]) -> World:
    runs = ReplicaState.RUNNING
    world = World(want)
    world.put(
        *(
            Seen(
                s.replica,
                s.ready and s.replica.state is runs and not s.failed,
                s.failed,
                routed=s.routed,
            )
            for s in seen
        )
    )
    return world


@given(wants, anything)
def test_from_any_world_acting_leaves_nothing_to_do_and_exactly_what_is_wanted(
    want: Want, seen: list[Seen]
) -> None:
    assume(want.stop_first or want.surge or want.max_unavailable)
    assume(want.stable <= want.revision)
    world = world_of(want, seen)
    world.converge()
    assert slots(world) == [(want.revision, n) for n in range(want.replicas)]
    assert all(not r.edited and r.uid == want.uid for r in world.running())


@given(wants, anything, st.data())
def test_a_crash_after_any_action_still_converges(
    want: Want, seen: list[Seen], data: st.DataObject
) -> None:
    assume(want.stop_first or want.surge or want.max_unavailable)
    assume(want.stable <= want.revision)
    world = world_of(want, seen)
    actions = world.plan().actions
    for action in actions[: data.draw(st.integers(0, len(actions)), label="survived")]:
        world.act(action)
    world.memory = Memory()
    world.converge()
    assert slots(world) == [(want.revision, n) for n in range(want.replicas)]


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 3), st.integers(0, 3))
def test_a_rollout_never_serves_less_than_agreed(
    before: int, after: int, surge: int, max_unavailable: int
) -> None:
    assume(surge or max_unavailable)
    want = wanting(after, 2, stable=1, surge=surge, max_unavailable=max_unavailable)
    world = served(want, 1, before)
    world.converge()
    assert world.least_ready >= min(before, after - max_unavailable)


@given(wants, anything)
def test_the_plan_names_targets_so_asking_twice_gives_the_same(
    want: Want, seen: list[Seen]
) -> None:
    again = diff(want, list(reversed(seen)), Memory(), 0.0)
    assert diff(want, seen, Memory(), 0.0) == again


@given(wants, anything)
def test_no_replica_both_stops_and_is_removed(want: Want, seen: list[Seen]) -> None:
    ended = [
        a.replica.id for a in world_of(want, seen).plan().actions if isinstance(a, Stop | Remove)
    ]
    assert len(ended) == len(set(ended))


def test_a_scale_down_does_not_end_what_alone_serves() -> None:
    world = World(wanting(1, stable=1))
    world.put(Seen(replica(1, 0)), Seen(replica(1, 1), ready=True))
    assert world.plan().actions == ()
    world.put(Seen(replica(1, 0), ready=True))
    (stop,) = world.plan().actions
    assert isinstance(stop, Stop)
    assert stop.replica.name.slot == 1


def test_past_its_deadline_a_revision_keeps_one_probe_while_another_serves() -> None:
    world = served(wanting(2, revision=2, stable=1, surge=2, stalled=True), 1, 2)
    world.put(Seen(replica(2, 0)), Seen(replica(2, 1)))
    stops = [a for a in world.plan().actions if isinstance(a, Stop)]
    assert [(s.replica.name.revision, s.replica.name.slot) for s in stops] == [(2, 1)]


def test_past_its_deadline_no_replica_ends_before_it_was_asked() -> None:
    """After a list that left all of them out, each may be the one that serves."""
    world = World(wanting(3, revision=2, stable=1, stalled=True))
    world.put(*(Seen(replica(2, slot), known=False) for slot in range(3)))
    assert [a for a in world.plan().actions if isinstance(a, Stop)] == []


def test_an_edited_probe_that_never_was_healthy_goes_so_that_one_goes_on_trying() -> None:
    want = wanting(2, revision=3, stable=1, stalled=True)
    world = World(want)
    world.put(*(Seen(replica(1, 0, attempt), ready=True) for attempt in (1, 2)))
    world.put(Seen(replica(3, 0)), Seen(replica(3, 1, edited=("memory",))))
    stops = [action for action in world.plan().actions if isinstance(action, Stop)]
    assert [(one.replica.name.revision, one.replica.name.slot) for one in stops] == [(3, 1)]


mid_rollout = st.lists(
    st.builds(
        Seen,
        st.builds(replica, st.integers(1, 2), st.integers(0, 2)),
        ready=st.booleans(),
        routed=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda one: one.replica.id,
)


@given(st.builds(wanting, st.integers(1, 3), st.just(2), stable=st.just(1)), mid_rollout)
def test_nothing_ends_that_serves_while_too_few_others_are_reached(
    want: Want, seen: list[Seen]
) -> None:
    """A replica that is ready but not yet behind its router replaces nobody."""
    actions = world_of(want, seen).plan().actions
    ended = {a.replica.id for a in actions if isinstance(a, Stop)}
    serving = {one.replica.id for one in seen if one.serves}
    assert len(serving - ended) >= min(len(serving), want.replicas)


def test_a_ready_replica_that_is_not_routed_yet_replaces_nobody() -> None:
    for stop_first, olds in ((False, (0, 1)), (True, (1,))):
        world = World(wanting(2, 2, stable=1, stop_first=stop_first))
        world.put(*(Seen(replica(1, slot), ready=True) for slot in olds))
        world.put(Seen(replica(2, 0), ready=True, routed=False))
        assert not [a for a in world.plan().actions if isinstance(a, Stop)]
        world.put(Seen(replica(2, 0), ready=True))
        (stop,) = (a for a in world.plan().actions if isinstance(a, Stop))
        assert stop.replica.name.revision == 1


def test_of_two_replicas_of_a_slot_the_one_that_is_reached_stays() -> None:
    world = World(wanting(1, stable=1))
    first, second = replica(1, 0, 1), replica(1, 0, 2)
    world.put(Seen(first, ready=True, routed=False), Seen(second, ready=True))
    (stop,) = world.plan().actions
    assert isinstance(stop, Stop)
    assert stop.replica == first
