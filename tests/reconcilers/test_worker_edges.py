"""Stories of what happens between two intents that do not expect each other."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from bus.log import NewEvent
from domain import intents as i
from domain import rules
from domain.events import Fact
from domain.names import app
from domain.refusals import Frozen
from reconcilers import journal
from reconcilers.ports import (
    EngineError,
    EngineUnavailable,
    ReplicaName,
    StartFailed,
    StartReplica,
)
from simulation import loop
from simulation.engine import SimulatedReplicas
from simulation.faults import CALM, Trouble, on_verb
from simulation.machine import Running
from tests.support.house import House, play
from tests.support.intents import manifest

WEB = app("shop", "web")
CHECKED = {
    "ports": [{"name": "http", "port": 80}],
    "health": {"readiness": {"http": {"path": "/", "port": "http"}}},
}
VOLUMES = [{"name": "data", "path": "/data"}]


def spec(image: str = "web:1", *, how: str = "", **more: object) -> dict[str, object]:
    return {"image": image, "env": {"SIMULATED": how}} | CHECKED | more


def test_a_deleted_app_is_not_probed_any_more() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(replicas=2)))
        await house.ready()
        await house.send(i.Delete(ref=WEB))
        await house.until(lambda: "removal.completed" in house.types)
        await asyncio.sleep(20)
        assert len(house.parts.probing) == 0

    play(story)


def test_a_healed_replica_that_only_has_a_liveness_check_becomes_ready() -> None:
    async def story(house: House) -> None:
        live = {"liveness": {"http": {"path": "/", "port": "http"}, "interval": "30s"}}
        await house.send(manifest("App", "web", spec(health=live)))
        assert await house.ready() < 4
        await asyncio.sleep(60)
        house.mischief.kill(ReplicaName("shop", "web", 1, 0, 1))
        await house.until(lambda: (status := house.of()) and not status.is_true("Ready"))
        assert await house.until(lambda: (status := house.of()) and status.is_true("Ready")) < 4

    play(story)


def test_a_replica_without_checks_is_ready_after_a_moment_whenever_it_started() -> None:
    async def story(house: House) -> None:
        plain = {"image": "web:1"}
        for number in range(20):
            await asyncio.sleep(0.1234567)
            await house.send(manifest("App", f"a{number}", plain))
            assert await house.ready(f"a{number}") < 3

    play(story)


def test_an_orphaned_app_is_not_probed_any_more() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(replicas=2)))
        await house.ready()
        await house.send(i.Delete(ref=WEB, orphan=True))
        await asyncio.sleep(20)
        assert len(house.parts.probing) == 0
        assert len(house.running()) == 2

    play(story)


def test_the_volumes_under_orphans_are_not_removed_with_their_namesake() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(volumes=VOLUMES)))
        await house.ready()
        await house.send(i.Delete(ref=WEB, orphan=True))
        await house.send(manifest("App", "web", spec(volumes=VOLUMES, replicas=2)))
        await house.ready()
        await house.send(i.Delete(ref=WEB, volumes=True))
        await house.until(lambda: "removal.completed" in house.types, within=30)
        assert house.running() == [(1, 0, 1)]
        assert house.machine.grounds[house.installation, "shop"].volumes

    play(story)


def test_an_image_that_could_not_be_recorded_while_its_app_was_frozen_is_recorded_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decide, refused = rules.decide, list[str]()

    def frozen_at_first(context: rules.Context, intent: i.Intent, **how: Any) -> tuple[Fact, ...]:
        if isinstance(intent, i.ResolveImage) and not refused:
            refused.append(how["cause"])
            raise Frozen(intent.ref, "an event of a later version")
        return decide(context, intent, **how)

    async def story(house: House) -> None:
        monkeypatch.setattr("bus.intents.decide", frozen_at_first)
        await house.send(manifest("App", "web", spec()))
        await house.ready()
        assert refused

    play(story)


def test_an_image_that_is_refused_is_not_recorded_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seed 224: an app whose history could not be read had its image resolved 13,738 times."""
    decide, refused = rules.decide, list[str]()

    def frozen(context: rules.Context, intent: i.Intent, **how: Any) -> tuple[Fact, ...]:
        if isinstance(intent, i.ResolveImage):
            refused.append(how["cause"])
            raise Frozen(intent.ref, "an event of a later version")
        return decide(context, intent, **how)

    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec()))
        await house.ready()
        monkeypatch.setattr("bus.intents.decide", frozen)
        house.machine.faults.plan = lambda _call: Trouble(delay_seconds=0.05)
        await house.send(manifest("App", "web", spec() | {"image": "web:2"}))
        await asyncio.sleep(100.0)
        assert 2 <= len(refused) <= 30, "about once in a replay tick"

    play(story)


