"""get, describe, explain, version: tables for people, JSON for programs."""

import json

import pytest

from reconcilers.status import TargetStatus
from tests.cli.test_applying import API, WEB
from tests.support.command_line import CommandLine


@pytest.fixture
def apps(cli: CommandLine) -> CommandLine:
    cli.ok("apply", "-f", cli.write("apps.yaml", WEB + API))
    cli.publish("web")
    return cli


def test_a_table_shows_what_a_person_asks_first(apps: CommandLine) -> None:
    assert apps.ok("get", "apps") == (
        "NAME   PROJECT   READY   REVISION   STATUS        SINCE   ADDRESS\n"
        "api    shop      0/1     1          NotObserved   -       -\n"
        "web    shop      2/2     1          Ready         1m      127.0.0.1:31337 +1\n"
    )


def test_wide_adds_columns(apps: CommandLine) -> None:
    heads, _, web = apps.ok("get", "apps", "-o", "wide").splitlines()
    assert heads.split()[-5:] == ["TARGET", "IMAGE", "UPDATED", "GENERATION", "LABELS"]
    assert web.split()[-5:] == ["local", "/bin/serve", "2/2", "3", "set=x"]


def test_every_way_to_name_a_resource_means_the_same(apps: CommandLine) -> None:
    expected = apps.ok("get", "app/web")
    for words in (["app", "web"], ["apps", "web"], ["App/shop/web"], ["app/web", "-n", "shop"]):
        assert apps.ok("get", *words) == expected


def test_kinds_can_be_listed_together(apps: CommandLine) -> None:
    said = apps.ok("get", "projects,targets,secrets")
    assert said.startswith("NAME   APPS   SECRETS   TARGET   DESCRIPTION\nshop   2      0")
    assert "local   simulated   Unknown" in said


def test_a_selector_narrows_a_list(apps: CommandLine) -> None:
    assert apps.ok("get", "apps", "-l", "set=x", "-o", "name") == "app/web\n"
    assert apps.ok("get", "apps", "-l", "!set", "-o", "name") == "app/api\n"


def test_programs_get_what_the_server_said(apps: CommandLine) -> None:
    listed = json.loads(apps.ok("get", "apps", "-o", "json"))
    assert [item["metadata"]["name"] for item in listed["items"]] == ["api", "web"]
    assert apps.json("get", "app/web")["status"]["ready"] == 2
    assert apps.json("get", "secrets") == {"items": []}


def test_a_list_of_one_is_still_a_list(apps: CommandLine) -> None:
    listed = apps.json("get", "apps", "-l", "set=x")
    assert [item["metadata"]["name"] for item in listed["items"]] == ["web"]


def test_the_past_can_be_asked(apps: CommandLine) -> None:
    position = apps.house.log.events[-1].position
    apps.ok("scale", "web", "--replicas", "5")
    assert apps.json("get", "app/web", "--as-of", str(position))["spec"]["replicas"] == 2
    assert apps.json("get", "app/web")["spec"]["replicas"] == 5


@pytest.mark.parametrize(
    ("claims", "word"),
    [
        ({"Degraded": ("True", "CrashLoop", "it ends with 1")}, "CrashLoop"),
        ({"Progressing": ("True", "RolloutInProgress", "1 of 2")}, "RolloutInProgress"),
        ({"Paused": ("True", "Held", "freeze")}, "Paused"),
        ({"Ready": ("False", "Starting", "0 of 2")}, "Starting"),
    ],
)
def test_status_is_the_most_telling_condition(
    apps: CommandLine, claims: dict[str, tuple[str, str, str]], word: str
) -> None:
    apps.publish("web", claims)
    assert apps.ok("get", "app/web").splitlines()[1].split()[4] == word


def test_an_old_revision_that_serves_is_shown(apps: CommandLine) -> None:
    apps.publish("web", serving=7)
    assert "1 (serves 7)" in apps.ok("get", "app/web")


