"""Who should hold which partition: even, the same for all, and slow to change."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bus.leases import Member, Partition, assignment, number_of

TARGETS = ("docker", "edge", "fleet", "local")
PARTITIONS = [Partition("fleet", number) for number in range(64)]


def member(worker: str, *reaches: str, serves: tuple[str, ...] = TARGETS) -> Member:
    return Member(worker, f"{worker}-1", frozenset(serves), frozenset(reaches or TARGETS))


names = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True)
workers = st.builds(
    member, st.sampled_from("abcdefgh"), st.sampled_from(TARGETS), st.sampled_from(TARGETS)
)


@given(st.lists(workers, max_size=6, unique_by=lambda one: one.worker), st.randoms())
def test_everything_that_is_reached_is_held_by_one_that_reaches_it_whatever_the_order(
    members: list[Member], random: object
) -> None:
    partitions = [Partition(target, number) for target in TARGETS for number in range(3)]
    found = assignment(partitions, members)
    assert assignment(reversed(partitions), list(reversed(members))) == found
    for partition in partitions:
        able = [one for one in members if partition.target in one.reaches]
        assert (partition in found) == bool(members)
        assert not able or found[partition] in able


@given(names)
def test_what_all_reach_is_shared_out_evenly(workers: list[str]) -> None:
    found = assignment(PARTITIONS, [member(one) for one in workers])
    load = Counter(one.worker for one in found.values())
    assert max(load.values()) <= -(-64 // len(workers))
    assert len(found) == 64


@given(names.filter(lambda found: len(found) > 1))
def test_who_joins_takes_its_share_and_little_else_moves(workers: list[str]) -> None:
    before = assignment(PARTITIONS, [member(one) for one in workers[1:]])
    after = assignment(PARTITIONS, [member(one) for one in workers])
    moved = [one for one in PARTITIONS if before[one].worker != after[one].worker]
    taken = [one for one in moved if after[one].worker == workers[0]]
    share = -(-64 // len(workers))
    assert len(taken) <= share
    assert len(moved) <= 2 * share


def test_a_worker_that_starts_again_gets_what_it_had() -> None:
    before = assignment(PARTITIONS, [member("a"), member("b")])
    again = Member("a", "a-2", frozenset(TARGETS), frozenset(TARGETS))
    after = assignment(PARTITIONS, [again, member("b")])
    assert {p: m.worker for p, m in before.items()} == {p: m.worker for p, m in after.items()}


def test_a_target_that_nobody_reaches_is_held_by_one_that_may_and_says_so() -> None:
    lonely = [member("a", "local"), member("b", "local", serves=("local",))]
    found = assignment([Partition("docker", 0), Partition("local", 0)], lonely)
    assert found[Partition("docker", 0)].worker == "a"
    assert assignment([Partition("docker", 0)], [lonely[1]]) == {}


def test_what_nobody_may_work_on_makes_nobody_s_share_larger() -> None:
    partitions = [*PARTITIONS, *(Partition("local", number) for number in range(64))]
    members = [member(one, "fleet", serves=("fleet",)) for one in "ab"]
    load = Counter(one.worker for one in assignment(partitions, members).values())
    assert load == {"a": 32, "b": 32}


def test_a_key_is_in_the_same_partition_for_everybody_for_ever() -> None:
    assert [number_of(f"App/shop/{name}", 64) for name in ("web", "api", "db")] == [51, 45, 63]
    assert number_of("App/shop/web", 1) == 0
