"""The same stories on a cluster: a real control plane, beside the API server of the tests."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.kubernetes import Town, app, put_target, register, town
from tests.support.asking import web
from tests.support.cluster_thread import NAMESPACE
from tests.support.kubernetes.pod_states import Fate

DEPLOYMENT = "/apis/apps/v1/namespaces/stw-default/deployments/web"
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with town(tmp_path_factory.mktemp("kubernetes")) as built:
        yield built


@pytest.fixture
def shop(made: Town) -> Iterator[Town]:
    """The town of this module, afterwards without its apps: and nothing is left of them."""
    yield made
    for name in ("web", "api"):
        made.plane.delete(name)
    for cluster in (made.prod, made.west):
        cluster.start_again()
    made.plane.until(lambda: not made.prod.left(), "nothing is left on one cluster")
    made.plane.until(lambda: not made.west.left(), "nothing is left on the other")


def manifests(folder: Path, **apps: dict[str, Any]) -> str:
    """A file with apps of the project `default`."""
    about = {"apiVersion": "stateward/v1", "kind": "App"}
    file = folder / "apps.yaml"
    file.write_text(
        yaml.safe_dump_all(
            {**about, "metadata": {"name": name, "project": "default"}, "spec": spec}
            for name, spec in apps.items()
        )
    )
    return str(file)


def test_a_project_of_two_apps_lives_from_apply_to_delete(shop: Town, tmp_path: Path) -> None:
    file = manifests(tmp_path, web=app(), api=app("api:1"))
    said = shop.cli("apply", "-f", file, "--wait")
    assert "app/web created" in said
    assert "app/api is as wanted" in said
    assert sorted(shop.prod.images()) == ["api:1", "api:1", "web:1", "web:1"]
    assert shop.cli("diff", "-f", file) == ""
    shop.cli("scale", "app/web", "--replicas", "4", "--wait")
    assert shop.prod.images().count("web:1") == 4
    before = {pod["metadata"]["name"] for pod in shop.prod.all("Pod")}
    shop.cli("restart", "app/api", "--wait")
    shop.plane.until(lambda: shop.prod.images().count("api:1") == 2, "the old pods are gone")
    assert len(before - {pod["metadata"]["name"] for pod in shop.prod.all("Pod")}) == 2
    shop.cli("stop", "app/web", "--wait")
    shop.plane.until(lambda: shop.prod.images() == ["api:1"] * 2, "no pod of web is left")
    shop.cli("start", "app/web", "--wait")
    shop.plane.until(lambda: shop.prod.images().count("web:1") == 4, "as many as before run")
    history = shop.cli("rollout", "history", "app/api")
    assert "restarted as revision" in history
    assert "is rolled out" in shop.cli("rollout", "status", "app/api")
    shop.cli("delete", "app/web", "app/api", "--wait")
    assert shop.plane.until(lambda: not shop.prod.left(), "nothing is left")


def test_an_image_that_cannot_be_had_is_told_and_taken_back(shop: Town, tmp_path: Path) -> None:
    shop.prod.let("web:bad", Fate.PULL_FAILS)
    shop.plane.apply("web", app())
    first = shop.plane.rolled_out()["metadata"]["revision"]
    bad = manifests(tmp_path, web=app("web:bad"))
    told = shop.cli("diff", "-f", bad, code=1)
    assert "-  image: web:1" in told
    assert "+  image: web:bad" in told
    assert "--- Deployment stw-default/web (on the cluster)" in told
    assert "-        image: web:1" in told
    assert "+        image: web:bad" in told
    shop.cli("apply", "-f", bad)
    shop.plane.until(
        lambda: shop.plane.condition("Degraded") == ("True", "ImageUnavailable"), "it says why"
    )
    page = shop.cli("describe", "app", "web")
    assert "cannot get web:bad" in page
    assert "ImageUnavailable" in shop.cli("why", "app/web")
    said = shop.cli("rollout", "status", "app/web", "--no-watch")
    assert f"revision {first + 1}: ImageUnavailable" in said
    status = shop.plane.app()["status"]
    assert (status["serving"], status["ready"]) == (first, 2)
    shop.cli("rollout", "undo", "app/web", "--wait")
    shop.plane.until(lambda: shop.prod.images() == ["web:1"] * 2, "only the first image runs")


def test_what_is_applied_while_it_is_held_comes_when_it_goes_on(shop: Town) -> None:
    shop.plane.apply("web", app())
    shop.plane.rolled_out()
    shop.cli("rollout", "pause", "app/web", "--reason", "a look")
    shop.plane.apply("web", app("web:2"))
    shop.plane.until(lambda: shop.plane.condition("Paused")[1] == "Held", "it is held")
    assert set(shop.prod.images()) == {"web:1"}
    shop.cli("rollout", "resume", "app/web", "--wait")
    shop.plane.until(lambda: shop.prod.images() == ["web:2"] * 2, "the new image runs alone")


def test_what_is_done_behind_its_back_is_undone_and_told(shop: Town) -> None:
    shop.plane.apply("web", app())
    uid = shop.plane.rolled_out()["metadata"]["uid"]
    shop.prod.do(lambda server: server.inside.delete("Service", "stw-default", "web"))
    shop.plane.until(lambda: shop.prod.found("Service"), "the Service is there again")
    shop.prod.edit(DEPLOYMENT, {"spec": {"replicas": 5}})
    shop.plane.until(lambda: shop.plane.events("drift.repaired"), "the repair is recorded")
    shop.plane.until(lambda: shop.prod.images() == ["web:1"] * 2, "two pods run again")
    told = [one for one in shop.plane.events("drift.repaired") if one["data"]["uid"] == uid]
    assert [one["sentence"] for one in told] == [
        "Deployment stw-default/web was changed in spec.replicas by kubectl-edit, and was put back"
    ]
    shop.prod.edit(DEPLOYMENT, {"metadata": {"annotations": {"team": "checkout"}}})
    shop.plane.until(lambda: shop.plane.condition("Synced")[1] == "AddedTo", "it is told of")
    said = "kubectl-edit added metadata.annotations.team to Deployment stw-default/web"
    assert said in shop.cli("describe", "app", "web")


def test_an_app_moves_to_a_cluster_and_back_without_a_gap(shop: Town) -> None:
    shop.prod.let("web:1", Fate.WAITS)
    shop.plane.apply("web", web("here", target="local"))
    shop.plane.rolled_out()
    (pid,) = shop.plane.pids()
    shop.plane.apply("web", app())
    shop.plane.until(lambda: len(shop.prod.images()) == 2, "its pods are there")
    shop.plane.until(lambda: shop.plane.app()["status"]["wanted"] == 2, "it was looked at there")
    assert shop.plane.pids() == {pid}
    shop.prod.let("web:1", Fate.RUNS)
    shop.plane.until(lambda: not shop.plane.pids(), "the process has ended")
    shop.plane.rolled_out()
    shop.plane.apply("web", web("here", target="local"))
    shop.plane.until(lambda: not shop.prod.images(), "its pods are gone")
    assert len(shop.plane.pids()) == 2
    shop.plane.rolled_out()


def _says(shop: Town, what: str, words: tuple[str, ...]) -> bool:
    return what in shop.cli(*words)


def test_a_cluster_that_is_down_is_unknown_and_delays_no_other(shop: Town) -> None:
    shop.plane.apply("web", app())
    shop.plane.apply("api", app("api:1", target="west"))
    shop.plane.rolled_out()
    shop.plane.rolled_out("api")
    shop.west.kill()
    shop.plane.until(
        lambda: shop.plane.condition("Ready", "api") == ("Unknown", "TargetUnreachable"),
        "the app of the cluster that is down is unknown",
    )
    assert "observedAt" in shop.plane.app("api")["status"]
    for words in (("get", "target", "west", "-o", "wide"), ("describe", "target", "west")):
        shop.plane.until(partial(_says, shop, "Cannot connect", words), "the target says why")
    shop.plane.act("web", "scale", {"replicas": 3})
    shop.plane.rolled_out()
    shop.plane.act("api", "scale", {"replicas": 3})
    assert shop.plane.condition("Ready", "api")[0] == "Unknown"
    shop.west.start()
    shop.plane.rolled_out("api")
    assert shop.west.images() == ["api:1"] * 3


def test_a_target_gets_another_cluster_when_no_app_is_on_it_and_nothing_is_left(
    shop: Town, tmp_path: Path
) -> None:
    shop.plane.apply("web", app())
    shop.plane.rolled_out()
    elsewhere = {"kubeconfig": str(shop.west.config(tmp_path / "w")), "namespacePrefix": "other-"}
    refused = put_target(shop.plane, "prod", elsewhere)
    assert refused.status_code == 409
    assert "move its apps to another target before it gets another cluster" in refused.text
    shop.prod.kill()
    shop.plane.apply("web", app(target="west"))
    shop.plane.until(lambda: shop.west.images() == ["web:1"] * 2, "its pods are there")
    shop.plane.rolled_out()
    assert put_target(shop.plane, "prod", elsewhere).status_code == 200
    assert len(shop.prod.images()) == 2
    shop.prod.start()
    shop.plane.until(lambda: not shop.prod.left(), "where it led before, nothing is left")
    register(shop.plane, "prod", shop.prod.config(tmp_path / "back"))


def test_what_others_made_under_the_names_of_an_app_is_taken_over_when_that_is_said(
    shop: Town, tmp_path: Path
) -> None:
    theirs = {"app": "theirs"}
    containers = [{"name": "theirs", "image": "theirs:1"}]
    made = {
        "replicas": 1,
        "selector": {"matchLabels": theirs},
        "template": {"metadata": {"labels": theirs}, "spec": {"containers": containers}},
    }
    shop.plane.apply("api", app("api:1"))  # so that the namespace is there
    shop.plane.rolled_out("api")
    body = {"metadata": {"name": "web"}, "spec": made}
    shop.prod.do(lambda server: server.inside.create("Deployment", NAMESPACE, body))
    shop.cli("apply", "-f", manifests(tmp_path, web=app()))
    shop.plane.until(lambda: shop.plane.condition("Synced")[1] == "NameTaken", "it is refused")
    assert "`stateward adopt app/web -n default --objects`" in shop.cli("describe", "app", "web")
    told = shop.cli("adopt", "app/web", "--objects", "--dry-run")
    assert "made anew: spec.selector" in told
    assert f"Deployment {NAMESPACE}/web is made anew" in told
    found = shop.prod.found("Deployment")
    assert found is not None
    assert found["spec"]["selector"] == {"matchLabels": theirs}
    said = shop.cli("adopt", "app/web", "--objects", "--wait", "--timeout", "60s")
    assert "app/web has taken over what was in its way" in said
    shop.plane.until(
        lambda: sorted(shop.prod.images()) == ["api:1", "api:1", "web:1", "web:1"],
        "only ours run",
    )
    adopted = shop.plane.events("app.adopted")[-1]
    kinds = sorted(one["kind"] for one in adopted["data"]["objects"])
    assert kinds == ["Deployment", "ReplicaSet"]
    assert adopted["actor"]
    assert not adopted["actor"].startswith("system:")
    shop.plane.until(lambda: shop.plane.events("adoption.completed"), "it is over")


def test_the_diff_of_a_project_shows_what_its_apps_share_on_each_of_its_clusters(
    shop: Town, tmp_path: Path
) -> None:
    shop.plane.apply("web", app())
    shop.plane.rolled_out()
    file = tmp_path / "project.yaml"
    about = {"apiVersion": "stateward/v1", "kind": "Project", "metadata": {"name": "default"}}
    file.write_text(yaml.safe_dump(about | {"spec": {"target": "west"}}))
    told = shop.cli("diff", "-f", str(file), code=1)
    assert f"+++ Namespace {NAMESPACE} on west (applied)" in told
    assert f"+++ NetworkPolicy {NAMESPACE}/stateward--deny on west (applied)" in told
    assert "on prod" not in told, "there, all is as it would be"