def test_describe_tells_all(apps: CommandLine) -> None:
    said = apps.ok("describe", "app/web")
    for part in ("Project:     shop", "  replicas: 2", "AllReplicasReady", "http 127.0.0.1:31338"):
        assert part in said
    assert "created as revision 1 (position 3, user:admin)" in said
    assert "choose several by -l or -A" in apps.fails("describe", "apps", code=2)


def test_several_are_described_by_selector_by_files_and_as_they_were(apps: CommandLine) -> None:
    assert "Name:        web" in apps.ok("describe", "apps", "-l", "set=x")
    assert apps.ok("describe", "apps", "-A").count("Name:  ") == 2
    position = apps.house.log.events[-1].position
    apps.ok("scale", "web", "--replicas", "5")
    then = apps.ok("describe", "app/web", "--as-of", str(position))
    assert "created as revision 1" in then
    assert "scaled to 5" not in then
    assert "scaled to 5" in apps.ok("describe", "-f", str(apps.home / "apps.yaml"))


def test_a_target_that_does_not_answer_says_why(apps: CommandLine) -> None:
    why = "the cluster at https://10.0.0.1 did not answer in time"
    seen = TargetStatus(answers=False, message=why, observed_at=apps.house.time, replicas=3)
    apps.house.status.put_target("local", seen)
    page = apps.ok("describe", "target", "local")
    assert f"Status:      {why}" in page
    assert "Observed:" in page
    assert why in apps.ok("get", "target", "local", "-o", "wide")


def test_files_name_what_is_read(apps: CommandLine) -> None:
    file = str(apps.home / "apps.yaml")
    assert apps.ok("get", "-f", file, "-o", "name") == "app/web\napp/api\n"
    assert apps.ok("get", "-f", "-", "-o", "name", given=WEB) == "app/web\n"
    assert "not both" in apps.fails("get", "app/web", "-f", file, code=2)
    assert "not both" in apps.fails("describe", "app/web", "-f", file, code=2)


def test_explain_walks_into_fields(cli: CommandLine) -> None:
    assert "stopGrace" in cli.ok("explain", "app")
    said = cli.ok("explain", "apps.health.readiness")
    assert said.startswith("App.health.readiness")
    assert "at least 1, at most 1000" in said
    assert "App has no field 'helth'; did you mean 'health'?" in cli.fails(
        "explain", "app.helth", code=2
    )


def test_what_is_not_there_and_what_is_misspelt_are_different_errors(cli: CommandLine) -> None:
    assert "App/shop/nope does not exist" in cli.fails("get", "app/nope")
    assert "'aps' is no kind of resource; did you mean 'apps'?" in cli.fails("get", "aps", code=2)
    assert "`stateward events` shows them" in cli.fails("get", "event", code=2)
    assert "name what is meant" in cli.fails("get", code=2)
    assert "Did you mean 'get'" in cli.fails("gte", code=2)


def test_a_name_without_a_project_says_how_to_give_one(cli: CommandLine) -> None:
    del cli.variables["STATEWARD_PROJECT"]
    assert "name it by -n PROJECT" in cli.fails("get", "app/web", code=2)
    assert cli.ok("get", "apps") == ""


def test_an_empty_list_is_no_error_and_says_so_aside(cli: CommandLine) -> None:
    result = cli.run("get", "apps")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "There is no app here." in result.stderr


def test_text_from_the_server_cannot_steer_the_terminal(apps: CommandLine) -> None:
    apps.publish("web", {"Degraded": ("True", "\x1b[2JEvil\u202e", "x")})
    said = apps.ok("get", "app/web")
    assert "\x1b" not in said
    assert "\\x1b[2JEvil\\u202e" in said


def test_version_names_both_sides(cli: CommandLine) -> None:
    said = cli.ok("version")
    assert said.startswith("client 0.")
    assert f"at {cli.url}, stateward/v1, installation {cli.house.services.installation}" in said
    assert cli.json("version")["server"]["position"] > 0


def test_a_wrong_token_is_explained(cli: CommandLine) -> None:
    cli.variables["STATEWARD_TOKEN"] = "wrong"
    assert "the token given was not accepted" in cli.fails("get", "apps")
    del cli.variables["STATEWARD_TOKEN"]
    assert "no token was given" in cli.fails("get", "apps")
