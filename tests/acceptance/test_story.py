"""What an app lives through while everything is well: it comes, grows, is hurt, heals, goes."""

import os
import shutil
import signal
from collections.abc import Iterator

import pytest

from tests.support.asking import greeting, web
from tests.support.serving import ControlPlane


@pytest.fixture
def shop(shared: ControlPlane) -> Iterator[ControlPlane]:
    """The shared control plane, afterwards without the app `web`."""
    yield shared
    shared.delete("web")
    shared.until(lambda: not shared.directories(), "nothing is left of web")
    assert shared.pids() == set()


def test_an_applied_app_answers_where_its_status_says(shop: ControlPlane) -> None:
    answer = shop.apply("web", web("good morning"))
    assert answer["changes"][0]["result"] == "created"
    app = shop.rolled_out()
    assert greeting(shop.address()) == "good morning"
    assert app["status"]["ready"] == app["status"]["wanted"] == 1
    told = {event["type"] for event in shop.events("rollout.")}
    assert {"rollout.started", "rollout.completed"} <= told


def test_a_killed_replica_is_started_again_and_told_of(shop: ControlPlane) -> None:
    shop.apply("web", web(replicas=2))
    shop.rolled_out()
    before = shop.pids()
    victim = min(before)
    uid = shop.app()["metadata"]["uid"]
    os.kill(victim, signal.SIGKILL)
    shop.until(lambda: len(shop.pids() - {victim}) == 2, "two replicas run")
    shop.rolled_out()
    assert before - {victim} < shop.pids()
    (healed,) = [event for event in shop.events("replica.healed") if event["data"]["uid"] == uid]
    assert "exited" in healed["data"]["reason"]
    assert healed["actor"] == "system:replicas"


def test_a_replica_removed_behind_its_back_comes_again(shop: ControlPlane) -> None:
    shop.apply("web", web())
    shop.rolled_out()
    (pid,) = shop.pids()
    uid = shop.app()["metadata"]["uid"]
    (replica,) = shop.directories()
    shutil.rmtree(shop.data / "replicas" / "default" / "web" / replica)
    shop.until(lambda: len(shop.pids() - {pid}) == 1, "another replica runs")
    shop.rolled_out()
    shop.until(lambda: len(shop.pids()) == 1, "the stray one has ended")
    healed = [event for event in shop.events("replica.healed") if event["data"]["uid"] == uid]
    assert [event["data"]["reason"] for event in healed] == ["removed"]


def test_scaling_up_and_down_keeps_the_lowest_slots_and_leaves_nothing(shop: ControlPlane) -> None:
    shop.apply("web", web())
    shop.rolled_out()
    first = shop.pids()
    shop.act("web", "scale", {"replicas": 5})
    shop.rolled_out()
    assert len(shop.pids()) == 5
    assert first < shop.pids()
    shop.act("web", "scale", {"replicas": 2})
    shop.rolled_out()
    shop.until(lambda: len(shop.pids()) == 2, "two replicas are left")
    assert first < shop.pids()
    assert {one["slot"] for one in shop.app()["status"]["replicas"]} == {0, 1}
    shop.until(lambda: len(shop.directories()) == 2, "only theirs is left on disk")


def test_a_command_that_dies_at_once_leaves_the_old_revision_serving(shop: ControlPlane) -> None:
    shop.apply("web", web("old", replicas=2))
    first = shop.rolled_out()["metadata"]["revision"]
    old = shop.pids()
    shop.apply("web", web("new", replicas=2, command=["/bin/false"]))
    shop.until(lambda: shop.condition("Degraded") == ("True", "CrashLoop"), "it says CrashLoop")
    status = shop.app()["status"]
    assert (status["serving"], status["revision"]) == (first, first + 1)
    assert shop.condition("Ready")[0] == "True"
    assert greeting(shop.address()) == "old"
    assert old <= shop.pids()
    shop.act("web", "undo")
    shop.rolled_out()
    assert greeting(shop.address()) == "old"
    assert shop.condition("Degraded")[0] == "False"
    assert shop.app()["status"]["revision"] == first + 2


def test_a_command_that_does_not_exist_is_named_and_the_next_apply_heals(
    shop: ControlPlane,
) -> None:
    shop.apply("web", web("old"))
    shop.rolled_out()
    shop.apply("web", web("new", command=["/no/such/program"]))
    shop.until(lambda: shop.condition("Degraded")[0] == "True", "it says that it is degraded")
    assert "/no/such/program" in str(shop.app()["status"]["conditions"])
    assert greeting(shop.address()) == "old"
    shop.apply("web", web("mended"))
    shop.rolled_out()
    assert greeting(shop.address()) == "mended"


def test_health_that_never_passes_degrades_at_its_deadline_and_the_old_serves(
    shop: ControlPlane,
) -> None:
    shop.apply("web", web("old", replicas=2))
    shop.rolled_out()
    old = shop.pids()
    sick = web("sick", env={"FAIL_HEALTH": "1"}, rollout={"progressDeadline": "3s"}, replicas=2)
    shop.apply("web", sick)
    shop.until(lambda: shop.condition("Degraded")[0] == "True", "it says that it is degraded")
    shop.until(lambda: shop.events("rollout.stalled"), "the stall is recorded")
    assert shop.condition("Progressing") == ("False", "DeadlineExceeded")
    assert old <= shop.pids()
    assert len(shop.pids() - old) <= 1
    assert {greeting(shop.address(slot=slot)) for slot in (0, 1)} == {"old"}
    shop.apply("web", web("well", replicas=2))
    shop.rolled_out()
    assert {greeting(shop.address(slot=slot)) for slot in (0, 1)} == {"well"}
    shop.until(lambda: len(shop.pids()) == 2, "nothing else is left")


def test_while_a_rollout_goes_on_somebody_always_answers(shop: ControlPlane) -> None:
    shop.apply("web", web("old", replicas=2))
    shop.rolled_out()
    slow = web("new", replicas=2, env={"HEALTHY_AFTER": "2"})  # so that it is seen on its way
    generation = shop.apply("web", slow)["generation"]
    answers: list[set[str]] = []
    missed: list[list[str]] = []

    def is_done() -> bool:
        status = shop.app()["status"]
        ready = [one["addresses"]["http"] for one in status["replicas"] if one["ready"]]
        answered = {greeting(f"http://{address}") for address in ready} & {"old", "new"}
        if not answered:  # those of the status may all have been replaced since it was read
            missed.append(ready)
            assert len(missed) < 3, f"nobody answers at {missed}"
            return False
        missed.clear()
        answers.append(answered)
        return bool(status["observedGeneration"] == generation and answers[-1] == {"new"})

    shop.until(is_done, "only the new revision answers")
    assert "old" in answers[0]


def test_a_stopped_app_keeps_its_settings_and_starts_again(shop: ControlPlane) -> None:
    shop.apply("web", web("back", replicas=2))
    shop.rolled_out()
    shop.act("web", "stop")
    shop.until(lambda: not shop.pids(), "nothing runs")
    assert shop.condition("Ready") == ("False", "Stopped")
    shop.act("web", "start")
    shop.rolled_out()
    assert len(shop.pids()) == 2
    assert greeting(shop.address()) == "back"
