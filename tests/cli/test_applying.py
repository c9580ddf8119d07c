"""apply, diff and delete: what they send, what they say, and with which code they end."""

import json

import pytest

from reconcilers.object_preview import ObjectChange
from tests.support.command_line import CommandLine

WEB = """\
apiVersion: stateward/v1
kind: App
metadata:
  name: web
  labels: {set: x}
spec:
  command: [/bin/serve]
  replicas: 2
"""
API = (
    "---\napiVersion: stateward/v1\nkind: App\nmetadata: {name: api}\nspec: {command: [/bin/api]}\n"
)
LABELLED_API = API.replace("{name: api}", "{name: api, labels: {set: x}}")


def test_apply_says_what_became_of_each_resource_and_at_which_position(cli: CommandLine) -> None:
    file = cli.write("web.yaml", WEB + API)
    position = cli.house.log.events[-1].position
    assert cli.ok("apply", "-f", file) == (
        f"app/web created (position {position + 1})\napp/api created (position {position + 4})\n"
    )
    assert cli.ok("apply", "-f", file) == "app/web unchanged\napp/api unchanged\n"
    changed = cli.write("web.yaml", WEB.replace("replicas: 2", "replicas: 3"))
    assert cli.ok("apply", "-f", changed).startswith("app/web configured (position ")


def test_a_set_of_several_projects_is_told_apart(cli: CommandLine) -> None:
    other = "---\napiVersion: stateward/v1\nkind: Project\nmetadata: {name: lab}\n"
    text = WEB + other + API.replace("{name: api}", "{name: api, project: lab}")
    said = cli.ok("apply", "-f", "-", given=text)
    assert [line.split(" (")[0] for line in said.splitlines()] == [
        "app/shop/web created",
        "project/lab created",
        "app/lab/api created",
    ]


def test_a_directory_is_read_by_name_and_only_its_manifests(cli: CommandLine) -> None:
    cli.write("d/2.yml", WEB)
    cli.write(
        "d/1.json",
        json.dumps(
            {
                "apiVersion": "stateward/v1",
                "kind": "App",
                "metadata": {"name": "api"},
                "spec": {"command": ["/bin/api"]},
            }
        ),
    )
    cli.write("d/note.txt", "not a manifest")
    cli.write("d/deep/3.yaml", API.replace("name: api", "name: deep"))
    said = cli.ok("apply", "-f", str(cli.home / "d"))
    assert [line.split()[0] for line in said.splitlines()] == ["app/api", "app/web"]
    assert "app/deep created" in cli.ok("apply", "-R", "-f", str(cli.home / "d"))


def test_what_get_wrote_can_be_applied_again(cli: CommandLine) -> None:
    cli.ok("apply", "-f", cli.write("web.yaml", WEB + API))
    for output in ("yaml", "json"):
        again = cli.ok("get", "apps", "-o", output)
        assert cli.ok("apply", "-f", "-", given=again) == "app/api unchanged\napp/web unchanged\n"


def test_a_dry_run_changes_nothing(cli: CommandLine) -> None:
    file = cli.write("web.yaml", WEB)
    before = len(cli.house.log.events)
    assert cli.ok("apply", "-f", file, "--dry-run") == "app/web created (dry run)\n"
    assert len(cli.house.log.events) == before


def test_prune_deletes_what_left_the_set(cli: CommandLine) -> None:
    cli.ok("apply", "-f", cli.write("web.yaml", WEB + LABELLED_API))
    said = cli.ok("apply", "-f", cli.write("web.yaml", WEB), "--prune", "-l", "set=x")
    assert "app/web unchanged" in said
    assert "app/api deleted (position " in said


