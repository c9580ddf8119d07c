"""events, why, logs."""

import json

import pytest

from stateward.cli.session import Session
from stateward.cli.streams import endless
from tests.cli.test_applying import API, WEB
from tests.support.command_line import CommandLine
from tests.support.surroundings import surroundings


@pytest.fixture
def apps(cli: CommandLine) -> CommandLine:
    cli.ok("apply", "-f", cli.write("web.yaml", WEB))
    cli.ok("scale", "web", "--replicas", "3")
    return cli


def test_events_tell_a_story_in_sentences(apps: CommandLine) -> None:
    lines = apps.ok("events").splitlines()
    assert lines[0].split(" ", 1)[1] == "Project/shop created (position 2, user:alice)"
    position = apps.house.log.events[-1].position
    assert lines[-1].endswith(
        f"App/shop/web scaled to 3 replicas (position {position}, user:admin)"
    )


def test_events_can_be_narrowed_and_read_by_programs(apps: CommandLine) -> None:
    [scaled] = apps.json("events", "app/web", "--type", "app.scaled")["items"]
    assert scaled["resource"] == "App/shop/web"
    assert apps.json("events", "--after", str(scaled["position"]))["items"] == []
    assert len(apps.json("events", "--last", "1")["items"]) == 1
    assert (
        apps.ok("events", "web", "-o", "name").splitlines()[-1].endswith("App/shop/web app.scaled")
    )
    assert "choose by -l" in apps.fails("events", "apps", code=2)


def test_events_of_several_and_as_of_a_moment(apps: CommandLine) -> None:
    apps.ok("apply", "-f", apps.write("api.yaml", API))
    position = apps.house.log.events[-1].position
    apps.ok("stop", "api")

    def told(*words: str) -> list[str]:
        return [
            line.partition(" ")[2] for line in apps.ok("events", *words, "-o", "name").split("\n")
        ]

    web = ["App/shop/web app.defined", "App/shop/web app.scaled"]
    assert told("-l", "set=x") == [*web, ""]
    assert told("app/web", "app/api")[-2] == "App/shop/api app.stopped"
    assert told("app/web", "app/api", "--as-of", str(position)) == [
        *web,
        "App/shop/api app.defined",
        "",
    ]
    assert told("-l", "set=x", "--last", "1") == [web[-1], ""]
    assert "leave out one" in apps.fails("events", "-w", "--as-of", "5m", code=2)


def test_a_watch_goes_on_with_what_is_new(apps: CommandLine) -> None:
    session = Session(surroundings(apps.home, **apps.variables))
    stream = endless(session.api, "/api/v1/events", {"last": 1, "project": "shop"})
    assert next(stream).event == "app.scaled"
    apps.ok("stop", "web")
    assert next(stream).data["sentence"] == "stopped"
    session.close()


def test_why_names_the_app_and_its_condition(apps: CommandLine) -> None:
    apps.publish("web")
    assert apps.ok("why", "web").startswith("app/web Ready True (AllReplicasReady)")
    assert apps.json("why", "app/web")["resource"] == "App/shop/web"


def test_logs_name_the_slot_that_wrote(apps: CommandLine) -> None:
    assert apps.ok("logs", "web").splitlines()[:2] == ["0 | line 0 of 0", "1 | line 0 of 1"]
    assert apps.ok("logs", "app", "web", "--tail", "1", "--replica", "1") == "1 | line 1 of 1\n"
    [first, *_] = apps.ok("logs", "web", "--timestamps").splitlines()
    assert first.startswith("2030-01-01T12:00:00")
    lines = apps.ok("logs", "web", "-o", "json").splitlines()
    assert json.loads(lines[0])["text"] == "line 0 of 0"


def test_logs_of_several_apps_name_the_app_too(apps: CommandLine) -> None:
    apps.ok("apply", "-f", apps.write("api.yaml", API))
    lines = apps.ok("logs", "-A", "--tail", "1").splitlines()
    assert [line.split()[:3] for line in lines] == [
        [name, slot, "|"] for name in ("app/api", "app/web") for slot in ("0", "1")
    ]
    first = apps.ok("logs", "-A", "-o", "json").splitlines()[0]
    assert json.loads(first)["resource"] == "App/shop/api"
    assert apps.ok("logs", "-l", "set=x").startswith("0 | line 0 of 0")
    assert apps.ok("logs", "web", "-o", "yaml").startswith("---\n")
    assert "has no name" in apps.fails("logs", "web", "-o", "name", code=2)
    assert "-f follows one app" in apps.fails("logs", "-A", "-f", code=2)


def test_why_of_several(apps: CommandLine) -> None:
    apps.ok("apply", "-f", apps.write("api.yaml", API))
    said = apps.ok("why", "-A").splitlines()
    assert [line.split()[0] for line in said] == ["app/api", "app/web"]
    assert len(apps.json("why", "-A")["items"]) == 2


def test_logs_of_an_engine_that_is_gone_are_an_error(apps: CommandLine) -> None:
    apps.house.replicas = None
    assert "the engine does not answer" in apps.fails("logs", "web")


def test_get_watch_follows_one_kind_from_now_on(apps: CommandLine) -> None:
    assert "one kind at a time" in apps.fails("get", "projects,apps", "-w", code=2)
    assert "leave out one" in apps.fails("get", "apps", "-w", "--as-of", "5m", code=2)
