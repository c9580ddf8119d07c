"""Stories of what happens between two intents that do not expect each other."""

import asyncio

from domain import intents as i
from domain.names import app
from reconcilers.ports import ReplicaName
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