def test_what_was_made_and_could_not_be_started_is_taken_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make, broken = SimulatedReplicas._make, list[int]()

    def made_only(self: SimulatedReplicas, order: StartReplica) -> Running:
        if order.name.attempt == 2 and not broken:
            broken.append(order.name.attempt)
            self._machine.create(self._installation, order)
            raise StartFailed("the engine went away")
        return make(self, order)

    async def story(house: House) -> None:
        monkeypatch.setattr(SimulatedReplicas, "_make", made_only)
        await house.send(manifest("App", "web", spec(replicas=2)))
        await house.ready()
        house.mischief.kill(ReplicaName("shop", "web", 1, 0, 1))
        await asyncio.sleep(5)
        assert broken
        await house.until(lambda: (s := house.of()) and s.is_true("Ready") and s.is_true("Synced"))
        gone = ReplicaName("shop", "web", 1, 0, 2)
        assert house.machine.find(house.installation, gone) is None

    play(story)


def test_an_app_held_at_a_revision_without_an_image_gets_it_when_it_comes() -> None:
    async def story(house: House) -> None:
        house.machine.missing_images.add("web:1")
        await house.send(manifest("App", "web", spec()))
        await asyncio.sleep(5)
        await house.send(i.Hold(ref=WEB, reason="incident"))
        await house.send(manifest("App", "web", spec("web:2")))
        await asyncio.sleep(5)
        house.machine.missing_images.clear()
        before = house.machine.calls["resolve"]
        await asyncio.sleep(600)
        assert house.machine.calls["resolve"] - before < 20
        assert house.running() == [(1, 0, 1)]

    play(story)


def test_a_held_revision_with_volumes_is_healed_in_place() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(how="unready=1", volumes=VOLUMES)))
        await house.ready()
        await house.send(i.Hold(ref=WEB, reason="incident"))
        await house.send(manifest("App", "web", spec("web:2")))
        await asyncio.sleep(5)
        house.mischief.edit(ReplicaName("shop", "web", 1, 0, 1), "memory")
        most = 0
        for _ in range(1000):
            most = max(most, len(house.running()))
            await asyncio.sleep(0.02)
        assert house.running() == [(1, 0, 2)]
        assert most == 1

    play(story)


def test_scaling_back_while_a_replica_drains_ends_at_what_is_wanted() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(replicas=3, rollout={"drain": "5s"})))
        await house.ready()
        await house.send(i.Scale(ref=WEB, replicas=1))
        await asyncio.sleep(1)
        await house.send(i.Scale(ref=WEB, replicas=3))
        await house.ready()
        await asyncio.sleep(30)
        assert len(house.running()) == 3
        assert len(house.replicas()) == 3

    play(story)


def test_pause_scale_undo_and_resume_end_where_the_last_intent_says() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(replicas=2)))
        await house.ready()
        await house.send(manifest("App", "web", spec("web:2", how="exit=1")))
        await asyncio.sleep(20)
        await house.send(i.Hold(ref=WEB, reason="incident"))
        await house.send(i.Scale(ref=WEB, replicas=4))
        await asyncio.sleep(20)
        await house.send(i.Undo(ref=WEB))
        await asyncio.sleep(20)
        assert [r[0] for r in house.running()].count(1) == 4
        await house.send(i.Resume(ref=WEB))
        await house.ready()
        assert [r[0] for r in house.running()] == [3, 3, 3, 3]

    play(story)


def test_an_app_deleted_and_made_anew_during_a_rollout_keeps_nothing_of_its_former_life() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(replicas=3, rollout={"drain": "5s"})))
        await house.ready()
        await house.send(manifest("App", "web", spec("web:2", rollout={"drain": "5s"})))
        await asyncio.sleep(1.5)
        await house.send(i.Delete(ref=WEB))
        await house.send(manifest("App", "web", spec("web:3", replicas=2)))
        await house.ready()
        await house.until(lambda: "removal.completed" in house.types)
        await asyncio.sleep(30)
        assert [r[0] for r in house.running()] == [3, 3]
        assert len(house.replicas()) == 2

    play(story)


