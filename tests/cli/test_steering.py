"""scale, stop, start, restart, rollout, wait."""

import threading

import pytest

from tests.cli.test_applying import API, WEB
from tests.support.command_line import CommandLine


@pytest.fixture
def apps(cli: CommandLine) -> CommandLine:
    cli.ok("apply", "-f", cli.write("apps.yaml", WEB + API))
    cli.publish("web")
    cli.publish("api")
    return cli


def types(cli: CommandLine) -> list[str]:
    return [event.type for event in cli.house.log.events if event.stream.startswith("App/")]


def test_every_verb_becomes_its_event(apps: CommandLine) -> None:
    for words in (
        ["scale", "web", "--replicas", "5"],
        ["stop", "app/web"],
        ["start", "app", "web"],
        ["restart", "App/shop/web"],
        ["rollout", "pause", "web", "--reason", "freeze", "--for", "1h"],
        ["rollout", "resume", "web"],
    ):
        assert apps.ok(*words).startswith("app/web configured (position ")
    expected = [
        "app.scaled",
        "app.stopped",
        "app.started",
        "app.restarted",
        "app.paused",
        "app.resumed",
    ]
    assert types(apps)[-6:] == expected


def test_a_selection_steers_several_and_has_to_be_said(apps: CommandLine) -> None:
    assert len(apps.ok("stop", "-A").splitlines()) == 2
    assert apps.ok("start", "-l", "set=x").startswith("app/web configured")
    assert "choose several by -l or -A" in apps.fails("restart", "apps", code=2)
    del apps.variables["STATEWARD_PROJECT"]
    assert "without -A belongs to a project" in apps.fails("stop", "-l", "set=x", code=2)


def test_only_apps_are_steered(apps: CommandLine) -> None:
    assert "this command is for app resources" in apps.fails("stop", "project/shop", code=2)
    assert "say how many: --replicas 3" in apps.fails("scale", "web", code=2)
    assert "0" in apps.fails("scale", "web", "--replicas", "-1", code=2)
    assert "1000" in apps.fails("scale", "web", "--replicas", "1001")


def test_undo_returns_and_history_lists(apps: CommandLine) -> None:
    changed = WEB.replace("/bin/serve", "/bin/other")
    apps.ok("apply", "-f", apps.write("apps.yaml", changed))
    assert apps.ok("rollout", "undo", "web", "--to", "1").startswith("app/web configured")
    lines = apps.ok("rollout", "history", "web").splitlines()
    assert [line.split()[0] for line in lines] == ["REVISION", "1", "2", "3"]
    assert "current" in lines[3]
    assert "99" in apps.fails("rollout", "undo", "web", "--to", "99")
    second = lines[2].split()[1]
    assert len(apps.ok("rollout", "history", "web", "--as-of", second).splitlines()) == 3


def test_a_pause_needs_a_reason(apps: CommandLine) -> None:
    assert "say why" in apps.fails("rollout", "pause", "web", code=2)
    assert "a duration is a number" in apps.fails(
        "rollout", "pause", "web", "--reason", "x", "--for", "soon", code=2
    )


def test_wait_ends_when_the_app_is_as_asked(apps: CommandLine) -> None:
    asked = apps.house.log.events[-1].position
    waiting = threading.Thread(target=lambda: publish_after(apps, asked))
    waiting.start()
    said = apps.ok("scale", "web", "--replicas", "4", "--wait", "--timeout", "20s")
    waiting.join()
    assert said.splitlines()[-1] == "app/web is as wanted"


def publish_after(cli: CommandLine, position: int) -> None:
    """Publish a settled status once something newer than `position` is in the log."""
    while cli.house.log.events[-1].position <= position:
        threading.Event().wait(0.02)
    cli.publish("web")


def test_waiting_in_vain_has_a_code_of_its_own_and_says_what_is_missing(apps: CommandLine) -> None:
    apps.publish("web", {"Ready": ("False", "Starting", "0 of 2 replicas are ready")})
    said = apps.fails("wait", "app/web", "--timeout", "300ms", code=4)
    assert "error: waited 0.3 s in vain for app/web: Ready is False, Starting: 0 of 2" in said


def test_waiting_for_a_stuck_rollout_ends_at_once(apps: CommandLine) -> None:
    apps.publish("web", {"Progressing": ("False", "DeadlineExceeded", "revision 2 never got well")})
    said = apps.fails("wait", "app/web", "--for", "rollout", "--timeout", "1m")
    assert "app/web is stuck: revision 2 never got well" in said


def test_wait_knows_conditions_rollouts_and_deletion(apps: CommandLine) -> None:
    for wanted in ("condition=Ready", "condition=Degraded=False", "rollout"):
        assert (
            apps.ok("wait", "web", "api", "--for", wanted)
            == f"app/web met {wanted}\napp/api met {wanted}\n"
        )
    assert apps.ok("wait", "secret/none", "--for", "delete") == "secret/none met delete\n"
    assert "write condition=Ready" in apps.fails("wait", "web", "--for", "luck", code=2)
    assert "does not exist" in apps.fails("wait", "app/none", "--timeout", "5s")


def test_rollout_status_says_how_far_it_is(apps: CommandLine) -> None:
    assert apps.ok("rollout", "status", "web") == "app/web: revision 1 is rolled out\n"
    assert apps.ok("rollout", "status", "-A").splitlines() == [
        "app/api: revision 1 is rolled out",
        "app/web: revision 1 is rolled out",
    ]
    apps.ok("restart", "web")
    assert apps.ok("rollout", "status", "-A", "--no-watch").splitlines()[0].endswith("rolled out")
    assert "revision 2: not seen yet" in apps.ok("rollout", "status", "web", "--no-watch")
