"""The real bus over the simulated broker, in virtual time."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, final

from bus.nats.bus import NatsBus
from bus.nats.session import NatsUnavailable, Session
from bus.nats.settings import NatsSettings
from bus.nats.subjects import (
    EVENTS,
    REFUSALS,
    REFUSED_STREAM,
    SUBMIT_STREAM,
    intent_subject,
    message_id,
    submit_subject,
)
from domain.names import Ref
from simulation.broker import Broker
from simulation.loop import run
from simulation.message_faults import LOST, Fate, Kind, Sent, on_first
from tests.contracts.session import Inbox, listening
from tests.support.intents import NOON, Desk
from tests.support.nats_server import ACTORS, Heard, app, envelope
from tests.support.producers import causes

WEB = Ref("App", "shop", "web")


@final
class Place:
    """A control plane's bus and a producer, on one broker."""

    def __init__(self, lines: list[str]) -> None:
        loop = asyncio.get_running_loop()
        self.broker = Broker(heard=lambda line: lines.append(f"{loop.time():.6f} {line}"))
        self.faults = self.broker.faults
        self.desk = Desk()
        self.heard = Heard()
        self.bus = NatsBus(
            NatsSettings(servers=("nats://simulated",)),
            self.desk.service,
            actor_of=ACTORS.get,
            hinted=self.heard,
            installation="f00",
            now=lambda: NOON,
            random=Random(1),
            opening=self.broker.opening(),
        )
        self.producer: Session

    async def begin(self) -> Inbox:
        """Be connected, both; what the producer hears of events and refusals."""
        await self.bus.ready()
        self.producer = await self.broker.open("producer")
        inbox = await listening(self.producer, EVENTS)
        await self.producer.subscribe_ready(REFUSALS, inbox.take)
        return inbox

    async def ask(self, verb: str, data: object, key: str) -> dict[str, Any]:
        asked = envelope(verb, str(WEB), data, key=key)
        answer = await self.producer.ask(intent_subject("producer", WEB), asked)
        decoded: dict[str, Any] = json.loads(answer)
        return decoded

    async def submit(self, verb: str, data: object, key: str) -> None:
        asked = envelope(verb, str(WEB), data, key=key)
        identity = message_id("producer", key)
        await self.producer.store(submit_subject("producer", WEB), asked, identity)

    async def until(self, is_so: Callable[[], bool], seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds):
            while not is_so():
                await asyncio.sleep(0.1)

    def is_decided(self, *keys: str) -> bool:
        return set(keys) <= set(causes(self.desk)) and not self.broker.stored(SUBMIT_STREAM)


@asynccontextmanager
async def running(lines: list[str] | None = None) -> AsyncIterator[Place]:
    place = Place([] if lines is None else lines)
    await place.desk.furnish()
    await place.bus.start()
    try:
        yield place
    finally:
        await place.bus.stop()
        await place.broker.close()


async def story() -> list[str]:
    """All that a bus does, with trouble in between; every line that was heard of it."""
    lines: list[str] = []
    async with running(lines) as place:
        inbox = await place.begin()
        answer = await place.ask("apply", app("web"), "k1")
        assert answer["changes"][0]["result"] == "created"
        place.faults.fate = on_first(Kind.DELIVERY, Fate((0.5, 2.0)), Fate((0.1,)))
        await place.submit("scale", {"replicas": 3}, "s1")
        await place.submit("scale", {"replicas": 4}, "s2")
        await place.until(lambda: place.is_decided("s2"))
        place.bus.publish(place.desk.log.events)
        told = [json.loads(data) for data in await inbox.until(len(place.desk.log.events))]
        ids = [event["id"] for event in told if event["type"].startswith("stateward.app.")]
        assert ids == [str(e.position) for e in place.desk.log.events if "App/" in e.stream]
        place.faults.down = True
        await asyncio.sleep(60)
        assert not place.bus.status().connected
        place.bus.publish(place.desk.log.events)
        await asyncio.sleep(60)
        place.faults.down = False
        await place.begin()
        assert place.heard.hints[-1] == (0, None)
        await place.submit("scale", {"replicas": 5}, "s3")
        assert (await place.ask("restart", {}, "k2"))["changes"][0]["result"] == "configured"
        await place.until(lambda: place.is_decided("k1", "k2", "s3"))
        assert place.bus.status().dropped > 0
    return lines