def test_a_pause_that_ends_while_its_log_was_away_is_resumed() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec()))
        await house.ready()
        until = datetime.fromtimestamp(house.now() + 20, UTC)
        await house.send(i.Hold(ref=WEB, reason="incident", until=until))
        await house.send(manifest("App", "web", spec("web:2")))
        await asyncio.sleep(15)
        assert [r[0] for r in house.running()] == [1]
        await house.ready(within=20)
        assert [r[0] for r in house.running()] == [2]

    play(story)


def test_a_pause_of_an_app_with_nothing_to_roll_out_ends_in_time() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec()))
        await house.ready()
        until = datetime.fromtimestamp(house.now() + 20, UTC)
        await house.send(i.Hold(ref=WEB, reason="incident", until=until))
        await house.send(i.Stop(ref=WEB))
        await asyncio.sleep(45)
        wanted = house.desired.app("App/shop/web")
        assert wanted is not None
        assert wanted.paused is None

    play(story)


def test_a_pause_of_a_stopped_app_ends_in_time_after_a_start_of_the_worker() -> None:
    async def main() -> None:
        first = House()
        async with first.working():
            await first.furnish()
            await first.send(manifest("App", "web", spec(running=False)))
            until = datetime.fromtimestamp(first.now() + 20, UTC)
            await first.send(i.Hold(ref=WEB, reason="incident", until=until))
        second = House(log=first.log, machine=first.machine, secrets=first.secrets)
        async with second.working():
            await asyncio.sleep(45)
            wanted = second.desired.app("App/shop/web")
            assert wanted is not None
            assert wanted.paused is None

    loop.run(main())


def test_an_app_that_never_starts_up_can_be_stopped_and_deleted_at_any_time() -> None:
    async def story(house: House) -> None:
        house.machine.missing_images.add("web:9")
        await house.send(manifest("App", "web", spec("web:9")))
        await asyncio.sleep(5)
        await house.send(i.Delete(ref=WEB))
        await house.until(lambda: "removal.completed" in house.types, within=30)
        before = house.machine.calls["resolve"]
        await asyncio.sleep(1000)
        assert house.machine.calls["resolve"] == before

    play(story)


def test_a_stopped_app_that_crashed_rests_without_a_write() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(how="exit=1", replicas=2)))
        await asyncio.sleep(60)
        await house.send(i.Stop(ref=WEB))
        await asyncio.sleep(60)
        writes, events = house.writes(), len(house.log.events)
        await asyncio.sleep(600)
        assert (house.writes(), len(house.log.events)) == (writes, events)
        assert house.running() == []

    play(story)


def test_a_rollout_that_is_scaled_ends_with_the_new_count() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(how="unready=2", replicas=4)))
        await house.ready()
        for replicas in (6, 2, 5, 3):
            await house.send(manifest("App", "web", spec(f"web:{replicas}", how="unready=2")))
            await asyncio.sleep(1)
            await house.send(i.Scale(ref=WEB, replicas=replicas))
            await asyncio.sleep(1)
        await house.ready(within=120)
        assert [r[0] for r in house.running()] == [5] * 3
        await asyncio.sleep(30)
        assert len(house.replicas()) == 3

    play(story)


def test_a_set_with_volumes_that_moves_loses_no_data_of_the_app_that_stays() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(volumes=VOLUMES)))
        await house.ready()
        await house.send(i.Delete(ref=WEB, volumes=True))
        await house.until(lambda: "removal.completed" in house.types)
        volumes = house.machine.grounds[house.installation, "shop"].volumes
        assert not volumes

    play(story)


def test_nothing_of_what_the_log_knows_is_written_while_it_has_gone_back() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(replicas=3, rollout={"drain": "5s"})))
        await house.ready()
        await house.send(i.Scale(ref=WEB, replicas=1))
        await asyncio.sleep(1)
        house.rewound = "the log went backwards"
        await asyncio.sleep(60)
        assert len(house.running()) == 3

    play(story)


