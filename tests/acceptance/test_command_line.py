"""The story of an app as a person tells it: commands at a terminal, and their exit codes."""

import json
from pathlib import Path

import yaml

from tests.support.asking import greeting, web
from tests.support.serving import ControlPlane

HEAD = "apiVersion: stateward/v1\nkind: App\n"


def ok(plane: ControlPlane, *words: str) -> str:
    done = plane.run(*words[1:], verb=words[0])
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def test_an_app_is_applied_watched_scaled_and_deleted(shared: ControlPlane, tmp_path: Path) -> None:
    file = tmp_path / "app.yaml"
    metadata = {"name": "told", "project": "default"}
    about = {"apiVersion": "stateward/v1", "kind": "App", "metadata": metadata}
    file.write_text(yaml.safe_dump({**about, "spec": web("typed")}))
    assert "app/told created" in ok(shared, "apply", "-f", str(file), "--wait")
    assert greeting(shared.address("told")) == "typed"
    assert "unchanged" in ok(shared, "apply", "-f", str(file))
    ok(shared, "scale", "app/told", "--replicas", "2", "--wait")
    found = json.loads(ok(shared, "get", "app", "told", "-o", "json"))
    assert found["status"]["ready"] == 2
    story = ok(shared, "events", "app/told")
    assert "scaled" in story
    assert "sound" in ok(shared, "verify", str(shared.data))
    ok(shared, "delete", "app/told", "--wait")
    assert shared.pids("default/told") == set()


def test_what_cannot_be_is_told_in_one_line_with_an_exit_code(
    shared: ControlPlane, tmp_path: Path
) -> None:
    file = tmp_path / "app.yaml"
    file.write_text(f"{HEAD}metadata: {{name: told}}\nspec: {{instances: 3}}\n")
    refused = shared.run("-f", str(file), verb="apply")
    assert refused.returncode == 1
    assert "replicas" in refused.stderr
    file.write_text("kind: App\n  spec: {\n")
    torn = shared.run("-f", str(file), verb="apply")
    assert torn.returncode != 0
    assert f"{file}:2:" in torn.stderr
    nobody = shared.run("apps", "--server=http://127.0.0.1:1", verb="get")
    assert nobody.returncode != 0
    for told in (refused, torn, nobody):
        assert "Traceback" not in told.stderr
