"""What the client of producers does on each bus. Subclass it, give `world`, inherit the tests."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from bus.client import (
    Answer,
    Conflict,
    Event,
    Gap,
    Invalid,
    NotAllowed,
    NotThere,
    Producer,
    Unanswered,
    Watch,
)
from bus.nats.bus import NatsBus
from bus.nats.credentials import PRODUCER
from domain.refusals import BadValue
from tests.contracts.session import PATIENCE
from tests.support.intents import NOON, Desk
from tests.support.nats_server import app

WEB = "App/shop/web"


class World(ABC):
    """A bus over a desk, and programs that hand in intents there."""

    desk: Desk
    bus: NatsBus

    @abstractmethod
    def producer(self, actor: str = PRODUCER) -> Producer: ...

    @abstractmethod
    async def restart(self) -> None:
        """Have the server start again, which ends all sessions."""
        ...

    async def ready(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.bus.ready()

    def tell(self, since: int = 0) -> int:
        """Publish what came into the log, and return how much there is."""
        self.bus.publish(self.desk.log.events[since:])
        return len(self.desk.log.events)


async def taken(watch: Watch, count: int) -> list[Event | Gap]:
    async with asyncio.timeout(PATIENCE):
        return [await anext(watch) for _ in range(count)]


def at(answer: Answer) -> int:
    """The position of the event of the resource that was asked about."""
    return answer.changes[0].generation


class ProducerContract:
    @pytest.fixture
    async def world(self) -> World:
        raise NotImplementedError

    @pytest.fixture
    async def producer(self, world: World) -> AsyncIterator[Producer]:
        async with world.producer() as producer:
            yield producer

    async def test_what_is_asked_is_in_the_log_when_it_is_answered(
        self, world: World, producer: Producer
    ) -> None:
        answer = await producer.ask("apply", WEB, app("web"), key="k1")
        (change,) = answer.changes
        assert (change.resource, change.result, change.events) == (WEB, "created", ("app.defined",))
        assert answer.position == world.desk.log.events[-1].position
        again = await producer.ask("apply", WEB, app("web"), key="k1")
        assert (again.position, again.repeated) == (answer.position, True)
        assert world.desk.types.count("app.defined") == 1

    async def test_a_refusal_says_by_its_class_what_to_do(
        self, world: World, producer: Producer
    ) -> None:
        with pytest.raises(NotThere, match="NotFound: App/shop/web does not exist") as missing:
            await producer.ask("scale", WEB, {"replicas": 2}, key="k1")
        assert missing.value.problem.code == "NotFound"
        await producer.ask("apply", WEB, app("web"), key="k2")
        with pytest.raises(Conflict, match="Stale"):
            await producer.ask("scale", WEB, {"replicas": 2}, key="k3", generation=1)
        with pytest.raises(Conflict, match="Expired"):
            await producer.ask(
                "scale", WEB, {"replicas": 2}, key="k4", expires=NOON - timedelta(seconds=1)
            )
        with pytest.raises(Invalid, match="UnknownField"):
            await producer.ask("scale", WEB, {"replica": 2}, key="k5")
        with pytest.raises(Invalid, match="KeyReused"):
            await producer.ask("restart", WEB, key="k2")
        async with world.producer("viewer") as viewer:
            with pytest.raises(NotAllowed, match="Forbidden: program:viewer may not restart"):
                await viewer.ask("restart", WEB, key="k6")

    async def test_a_resource_that_cannot_be_written_so_is_refused_before_it_is_sent(
        self, producer: Producer
    ) -> None:
        with pytest.raises(BadValue, match="App/shop/web"):
            await producer.ask("restart", "web", key="k1")

    async def test_what_is_submitted_has_one_outcome(
        self, world: World, producer: Producer
    ) -> None:
        await producer.ask("apply", WEB, app("web"), key="k1")
        kept = [
            await producer.submit("scale", WEB, {"replicas": n}, key=f"s{n}") for n in (2, 3, 4)
        ]
        assert [one.sequence for one in kept] == [1, 2, 3]
        answers = [await producer.outcome(one) for one in kept]
        assert [answer.changes[0].events for answer in answers] == [("app.scaled",)] * 3
        assert sorted(a.position for a in answers) == [a.position for a in answers]
        refused = await producer.submit("scale", "App/shop/none", {"replicas": 2}, key="s5")
        with pytest.raises(NotThere):
            await producer.outcome(refused)
        unreadable = await producer.submit("scale", WEB, {"replica": 2}, key="s6")
        with pytest.raises(Invalid, match="UnknownField"):
            await producer.outcome(unreadable)
        other = await producer.submit("scale", WEB, {"replicas": 9}, key="s4")
        with pytest.raises(Invalid, match="KeyReused"):
            await producer.outcome(other)
        same = await producer.submit("scale", WEB, {"replicas": 4}, key="s4")
        assert same.sequence == kept[2].sequence  # it was kept once

    async def test_without_a_control_plane_submissions_wait_and_requests_are_unanswered(
        self, world: World, producer: Producer
    ) -> None:
        await producer.ask("apply", WEB, app("web"), key="k1")
        await world.bus.stop()
        kept = await producer.submit("scale", WEB, {"replicas": 2}, key="s1")
        with pytest.raises(Unanswered, match=r"'s1' got no answer within 0\.2 s") as waiting:
            await producer.outcome(kept, patience=0.2)
        assert waiting.value.key == "s1"
        with pytest.raises(Unanswered, match="send it again under the same key"):
            await producer.ask("restart", WEB, key="k2", patience=0.2)

    async def test_a_watch_tells_what_happens_from_now_on_where_it_looks(
        self, world: World, producer: Producer
    ) -> None:
        told = world.tell()
        async with (
            producer.watch(WEB) as web,
            producer.watch(project="shop") as shop,
            producer.watch() as everything,
        ):
            answer = await producer.ask("apply", WEB, app("web"), key="k1")
            other = await producer.ask("apply", "App/shop/other", app("other"), key="k2")
            world.tell(told)
            (stored,) = (e for e in world.desk.log.events if e.position == at(answer))
            assert await web.reached(at(answer)) == Event(
                at(answer), "app.defined", WEB, NOON, json.loads(stored.data)
            )
            found = await shop.reached(at(other))
            assert isinstance(found, Event)
            assert (found.position, found.resource) == (at(other), "App/shop/other")
            assert len(await taken(everything, len(world.desk.log.events) - told)) >= 4

    async def test_a_lost_connection_is_a_gap_after_what_was_heard_last(
        self, world: World, producer: Producer
    ) -> None:
        told = world.tell()
        async with producer.watch(WEB, after=told) as watch:
            answer = await producer.ask("apply", WEB, app("web"), key="k1")
            told = world.tell(told)
            await watch.reached(at(answer))
            await world.restart()
            await world.ready()
            async with asyncio.timeout(PATIENCE):
                assert await anext(watch) == Gap(at(answer))
            later = await producer.ask("restart", WEB, key="k2")
            world.tell(told)
            async for item in watch:
                if isinstance(item, Event):
                    assert item.position == at(later)
                    break
                assert item == Gap(at(answer))  # that of the control plane's own

    async def test_who_is_too_slow_is_told_of_a_gap_where_events_were_dropped(
        self, world: World, producer: Producer
    ) -> None:
        told = world.tell()
        async with producer.watch(WEB, waiting=2) as slow, producer.watch(WEB) as quick:
            answer = await producer.ask("apply", WEB, app("web"), key="k0")
            for number in range(1, 5):
                answer = await producer.ask("restart", WEB, key=f"k{number}")
            told = world.tell(told)
            await quick.reached(at(answer))
            first, second, gap = await taken(slow, 3)
            assert isinstance(first, Event)
            assert isinstance(second, Event)
            assert gap == Gap(second.position)
            last = await producer.ask("restart", WEB, key="k9")
            world.tell(told)
            found = await slow.reached(at(last))
            assert isinstance(found, Event)
            assert found.position == at(last)

    async def test_what_the_control_plane_never_told_is_a_gap(
        self, world: World, producer: Producer
    ) -> None:
        told = world.tell()
        async with producer.watch(WEB) as watch:
            first = await producer.ask("apply", WEB, app("web"), key="k1")
            told = world.tell(told)
            await watch.reached(at(first))
            await producer.ask("restart", WEB, key="k2")
            event = world.desk.log.events[0]
            world.bus.publish([event] * 20_000)  # more than may wait: all are dropped
            last = await producer.ask("restart", WEB, key="k3")
            world.bus.publish(world.desk.log.events[-1:])
            gap, found = sorted(await taken(watch, 2), key=lambda item: isinstance(item, Event))
            assert gap == Gap(at(first))
            assert isinstance(found, Event)
            assert found.position == at(last)