def test_an_engine_that_cannot_stop_a_replica_is_not_asked_without_a_pause() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(replicas=2)))
        await house.ready()
        away = EngineUnavailable("stop: it does not answer")
        house.machine.faults.plan = on_verb("stop", Trouble(before=away))
        await house.send(i.Scale(ref=WEB, replicas=1))
        await asyncio.sleep(600)
        assert house.machine.calls["stop"] < 100
        house.machine.faults.plan = lambda _call: CALM
        await house.until(lambda: len(house.running()) == 1, within=400)

    play(story)


def test_a_stop_that_never_returns_is_asked_again() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(volumes=VOLUMES)))
        await house.ready()
        house.machine.faults.plan = on_verb("stop", Trouble(delay_seconds=1_000_000.0))
        await house.send(manifest("App", "web", spec("web:2", volumes=VOLUMES)))
        await asyncio.sleep(10)
        house.machine.faults.plan = lambda _call: CALM
        await house.until(lambda: house.running() == [(2, 0, 1)], within=300)

    play(story)


def test_a_start_that_never_returns_is_asked_again() -> None:
    async def story(house: House) -> None:
        house.machine.faults.plan = on_verb("start", Trouble(delay_seconds=1_000_000.0))
        await house.send(manifest("App", "web", spec()))
        await asyncio.sleep(10)
        house.machine.faults.plan = lambda _call: CALM
        await house.ready(within=300)

    play(story)


def test_a_removal_of_the_dead_that_fails_keeps_nobody_from_starting() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(replicas=2)))
        await house.ready()
        away = EngineUnavailable("remove: it does not answer")
        house.machine.faults.plan = on_verb("remove", Trouble(before=away))
        for attempt in (1, 2, 3):
            await asyncio.sleep(60)
            house.mischief.kill(ReplicaName("shop", "web", 1, 0, attempt))
            await house.until(lambda: (1, 0, attempt + 1) in house.running(), within=15)  # noqa: B023

    play(story)


def test_what_an_engine_cannot_do_is_told_and_stops_no_deadline() -> None:
    async def story(house: House) -> None:
        full = EngineError("network shop cannot be made: no addresses are left")
        house.machine.faults.plan = on_verb("prepare", Trouble(before=full))
        await house.send(manifest("App", "web", spec(rollout={"progressDeadline": "5m"})))
        await asyncio.sleep(60)
        status = house.of()
        assert status is not None
        assert {("Ready", "EngineFailed"), ("Degraded", "EngineFailed")} <= {
            (c.type, c.reason) for c in status.conditions
        }
        assert "no addresses are left" in status.conditions[0].message
        await asyncio.sleep(840)
        assert house.types.count("rollout.stalled") == 1
        assert house.machine.calls["prepare"] < 20
        house.machine.faults.plan = lambda _call: CALM
        await house.ready(within=400)
        status = house.of()
        assert status is not None
        assert not status.is_true("Degraded")

    play(story)


@pytest.mark.parametrize("verb", ["stop", "remove"])
def test_a_replica_that_an_engine_cannot_end_is_told_of(verb: str) -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(replicas=2)))
        await house.ready()
        denied = EngineError(f"{verb}: permission denied")
        house.machine.faults.plan = on_verb(verb, Trouble(before=denied))
        await house.send(i.Scale(ref=WEB, replicas=1))
        await asyncio.sleep(30)
        status = house.of()
        assert status is not None
        assert "permission denied" in str(status.condition("Degraded"))
        house.machine.faults.plan = lambda _call: CALM
        await house.until(lambda: (s := house.of()) and not s.is_true("Degraded"), within=100)
        assert len(house.replicas()) == 1

    play(story)


def test_an_engine_whose_list_fails_counts_as_away() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec()))
        await house.ready()
        house.machine.faults.plan = on_verb("list", Trouble(before=EngineError("list: broken")))
        await house.until(lambda: (s := house.of()) and s.conditions[0].status == "Unknown")

    play(story)


def test_a_completed_rollout_for_which_there_was_no_room_is_told_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec()))
        await house.ready()
        with monkeypatch.context() as patch:
            patch.setattr(journal, "BUFFERED", 0)
            await house.send(manifest("App", "web", spec("web:2")))
            await asyncio.sleep(20)
        await house.ready(within=30)

    play(story)


