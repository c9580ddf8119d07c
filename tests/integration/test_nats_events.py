"""Events and hints go out after each commit, and never hold anybody up."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from bus import codec
from bus.log import StoredEvent
from domain.events import HealthChanged, MemberJoined
from tests.support.intents import NOON, manifest
from tests.support.nats_server import PATIENCE, Place, program, running


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with running(tmp_path / "nats") as started:
        yield started


async def test_every_event_goes_out_as_a_cloud_event(place: Place) -> None:
    async with program(place) as listener:
        heard: asyncio.Queue[Msg] = asyncio.Queue()
        await listener.subscribe("stateward.v1.event.>", cb=heard.put)
        await listener.flush()
        await listener.flush()
        place.bus.publish(place.desk.log.events)
        async with asyncio.timeout(PATIENCE):
            messages = [await heard.get() for _ in place.desk.log.events]
    told = [json.loads(message.data) for message in messages]
    assert [int(event["id"]) for event in told] == [e.position for e in place.desk.log.events]
    assert messages[0].subject == "stateward.v1.event._.Target.local.defined"
    assert (told[0]["type"], told[0]["source"]) == ("stateward.target.defined.v1", "/stateward/f00")
    assert told[0]["subject"] == "Target/local"


async def test_transitions_and_memberships_are_told_of_their_resource(place: Place) -> None:
    health = HealthChanged(
        actor="system:replicas", cause="1", at=NOON, uid=1, ready=True, reason="Up", message=""
    )
    joined = MemberJoined(actor="user:alice", cause="k", at=NOON, member="App/shop/web")
    async with program(place) as listener:
        heard: asyncio.Queue[Msg] = asyncio.Queue()
        await listener.subscribe("stateward.v1.event.>", cb=heard.put)
        await listener.flush()
        await listener.flush()
        place.bus.publish(
            [
                StoredEvent(8, "App/shop/web#status", 1, health.type, codec.encode(health)),
                StoredEvent(9, "Project/shop#members", 1, joined.type, codec.encode(joined)),
            ]
        )
        async with asyncio.timeout(PATIENCE):
            subjects = [(await heard.get()).subject for _ in range(2)]
    assert subjects == [
        "stateward.v1.event.shop.App.web.health-changed",
        "stateward.v1.event._.Project.shop.members-joined",
    ]


async def test_an_event_that_cannot_be_read_keeps_no_other_from_going_out(place: Place) -> None:
    good = place.desk.log.events[0]
    async with program(place) as listener:
        heard: asyncio.Queue[Msg] = asyncio.Queue()
        await listener.subscribe("stateward.v1.event.>", cb=heard.put)
        await listener.flush()
        await listener.flush()
        place.bus.publish([StoredEvent(1, "App/shop/web", 1, "app.scaled", b"{"), good])
        async with asyncio.timeout(PATIENCE):
            assert json.loads((await heard.get()).data)["id"] == str(good.position)
    assert place.bus.status().dropped == 1


async def test_a_hint_names_what_a_commit_changed_once_and_nothing_else(place: Place) -> None:
    place.bus.publish(place.desk.log.events)  # the first hint of a connection says "scan"
    await place.heard.until(lambda hint: hint[0] == place.desk.log.events[-1].position)
    before = len(place.desk.log.events)
    await place.desk.send(manifest("App", "web", {"image": "nginx:1.27"}))
    commit = place.desk.log.events[before:]
    assert {event.stream for event in commit} >= {"App/shop/web", "Project/shop#members"}
    place.bus.publish(commit)
    head = commit[-1].position
    await place.heard.until(lambda hint: hint[0] == head)
    assert [keys for at, keys in place.heard.hints if at == head] == [["App/shop/web"]]


async def test_after_a_connection_begins_hints_say_scan(place: Place) -> None:
    assert place.heard.hints[0] == (0, None)
    place.bus.publish(place.desk.log.events)
    head = place.desk.log.events[-1].position
    await place.heard.until(lambda hint: hint[0] == head)
    assert place.heard.hints[-1] == (head, None)


async def test_a_commit_of_many_resources_says_scan(place: Place) -> None:
    place.bus.publish(place.desk.log.events)
    event = place.desk.log.events[0]
    many = [event._replace(position=10 + n, stream=f"App/shop/a{n}") for n in range(65)]
    place.bus.publish(many[:64])
    place.bus.publish(many)
    await place.heard.until(lambda hint: hint[0] == 74)
    hints = dict(place.heard.hints)
    assert hints[74] is None
    assert hints[73] is not None
    assert len(hints[73]) == 64


@pytest.mark.parametrize(
    "hint",
    [
        b"",
        b"{",
        b"\xff",
        b'{"head": 1}',
        b'{"head": -1, "keys": "scan"}',
        b'{"head": 1, "keys": "all"}',
        b'{"head": 1, "keys": ["web"]}',
        b'{"head": 1, "keys": ["App/shop/web"], "spec": {}}',
        json.dumps({"head": 1, "keys": ["App/shop/web"] * 65}).encode(),
    ],
)
async def test_a_malformed_hint_is_dropped(place: Place, hint: bytes) -> None:
    async with program(place, "stateward") as insider:
        await insider.publish("stateward.v1.hint.0", hint)
        await insider.publish("stateward.v1.hint.0", b'{"head": 99, "keys": ["App/shop/web"]}')
        await place.heard.until(lambda heard: heard[0] == 99)
    assert place.heard.hints == [(0, None), (99, ["App/shop/web"])]


async def test_publishing_without_a_server_drops_and_counts_and_then_says_scan(
    place: Place,
) -> None:
    place.bus.publish(place.desk.log.events)
    head = place.desk.log.events[-1].position
    await place.heard.until(lambda hint: hint[0] == head)
    pid = place.server_pid
    os.kill(pid, signal.SIGSTOP)  # a server that hangs is worse than one that is dead
    event = place.desk.log.events[0]
    for n in range(30_000):
        place.bus.publish([event._replace(position=100 + n)])
    assert place.bus.status().dropped >= 20_000
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(PATIENCE):
        while place.bus.status().server_restarts == 0:
            await asyncio.sleep(0.01)
        await place.bus.ready()
    place.heard.hints.clear()
    place.bus.publish([event._replace(position=40_000)])
    await place.heard.until(lambda hint: hint == (40_000, None))


async def test_after_too_much_at_once_hints_say_scan(tmp_path: Path) -> None:
    async with running(tmp_path / "nats", events_waiting=2) as place:
        event = place.desk.log.events[0]
        place.bus.publish([event])
        await place.heard.until(lambda hint: hint[0] == event.position)
        for n in range(3):  # without a pause, so that all of them wait at once
            place.bus.publish([event._replace(position=10 + n)])
        assert place.bus.status().dropped == 1
        await place.heard.until(lambda hint: hint[0] == 11)
        place.bus.publish([event._replace(position=20)])
        place.bus.publish([event._replace(position=21)])
        await place.heard.until(lambda hint: hint[0] == 21)
    assert place.heard.hints[-4:] == [
        (10, None),  # sent after the loss, so it says more than it has to
        (11, ["Target/local"]),
        (20, ["Target/local"]),
        (21, ["Target/local"]),
    ]


async def test_stopping_takes_seconds_even_if_the_server_hangs_and_much_waits(
    tmp_path: Path,
) -> None:
    wordy = HealthChanged(
        actor="system:replicas",
        cause="1",
        at=NOON,
        uid=1,
        ready=True,
        reason="Up",
        message="x" * 4000,
    )
    event = StoredEvent(1, "App/shop/web#status", 1, wordy.type, codec.encode(wordy))
    async with running(tmp_path / "nats") as place:
        os.kill(place.server_pid, signal.SIGSTOP)
        for n in range(9_000):
            place.bus.publish([event._replace(position=1 + n)])
        await asyncio.sleep(0)  # the publisher begins, and fills its buffer
        async with asyncio.timeout(PATIENCE):
            await place.bus.stop()