def test_the_real_bus_does_all_it_does_in_virtual_time_and_each_time_the_same() -> None:
    first = run(story())
    assert len(first) > 50
    assert run(story()) == first


def test_an_intent_whose_answer_is_lost_is_asked_again_and_has_one_effect() -> None:
    async def play() -> None:
        async with running() as place:
            await place.begin()
            place.faults.fate = on_first(Kind.REPLY, LOST)
            try:
                await place.ask("apply", app("web"), "k1")
            except NatsUnavailable:
                answer = await place.ask("apply", app("web"), "k1")
                assert answer["repeated"]
            assert place.desk.types.count("app.defined") == 1

    run(play())


def test_a_submission_that_comes_after_a_later_one_is_superseded() -> None:
    async def play() -> None:
        async with running() as place:
            await place.begin()
            await place.ask("apply", app("web"), "k1")
            place.faults.fate = on_first(Kind.DELIVERY, LOST)
            await place.submit("scale", {"replicas": 2}, "old")
            await place.submit("scale", {"replicas": 3}, "new")
            await place.until(lambda: place.is_decided("new"))
            assert "old" not in causes(place.desk)
            (refusal,) = place.broker.stored(REFUSED_STREAM)
            assert json.loads(refusal.data)["data"]["problem"]["code"] == "Superseded"

    run(play())


def test_an_acknowledgement_that_is_forgotten_changes_nothing() -> None:
    async def play() -> None:
        async with running() as place:
            await place.begin()
            await place.ask("apply", app("web"), "k1")
            for number in range(2, 5):
                await place.submit("scale", {"replicas": number}, f"s{number}")
            await place.until(lambda: place.is_decided("s2", "s3", "s4"))
            before = list(place.desk.log.events)
            place.broker.restart(forgotten_acks=3)
            assert len(place.broker.stored(SUBMIT_STREAM)) == 3
            await place.begin()
            await place.until(lambda: place.is_decided("s4"))
            assert place.desk.log.events == before
            assert not place.broker.stored(REFUSED_STREAM)

    run(play())


def test_being_cut_off_for_long_ends_well() -> None:
    async def play() -> None:
        async with running() as place:
            await place.begin()
            await place.ask("apply", app("web"), "k1")
            place.faults.cut.add("stateward")
            await place.submit("scale", {"replicas": 2}, "s1")
            await asyncio.sleep(300)
            assert place.bus.status().reason == "no answer"
            place.faults.cut.clear()
            await place.until(lambda: place.is_decided("s1"))
            await place.bus.ready()

    run(play())


def test_whatever_happens_to_messages_every_submission_is_decided_once() -> None:
    async def play(seed: int) -> None:
        random = Random(seed)

        def fate(_sent: Sent) -> Fate:
            return Fate(tuple(random.choice((0.0, 0.1, 8.0)) for _ in range(random.randrange(3))))

        async with running() as place:
            await place.begin()
            await place.ask("apply", app("web"), "k1")
            place.faults.fate = fate
            keys = [f"s{number}" for number in range(10)]
            for number, key in enumerate(keys):
                for _ in range(100):
                    try:
                        await place.submit("scale", {"replicas": number + 2}, key)
                    except NatsUnavailable:
                        continue
                    break
            await place.until(lambda: not place.broker.stored(SUBMIT_STREAM), 3600)
            kept = [json.loads(m.data)["data"] for m in place.broker.stored(REFUSED_STREAM)]
            refused = {told["key"] for told in kept}
            assert {told["problem"]["code"] for told in kept} <= {"Superseded"}
            assert set(keys) <= refused | set(causes(place.desk))
            scaled = [c for c in causes(place.desk) if c in keys]
            assert scaled == sorted(scaled)

    for seed in range(10):
        run(play(seed))