def test_a_literal_that_looks_secret_is_warned_of_on_stderr(cli: CommandLine) -> None:
    text = WEB + "  env: {DB_PASSWORD: x}\n"
    result = cli.run("apply", "-f", cli.write("web.yaml", text))
    assert result.exit_code == 0
    assert "DB_PASSWORD" in result.stderr
    assert "DB_PASSWORD" not in result.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("spec: [", "f.yaml:2:1: "),
        ("a: 1\na: 2\n", "f.yaml:2:1: the key 'a' is already given on line 1"),
        ("just text\n", "f.yaml:1: a manifest has apiVersion, kind"),
        (WEB + "  replics: 3\n", "f.yaml:9:3: spec.replics: there is no such field"),
        (WEB + API.replace("kind: App", "kind: Ap"), "f.yaml:11:1: kind: 'Ap' cannot be used"),
        (WEB.replace("2\n", "-1\n"), "f.yaml:8:3: spec.replicas: -1 cannot be used"),
        (
            WEB + "  ports: [{name: a, port: 1}, {name: a, port: 2}]\n",
            "f.yaml:9:31: spec.ports[1]: 'a' cannot be used",
        ),
        (WEB.replace("{set: x}", "{set: x}\n  generation: 1"), "is at generation 0"),
        (WEB + "  target: mars\n", "Target/mars does not exist"),
        (WEB + f"  env: {{A: {'x' * 1_200_000}}}\n", "f.yaml"),
        (WEB + "  x: " + "[" * 70 + "]" * 70, "it nests deeper than 64 levels"),
        ("#" + "x" * (10 << 20), "larger than 10 MiB"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused_with_its_place(
    cli: CommandLine, text: str, said: str
) -> None:
    before = len(cli.house.log.events)
    assert said in cli.fails("apply", "-f", cli.write("f.yaml", text))
    assert len(cli.house.log.events) == before


def test_files_that_are_missing_or_empty_are_named(cli: CommandLine) -> None:
    assert "none.yaml cannot be read: No such file" in cli.fails("apply", "-f", "none.yaml")
    assert "no manifest in" in cli.fails("apply", "-f", cli.write("e.yaml", "# nothing"), code=2)
    assert "name what to read" in cli.fails("apply", code=2)
    assert "--prune and -l go together" in cli.fails("apply", "-f", "x", "--prune", code=2)


def test_diff_tells_by_its_exit_code_whether_anything_differs(cli: CommandLine) -> None:
    file = cli.write("web.yaml", WEB)
    fresh = cli.run("diff", "-f", file)
    assert fresh.exit_code == 1
    assert "+  replicas: 2" in fresh.stdout
    cli.ok("apply", "-f", file)
    assert cli.ok("diff", "-f", file) == ""
    changed = cli.run("diff", "-f", cli.write("web.yaml", WEB.replace("as: 2", "as: 3")))
    assert changed.exit_code == 1
    assert [line for line in changed.stdout.splitlines() if line[0] in "+-"] == [
        "--- App/shop/web (present)",
        "+++ App/shop/web (applied)",
        "-  replicas: 2",
        "+  replicas: 3",
    ]
    assert "spec.replics" in cli.fails(
        "diff", "-f", cli.write("b.yaml", WEB + "  replics: 1"), code=2
    )


def test_diff_shows_what_becomes_of_objects_on_a_cluster(cli: CommandLine) -> None:
    cli.house.changes = [
        ObjectChange(
            object="Deployment stw-shop/web",
            because="changed",
            before={"spec": {"image": "web:1", "replicas": 2}},
            after={"spec": {"image": "web:2", "replicas": 2}},
            refused="no room",
        ),
        ObjectChange(object="StatefulSet stw-shop/db", because="immutable", fields=("spec.x",)),
        ObjectChange(object="ConfigMap stw-shop/old", because="unwanted", before={"data": {}}),
    ]
    shown = cli.run("diff", "-f", cli.write("web.yaml", WEB))
    assert shown.exit_code == 1
    assert shown.stdout.endswith(
        "--- Deployment stw-shop/web (on the cluster)\n"
        "+++ Deployment stw-shop/web (applied)\n"
        "@@ -1,3 +1,3 @@\n"
        " spec:\n"
        "-  image: web:1\n"
        "+  image: web:2\n"
        "   replicas: 2\n"
        "the cluster would refuse Deployment stw-shop/web: no room\n"
        "StatefulSet stw-shop/db is made anew: spec.x cannot be changed\n"
        "ConfigMap stw-shop/old is deleted once all that is wanted is there\n"
    )
    cli.house.changes = None
    unknown = cli.run("diff", "-f", cli.write("web.yaml", WEB))
    assert unknown.exit_code == 1
    assert "objects of App/shop/web are not compared: the engine does not" in unknown.stderr


def test_diff_of_a_secret_shows_no_value(cli: CommandLine) -> None:
    text = "apiVersion: stateward/v1\nkind: Secret\nmetadata: {name: db}\nspec: {data: {pw: %s}}\n"
    cli.ok("apply", "-f", cli.write("db.yaml", text % "hunter2"))
    result = cli.run("diff", "-f", cli.write("db.yaml", text % "hunter3"))
    assert result.exit_code == 1, result.output
    assert "hunter" not in result.output


def test_delete_takes_names_files_and_selections(cli: CommandLine) -> None:
    file = cli.write("web.yaml", WEB + API)
    cli.ok("apply", "-f", file)
    assert "app/web deleted (position " in cli.ok("delete", "app", "web")
    assert "app/api deleted (position " in cli.ok("delete", "app/api")
    assert "does not exist" in cli.fails("delete", "app/api")
    assert cli.ok("delete", "app/api", "--ignore-not-found") == ""
    assert "choose several by -l" in cli.fails("delete", "apps", code=2)
    assert cli.ok("delete", "apps", "-l", "set=nothing") == ""


def test_a_project_that_is_in_use_stays_unless_told_otherwise(cli: CommandLine) -> None:
    cli.ok("apply", "-f", cli.write("web.yaml", WEB))
    assert "is used by App/shop/web" in cli.fails("delete", "project/shop")
    assert "project/shop deleted" in cli.ok("delete", "project/shop", "--cascade")


def test_a_project_takes_its_apps_and_their_volumes_along_and_waits_for_them(
    cli: CommandLine,
) -> None:
    cli.ok("apply", "-f", cli.write("web.yaml", WEB))
    rehearsed = cli.ok("delete", "project/shop", "--cascade", "--dry-run")
    assert rehearsed == "project/shop deleted (dry run)\napp/web deleted (dry run)\n"
    words = ("delete", "project/shop", "--cascade", "--volumes", "--wait", "--timeout", "300ms")
    assert "in vain for app/web: still there" in cli.fails(*words, code=4)
    [gone] = [event for event in cli.house.log.events if event.type == "app.deleted"]
    assert json.loads(gone.data)["volumes"] is True


def test_a_stale_generation_is_refused_with_both(cli: CommandLine) -> None:
    cli.ok("apply", "-f", cli.write("web.yaml", WEB))
    manifest = cli.ok("get", "app/web", "-o", "yaml")
    cli.ok("scale", "web", "--replicas", "4")
    said = cli.fails("apply", "-f", "-", given=manifest)
    assert "standard input:1" in said
    assert "this intent was made for generation" in said
