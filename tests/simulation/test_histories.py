"""Worlds that begin with somebody's own log."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus import exports
from bus.log import Head, StoredEvent
from bus.redaction import redacted
from domain import events as e
from simulation import history, knobs, loop
from simulation.history import History
from tests.support.histories import played, steps
from tests.support.intents import NOON, Desk, manifest


def begun(events: list[StoredEvent]) -> History:
    first = exports.header("11111111-aaaa", Head(events[-1].position, b""), len(events))
    return history.of(exports.read(list(exports.write(first, events))))


def of_processes() -> list[StoredEvent]:
    """A log of processes, with words that a simulated machine would take for its own."""

    async def play() -> list[StoredEvent]:
        desk = Desk()
        await desk.furnish("process")
        serve = {"command": ["/usr/bin/web"], "args": ["serve", "--port=80"], "replicas": 2}
        other = {"command": ["/usr/bin/job"], "env": {"SIMULATED": "yes, please"}}
        await desk.send(manifest("App", "web", serve), manifest("App", "job", other))
        return desk.log.events

    return loop.run(play())


@settings(max_examples=10)
@given(st.lists(steps, max_size=8).map(played), st.integers(0, 1000))
def test_any_history_comes_to_rest_under_faults(events: list[StoredEvent], seed: int) -> None:
    outcome = history.run(begun(list(redacted(events))), seed, minutes=3)
    assert not outcome.violations


def test_a_history_without_faults_becomes_what_it_says() -> None:
    outcome = history.run(begun(played([])), 1, {}, minutes=2)
    assert not outcome.violations
    assert outcome.events > len(played([]))  # the rollouts that nobody had done yet


def test_processes_run_as_well_whatever_words_they_are_given() -> None:
    past = begun(of_processes())
    assert b'"simulated"' in past.events[0].data
    outcome = history.run(past, 1, {}, minutes=2)
    assert not outcome.violations
    assert any(e.RolloutCompleted.type in line for line in outcome.last)


def test_nobody_asks_for_anything_unless_that_is_wanted() -> None:
    past = begun(played([]))
    quiet: list[str] = []
    busy: list[str] = []
    alone = history.run(past, 3, knobs.named("all"), minutes=2, told=quiet.append)
    history.run(past, 3, {}, minutes=2, asks=True, told=busy.append)
    assert not [line for line in quiet if " client: " in line and "one more" not in line]
    assert any(" client: people-" in line for line in busy)
    assert not set(alone.fired) & {fault.value for fault in history.ASKED}


def test_the_world_begins_when_the_history_ends() -> None:
    assert begun(played([])).begins == pytest.approx(NOON.timestamp())


def test_secrets_that_are_referred_to_have_values_that_stand_in() -> None:
    past = begun(played([]))
    assert [sorted(keys) for keys in past.secrets.values()] == [["password"]]
