"""A control plane that is killed at any moment: whoever comes next finishes what it began."""

import random
import time

from tests.acceptance.conftest import Serve
from tests.support.asking import greeting, web
from tests.support.serving import ControlPlane

ROLLOUT_SECONDS = 2.0  # about as long as three replicas take


def check_nothing_is_double_or_left(plane: ControlPlane, replicas: int) -> None:
    """What the status shows, what the disk shows and what the system shows are the same."""
    plane.until(lambda: len(plane.pids()) == replicas, f"{replicas} replicas run")
    plane.until(lambda: len(plane.directories()) == replicas, "only theirs is on disk")
    status = plane.app()["status"]
    assert sorted(one["slot"] for one in status["replicas"]) == list(range(replicas))


def test_what_runs_survives_its_control_plane_and_is_adopted(serve: Serve) -> None:
    plane = serve()
    plane.apply("web", web("still here", replicas=3))
    plane.rolled_out()
    plane.until(lambda: plane.events("rollout.completed"), "its end is recorded")
    address, before, events = plane.address(), plane.pids(), plane.events()
    plane.kill()
    assert greeting(address) == "still here"
    plane.start()
    plane.rolled_out()
    assert plane.pids() == before
    assert greeting(address) == "still here"
    assert plane.events() == events
    check_nothing_is_double_or_left(plane, 3)


def test_a_rollout_survives_kills_at_any_moment(serve: Serve) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    plane = serve()
    plane.apply("web", web("0", replicas=3))
    plane.rolled_out()
    for number in (1, 2, 3, 4):
        plane.apply("web", web(str(number), replicas=3))
        time.sleep(chance.uniform((number - 1) / 4, number / 4) * ROLLOUT_SECONDS)
        plane.restart()
        plane.rolled_out()
        check_nothing_is_double_or_left(plane, 3)
        assert {greeting(plane.address(slot=slot)) for slot in range(3)} == {str(number)}
    assert plane.app()["metadata"]["revision"] == 5
    plane.until(lambda: len(plane.events("rollout.completed")) == 5, "all ends are recorded")
    assert [one["data"]["revision"] for one in plane.events("rollout.started")] == [1, 2, 3, 4, 5]
    assert plane.run(str(plane.data), verb="verify").returncode == 0


def test_killed_again_and_again_it_still_gets_there(serve: Serve) -> None:
    plane = serve()
    plane.apply("web", web("old", replicas=2))
    plane.rolled_out()
    plane.apply("web", web("new", replicas=3))
    plane.kill()
    for seconds in (1.4, 2.0, 2.6):  # within its start, and shortly after
        plane.begin()
        time.sleep(seconds)
        plane.kill()
    plane.start()
    plane.rolled_out()
    check_nothing_is_double_or_left(plane, 3)
    assert {greeting(plane.address(slot=slot)) for slot in range(3)} == {"new"}


def test_a_delete_that_was_answered_is_finished_after_a_kill(serve: Serve) -> None:
    plane = serve("--no-nats")
    plane.apply("web", web(replicas=3))
    plane.apply("other", web())
    plane.rolled_out()
    plane.rolled_out("other")
    plane.delete("web")
    plane.restart()
    plane.until(lambda: not plane.pids() and not plane.directories(), "nothing is left of web")
    assert len(plane.pids("default/other")) == 1
    plane.until(lambda: plane.events("removal.completed"), "the removal is recorded")
    assert plane.http.get("/api/v1/projects/default/apps/web").status_code == 404


def test_a_replica_that_died_while_nobody_looked_is_started_again(serve: Serve) -> None:
    plane = serve("--no-nats")
    plane.apply("web", web(replicas=2))
    plane.rolled_out()
    victim, survivor = plane.replicas("default/web")
    plane.kill()
    victim.kill()
    plane.start()
    plane.until(lambda: len(plane.pids() - {victim.pid}) == 2, "two replicas run again")
    plane.rolled_out()
    assert survivor.pid in plane.pids()


def test_told_to_stop_it_ends_well_and_what_runs_goes_on(serve: Serve) -> None:
    plane = serve()
    plane.apply("web", web("going on"))
    plane.rolled_out()
    address, before = plane.address(), plane.pids()
    with plane.http.stream("GET", "/api/v1/events", headers={"Accept": "text/event-stream"}):
        began = time.monotonic()
        assert plane.terminate() == 0
        assert time.monotonic() - began < 10
    assert "what runs goes on" in plane.said
    assert plane.pids() == before
    assert greeting(address) == "going on"
    assert plane.bus_servers() == []
