"""What the answers of checks make of a replica."""

import msgspec
import pytest

from domain.app import Check, ExecCheck, Health, HttpCheck
from reconcilers import health
from reconcilers.ports import Replica
from tests.support.replicas import replica

HTTP = HttpCheck(port="http")
READY = Health(readiness=Check(http=HTTP, interval="10s", failures=3, successes=2))


def answer(
    book: health.ReplicaHealth, checks: Health, name: str, *, passed: bool, now: float
) -> None:
    check = getattr(checks, name)
    health.record(book, name, check, passed=passed, message="said so", now=now)


def test_without_checks_a_replica_is_ready_once_it_has_run_a_moment() -> None:
    book = health.opened(Health(), now=100.0, running_for=0.0)
    assert not health.ready(book, replica(), 100.5)
    assert health.ready(book, replica(), 101.0)


def test_after_a_restart_of_ours_a_replica_that_has_run_is_ready_at_once() -> None:
    book = health.opened(Health(), now=100.0, running_for=60.0)
    assert health.ready(book, replica(), 100.0)


def test_readiness_needs_as_many_successes_in_a_row_as_asked() -> None:
    book = health.opened(READY, now=0.0, running_for=0.0)
    for passed, ready in ((True, False), (False, False), (True, False), (True, True)):
        answer(book, READY, "readiness", passed=passed, now=1.0)
        assert health.ready(book, replica(), 1.0) is ready


def test_one_failure_does_not_end_readiness_but_enough_do() -> None:
    book = health.opened(READY, now=0.0, running_for=0.0)
    for _ in range(2):
        answer(book, READY, "readiness", passed=True, now=1.0)
    for failures in (1, 2, 3):
        answer(book, READY, "readiness", passed=False, now=1.0)
        assert health.ready(book, replica(), 1.0) is (failures < 3)
    assert health.failed(book, READY, replica(), 1.0) == ""


def test_until_it_passes_a_check_is_asked_eagerly_and_then_at_its_interval() -> None:
    book = health.opened(READY, now=0.0, running_for=0.0)
    answer(book, READY, "readiness", passed=False, now=1.0)
    assert book.due() == (1.0 + health.EAGER_SECONDS, "readiness")
    for _ in range(2):
        answer(book, READY, "readiness", passed=True, now=2.0)
    assert book.due() == (12.0, "readiness")


def test_the_others_wait_for_startup() -> None:
    checks = Health(startup=Check(http=HTTP, interval="1s", failures=5), liveness=Check(http=HTTP))
    book = health.opened(checks, now=0.0, running_for=0.0)
    assert book.due() == (0.0, "startup")
    answer(book, checks, "startup", passed=True, now=3.0)
    assert book.due() == (3.0, "liveness")


def test_a_startup_that_takes_too_long_fails_the_replica() -> None:
    checks = Health(startup=Check(http=HTTP, interval="1s", failures=5))
    book = health.opened(checks, now=0.0, running_for=0.0)
    answer(book, checks, "startup", passed=False, now=4.0)
    assert health.failed(book, checks, replica(), 4.0) == ""
    answer(book, checks, "startup", passed=False, now=5.0)
    assert "startup check failed: said so" in health.failed(book, checks, replica(), 5.0)


def test_liveness_that_fails_often_enough_fails_the_replica() -> None:
    checks = Health(liveness=Check(exec=ExecCheck(argv=("true",)), failures=2))
    book = health.opened(checks, now=0.0, running_for=9.0)
    answer(book, checks, "liveness", passed=False, now=1.0)
    assert not health.failed(book, checks, replica(), 1.0)
    answer(book, checks, "liveness", passed=False, now=2.0)
    assert health.failed(book, checks, replica(), 2.0)


@pytest.mark.parametrize(
    ("seen", "ready", "failed"),
    [
        ({"healthy": True}, True, False),
        ({"healthy": False}, False, True),
        ({"starting": True}, False, False),
    ],
    ids=["healthy", "unhealthy", "starting"],
)
def test_an_images_own_check_counts_where_the_spec_has_none(
    seen: dict[str, bool],
    ready: bool,
    failed: bool,
) -> None:
    one: Replica = msgspec.structs.replace(replica(), **seen)
    book = health.opened(Health(), now=100.0, running_for=60.0)
    assert health.ready(book, one, 100.0) is ready
    assert bool(health.failed(book, Health(), one, 100.0)) is failed
