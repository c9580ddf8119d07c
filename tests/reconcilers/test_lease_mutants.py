"""Bugs that leases could have, planted one by one: the stories about several workers catch each."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bus.lease_session import LeaseSession, LeaseSettings
from bus.lease_view import LeaseView
from bus.leases import Partition
from bus.leasing import Leasing
from reconcilers.sharing import Sharing
from reconcilers.status import Term
from tests.reconcilers import test_leasing as leasing
from tests.reconcilers import test_several_workers as workers

type Plant = Callable[[pytest.MonkeyPatch], None]


def counts_from_the_answer(plant: pytest.MonkeyPatch) -> None:
    renew = LeaseSession.renew

    async def late(session: LeaseSession) -> None:
        before = session._valid_until
        await renew(session)
        if session._valid_until != before:
            session._valid_until = session._clock() + LeaseSettings().ttl

    plant.setattr(LeaseSession, "renew", late)


def takes_over_too_soon(plant: pytest.MonkeyPatch) -> None:
    plant.setattr(LeaseSettings, "patience", property(lambda settings: settings.ttl / 2))


def believes_in_a_new_bucket(plant: pytest.MonkeyPatch) -> None:
    takeable = LeaseView.takeable

    def hasty(view: LeaseView, partition: Partition, session: str, now: float) -> int | None:
        return 0 if view.lease(partition) is None else takeable(view, partition, session, now)

    plant.setattr(LeaseView, "takeable", hasty)


def never_notices_the_end(plant: pytest.MonkeyPatch) -> None:
    plant.setattr(Leasing, "may_call", lambda one, partition: partition in one.held)
    plant.setattr(LeaseSession, "count_down", _for_ever)


async def _for_ever(_session: LeaseSession) -> None:
    import asyncio  # noqa: PLC0415 -- of this bug alone

    await asyncio.Event().wait()


def calls_without_a_lease(plant: pytest.MonkeyPatch) -> None:
    plant.setattr(Sharing, "may_call_any", lambda *_: True)
    about = Sharing.may_call

    def may_call(sharing: Sharing, target: str, stream: str) -> bool:
        import inspect  # noqa: PLC0415 -- the fence is blind, and the test is not

        caller = inspect.stack()[1].function
        return True if caller == "about" else about(sharing, target, stream)

    plant.setattr(Sharing, "may_call", may_call)


def leaves_before_it_is_up_elsewhere(plant: pytest.MonkeyPatch) -> None:
    plant.setattr("reconcilers.removal._is_there", lambda *_: True)


def compares_fences_of_two_targets(plant: pytest.MonkeyPatch) -> None:
    plant.setattr(Term, "replaces", lambda self, other: self.epoch >= other.epoch)


@contextmanager
def planted(bug: Plant) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as plant:
        bug(plant)
        yield


@pytest.mark.parametrize(
    ("bug", "story"),
    [
        (
            counts_from_the_answer,
            leasing.test_a_lease_counts_from_before_its_renewal_was_asked_for,
        ),
        (
            takes_over_too_soon,
            leasing.test_who_is_cut_off_stops_before_another_begins_and_comes_back_with_a_new_session,
        ),
        (
            believes_in_a_new_bucket,
            leasing.test_a_bucket_that_vanished_gives_nothing_away_before_the_old_leases_have_ended,
        ),
        (
            never_notices_the_end,
            leasing.test_who_is_cut_off_stops_before_another_begins_and_comes_back_with_a_new_session,
        ),
        (
            calls_without_a_lease,
            workers.test_what_a_cut_off_worker_had_not_begun_is_not_begun_by_it_any_more,
        ),
        (
            leaves_before_it_is_up_elsewhere,
            workers.test_an_app_that_moves_to_a_target_of_another_worker_is_up_there_before_it_leaves,
        ),
        (
            compares_fences_of_two_targets,
            workers.test_an_app_that_moves_to_where_the_lease_is_older_is_told_and_leaves,
        ),
    ],
    ids=lambda one: one.__name__,
)
def test_a_planted_bug_is_caught(bug: Plant, story: Callable[[], None]) -> None:
    with planted(bug), pytest.raises((AssertionError, TimeoutError)):
        story()
    story()  # and without it, all is well
