"""When a slot whose replica died may start again."""

from reconcilers.backoff import MOST, STEADY, SlotBook
from reconcilers.ports import Replica, ReplicaState
from reconcilers.replica_facts import Slot
from tests.support.replicas import replica

SLOT = Slot(1, 0)


def dead(attempt: int, lived: float = 0.0) -> Replica:
    return replica(1, 0, attempt, state=ReplicaState.EXITED, lived=lived)


def die(book: SlotBook, times: int, *, lived: float = 0.0) -> list[float]:
    """The wait after each of so many deaths, of which each comes when its try may start."""
    now, waits = 0.0, []
    for attempt in range(1, times + 1):
        book.died(dead(attempt, lived), now)
        at = book.memory().not_before[SLOT]
        waits.append(at - now)
        now = at + lived
    return waits


def test_the_first_restart_is_at_once_and_the_waits_double_up_to_the_most() -> None:
    assert die(SlotBook(), 12) == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_the_waits_do_not_depend_on_how_long_a_replica_lived_below_ten_minutes() -> None:
    assert die(SlotBook(), 8, lived=STEADY - 1) == die(SlotBook(), 8)
    assert die(SlotBook(), 8, lived=STEADY) == [0] * 8


def test_a_slot_that_died_for_a_year_still_has_a_wait() -> None:
    assert die(SlotBook(), 3000)[-1] == MOST


def test_a_death_is_counted_once() -> None:
    book = SlotBook()
    assert book.died(dead(1), 0.0)
    assert not book.died(dead(1), 5.0)


def test_the_third_death_makes_a_loop_of_the_revisions_that_matter() -> None:
    book = SlotBook()
    die(book, 2)
    assert book.looping({1}, 0.0) is None
    book.died(dead(3), 50.0)
    loop = book.looping({1, 2}, 51.0)
    assert loop is not None
    assert (loop.slot, loop.deaths, loop.wait) == (SLOT, 3, 1.0)
    assert book.looping({2}, 51.0) is None


def test_a_replica_that_runs_for_ten_minutes_ends_the_loop() -> None:
    book = SlotBook()
    die(book, 3)
    book.runs(replica(1, 0, 4), 100.0)
    assert book.steady_at(100.0) == 100.0 + STEADY
    book.runs(replica(1, 0, 4), 99.0 + STEADY)
    assert book.looping({1}, 99.0 + STEADY) is not None
    book.runs(replica(1, 0, 4), 100.0 + STEADY)
    assert book.looping({1}, 100.0 + STEADY) is None
    assert book.steady_at(100.0 + STEADY) is None


def test_a_replica_that_is_gone_is_not_waited_for() -> None:
    book = SlotBook()
    die(book, 3)
    book.runs(replica(1, 0, 4), 100.0)
    assert book.steady_at(101.0 + STEADY) is None


def test_a_new_intent_lets_everyone_start() -> None:
    book = SlotBook()
    die(book, 5)
    book.forgive()
    assert not book.memory().not_before
    assert book.looping({1}, 0.0) is None


def test_what_runs_and_no_list_shows_is_missed_for_a_moment_before_another_starts() -> None:
    book = SlotBook()
    book.started(SLOT, 1)
    book.runs_unseen(SLOT)
    book.looked([], now=100.0)
    book.looked([], now=100.5)
    assert book.memory().not_before[SLOT] == 101.0


def test_a_list_that_shows_it_ends_the_wait() -> None:
    book = SlotBook()
    book.started(SLOT, 1)
    book.runs_unseen(SLOT)
    book.looked([], now=100.0)
    book.looked([replica(1, 0, 1)], now=100.1)
    book.looked([], now=100.2)  # removed since, which is healed at once
    assert SLOT not in book.memory().not_before
