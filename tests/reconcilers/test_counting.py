"""What a worker counts, and what it does not take for trouble."""

import asyncio
from datetime import UTC, datetime
from typing import final, override

from bus.log import NewEvent
from domain import intents as i
from domain.names import app
from reconcilers.metrics import ReconcileMetrics
from reconcilers.passing import WorkerSettings
from reconcilers.ports import EngineUnavailable
from simulation.faults import Call, Trouble, on_verb
from tests.support.house import House, play
from tests.support.intents import manifest

WEB = app("shop", "web")


async def at_rest(house: House) -> None:
    """An app runs, and all that led to is over."""
    await house.send(manifest("App", "web", {"image": "web:1"}))
    await house.ready()
    await asyncio.sleep(30)


@final
class Counted(ReconcileMetrics):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.turns = 0
        self.lost_hints = 0

    @override
    def passed(self, result: str, seconds: float) -> None:
        return

    @override
    def queued(self, seconds: float) -> None:
        return

    @override
    def worked(self, seconds: float) -> None:
        self.turns += 1

    @override
    def healed(self, reason: str, seconds: float) -> None:
        return

    @override
    def drifted(self, field: str) -> None:
        return

    @override
    def ready(self, seconds: float) -> None:
        self.waits.append(seconds)

    @override
    def healed_by_replay(self, intents: int) -> None:
        self.lost_hints += intents

    @override
    def lost(self, loop: str) -> None:
        return


async def asked(house: House, metrics: Counted, *asked: i.Intent) -> list[float]:
    """What an intent adds to the waits, once all is quiet."""
    before = len(metrics.waits)
    await house.send(*asked)
    await house.ready()
    await asyncio.sleep(30)
    return metrics.waits[before:]


def test_a_scale_and_a_start_are_counted_when_they_are_ready_and_nothing_else_is() -> None:
    metrics = Counted()

    async def story(house: House) -> None:
        await at_rest(house)
        assert len(metrics.waits) == 1
        for intent in (i.Scale(ref=WEB, replicas=3), i.Scale(ref=WEB, replicas=1)):
            (wait,) = await asked(house, metrics, intent)
            assert 0 <= wait < 20
        assert await asked(house, metrics, i.Stop(ref=WEB)) == []
        assert len(await asked(house, metrics, i.Start(ref=WEB))) == 1
        assert len(await asked(house, metrics, i.Restart(ref=WEB))) == 1
        before = len(metrics.waits)
        await house.send(manifest("App", "web", {"image": "web:1"}, labels={"a": "b"}))
        house.mischief.kill(house.replicas()[-1].name)
        await asyncio.sleep(60)
        assert len(metrics.waits) - before <= 1  # the label may have to wait for the healing
        assert metrics.turns > 5

    play(story, metrics=metrics)


def test_a_calm_house_lost_no_hint() -> None:
    metrics = Counted()

    async def story(house: House) -> None:
        await house.send(manifest("App", "web", {"image": "web:1"}))
        await house.ready()
        for replicas in range(2, 8):
            await house.send(i.Scale(ref=WEB, replicas=replicas))
            await asyncio.sleep(2)
        await asyncio.sleep(60)
        assert metrics.lost_hints == 0

    play(story, metrics=metrics)


def test_what_was_there_before_the_worker_is_not_taken_for_a_lost_hint() -> None:
    metrics = Counted()

    async def story(house: House) -> None:
        later = House(log=house.log, machine=house.machine, metrics=metrics)
        async with later.working():
            await asyncio.sleep(60)
        assert later.desired.position == len(house.log.events)
        assert metrics.lost_hints == 0

    play(story)


def test_only_intents_whose_hint_is_lost_are_counted() -> None:
    metrics = Counted()

    async def story(house: House) -> None:
        await asyncio.sleep(1)  # the hints of the furniture have led to their look
        at = datetime.fromtimestamp(house.now(), UTC).isoformat().encode()
        core = b'"actor":"user:a","cause":"k","at":"%b"' % at
        for stream, kind, rest in (
            ("Project/lab", "project.defined", b',"spec":{}'),
            ("Project/lab#members", "members.joined", b',"member":"App/lab/x"'),
            ("App/shop/web#status", "rollout.started", b',"uid":1,"revision":1'),
        ):
            await house.log.append([NewEvent(stream, kind, b"{%b%b}" % (core, rest))], expect={})
        await asyncio.sleep(30)
        assert metrics.lost_hints == 1

    play(story, metrics=metrics)


def test_what_a_pass_did_itself_leads_to_no_other_pass() -> None:
    metrics = Counted()

    async def story(house: House) -> None:
        await at_rest(house)
        before = metrics.turns
        await house.send(i.Scale(ref=WEB, replicas=4))
        await asyncio.sleep(0.5)
        assert len(house.running()) == 4
        assert metrics.turns == before + 1
        await house.ready()
        await asyncio.sleep(30)
        assert metrics.turns == before + 2, "when they had run for a moment"

    play(story, metrics=metrics)


def test_what_happens_during_a_pass_that_fails_is_looked_at_at_once() -> None:
    async def story(house: House) -> None:
        await at_rest(house)
        failing = Trouble(before=EngineUnavailable("the daemon restarts"))
        house.machine.faults.plan = on_verb("start", Trouble(delay_seconds=10.0))
        await house.send(i.Scale(ref=WEB, replicas=2))
        await asyncio.sleep(6)  # one of them has begun, and the engine has not said so yet
        looks: list[float] = []

        def plan(call: Call) -> Trouble:
            if call.about == ("shop", "web"):
                looks.append(house.clock())
            return on_verb("list", failing)(call)

        house.machine.faults.plan = plan
        await asyncio.sleep(10)
        assert looks[1] == looks[0], "once more, without a pause"
        assert looks[2] > looks[1]

    play(story)


def test_a_hint_of_what_was_read_already_and_what_only_tells_lead_to_no_pass() -> None:
    metrics = Counted()

    async def story(house: House) -> None:
        await at_rest(house)
        before = metrics.turns
        house.parts.following.hint(house.desired.position)
        await asyncio.sleep(5)
        assert metrics.turns == before
        at = datetime.fromtimestamp(house.now(), UTC).isoformat().encode()
        core = b'"actor":"system:worker","cause":"9","at":"%b"' % at
        started = b"{%b,%b}" % (core, b'"uid":1,"revision":1')
        told = [NewEvent(f"{WEB.stream}#status", "rollout.started", started)]
        await house.log.append(told, expect={})
        await asyncio.sleep(5)
        assert house.desired.position == len(house.log.events)
        assert metrics.turns == before

    play(story, metrics=metrics)


def test_a_hint_that_does_not_know_where_the_log_stands_leads_to_a_look() -> None:
    async def story(house: House) -> None:
        await at_rest(house)
        at = datetime.fromtimestamp(house.now(), UTC).isoformat().encode()
        missed = b'{"actor":"user:a","cause":"k","at":"%b","spec":{}}' % at
        await house.log.append([NewEvent("Project/lab", "project.defined", missed)], expect={})
        await asyncio.sleep(5)
        assert house.desired.position < len(house.log.events), "nobody has told of it"
        house.parts.following.hint(0)
        await asyncio.sleep(1)
        assert house.desired.position == len(house.log.events)

    play(story, settings=WorkerSettings(passes=4, tail_interval=0.0, replay_interval=1000.0))