def test_a_frozen_target_keeps_what_was_being_removed() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(replicas=2)))
        await house.ready()
        away = EngineUnavailable("stop: it does not answer")
        house.machine.faults.plan = on_verb("stop", Trouble(before=away))
        await house.send(i.Delete(ref=WEB))
        await asyncio.sleep(5)
        unreadable = NewEvent("Target/local", "target.teleported", b"{}")
        await house.log.append([unreadable], expect={})
        await asyncio.sleep(5)
        house.machine.faults.plan = lambda _call: CALM
        await asyncio.sleep(400)
        assert len(house.running()) == 2

    play(story)


def test_an_app_made_anew_starts_when_its_volumes_of_before_are_gone() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(volumes=VOLUMES)))
        await house.ready()
        volumes = house.machine.grounds[house.installation, "shop"].volumes
        (kept,) = volumes.values()
        kept["kept"] = "of before"
        before = house.of()
        assert before is not None
        stuck = EngineUnavailable("stop: it does not answer")
        house.machine.faults.plan = on_verb("stop", Trouble(before=stuck))
        await house.send(i.Delete(ref=WEB, volumes=True))
        await house.send(manifest("App", "web", spec("web:2", volumes=VOLUMES)))
        await house.until(lambda: (s := house.of()) and s.uid != before.uid)
        status = house.of()
        assert status is not None
        assert [(c.status, c.reason) for c in status.conditions[:3]] == [
            ("False", "RemovalPending"),
            ("True", "RemovalPending"),
            ("False", "AsExpected"),
        ]
        assert house.running() == [(1, 0, 1)]
        house.machine.faults.plan = lambda _call: CALM
        await house.ready(within=30)
        assert house.running() == [(2, 0, 1)]
        assert list(volumes.values()) == [{}]

    play(story)


def test_an_app_made_anew_takes_up_its_volumes_when_its_last_writer_has_left_them() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(how="slow=5", volumes=VOLUMES)))
        await house.ready()
        volumes = house.machine.grounds[house.installation, "shop"].volumes
        next(iter(volumes.values()))["kept"] = "of before"
        await house.send(i.Delete(ref=WEB))
        await house.send(manifest("App", "web", spec("web:2", volumes=VOLUMES)))
        while (2, 0, 1) not in house.running():
            assert len(house.running()) <= 1
            await asyncio.sleep(0.02)
        assert house.running() == [(2, 0, 1)]
        await house.ready()
        assert list(volumes.values()) == [{"kept": "of before"}]

    play(story)


def test_what_waits_for_the_volumes_of_before_meets_no_deadline() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(volumes=VOLUMES)))
        await house.ready()
        stuck = EngineUnavailable("stop: it does not answer")
        house.machine.faults.plan = on_verb("stop", Trouble(before=stuck))
        await house.send(i.Delete(ref=WEB, volumes=True))
        rollout = {"progressDeadline": "1m"}
        await house.send(manifest("App", "web", spec(volumes=VOLUMES, rollout=rollout)))
        await asyncio.sleep(600)
        assert "rollout.stalled" not in house.types
        house.machine.faults.plan = lambda _call: CALM
        await house.ready(within=400)

    play(story)


def test_lives_that_were_deleted_one_after_the_other_lose_their_volumes_once_all_are_gone() -> None:
    async def story(house: House) -> None:
        stuck = EngineUnavailable("stop: it does not answer")
        for number in (1, 2):
            house.machine.faults.plan = lambda _call: CALM
            await house.send(manifest("App", "web", spec(f"web:{number}", volumes=VOLUMES)))
            await house.ready()
            house.machine.faults.plan = on_verb("stop", Trouble(before=stuck))
            await house.send(i.Delete(ref=WEB, volumes=number == 2))
            await asyncio.sleep(3)
        house.machine.faults.plan = lambda _call: CALM
        await house.until(lambda: house.types.count("removal.completed") == 2, within=400)
        assert not house.machine.grounds[house.installation, "shop"].volumes

    play(story)


def test_two_revisions_without_their_images_are_tried_again_ever_more_rarely() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec("web:1")))
        await house.ready()
        house.machine.missing_images.update(("web:2", house.machine.present_images["web:1"]))
        house.mischief.forget_image("web:1")
        await house.send(manifest("App", "web", spec("web:2")))
        house.mischief.kill(ReplicaName("shop", "web", 1, 0, 1))
        await asyncio.sleep(30)
        before = house.machine.calls["resolve"]
        await asyncio.sleep(300)
        assert 0 < house.machine.calls["resolve"] - before < 60

    play(story)
