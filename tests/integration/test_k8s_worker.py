"""Stories of a whole worker whose target is a cluster: the same intents as on every engine."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from adapters.k8s.render.renderer import KubernetesRenderer
from domain import intents as i
from domain.names import app, project
from reconcilers import object_pass
from reconcilers.object_ports import Json, ObjectView
from reconcilers.ports import StartFailed
from tests.support.cluster_house import ClusterHouse, cluster_house
from tests.support.intents import manifest
from tests.support.kubernetes.access import User
from tests.support.kubernetes.pod_states import Fate
from tests.support.kubernetes.pods import Container, Session

WEB = app("shop", "web")


def spec(image: str = "web:1", **more: object) -> dict[str, object]:
    return {"image": image, "ports": [{"name": "http", "port": 8080}], "replicas": 2} | more


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[ClusterHouse]:
    async with cluster_house(tmp_path) as built:
        yield built


async def test_an_app_becomes_objects_that_run(house: ClusterHouse) -> None:
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    kinds = {one: house.found(one) for one in ("Deployment", "Service", "ServiceAccount")}
    assert all(kinds.values()), kinds
    assert house.reason("Ready") == ("True", "AllReplicasReady")
    assert [one for one in house.types if one.startswith("rollout")] == [
        "rollout.started",
        "rollout.completed",
    ]


async def test_a_converged_app_is_not_written_again(house: ClusterHouse) -> None:
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    await house.rest()
    before, passes = house.written, house.types[:]
    await house.rest()
    assert house.written == before
    assert house.types == passes


async def test_what_was_just_written_is_looked_at_once(
    house: ClusterHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    view = KubernetesRenderer.view

    def counted(self: KubernetesRenderer, live: Sequence[Json], app: str) -> ObjectView:
        looks.append(app)
        return view(self, live, app)

    monkeypatch.setattr(KubernetesRenderer, "view", counted)
    monkeypatch.setattr(object_pass, "STILL_SECONDS", 3600.0)
    house.server.workloads.paused = True
    by_digest = f"web@sha256:{1:064x}"  # so that nothing has to be found out first
    await house.send(manifest("App", "web", spec(by_digest)))
    await house.until(lambda: "rollout.started" in house.types)
    await house.tick()
    await house.tick()
    await house.until(house.parts.queue.idle)
    assert looks == ["web", "web"], "before it is written, and what became of it"


async def test_an_app_that_is_deleted_leaves_nothing(house: ClusterHouse) -> None:
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    await house.send(i.Delete(ref=WEB))
    await house.until(lambda: "removal.completed" in house.types)
    assert not house.all("Pod")
    assert not house.all("Deployment")
    await house.until(lambda: house.server.inside.get("Namespace", "", "stw-shop") is None)


async def test_what_is_edited_by_hand_is_put_back_and_told(house: ClusterHouse) -> None:
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    house.server.inside.patch("Deployment", "stw-shop", "web", {"spec": {"replicas": 5}})
    await house.until(lambda: "drift.repaired" in house.types)
    found = house.found("Deployment")
    assert found is not None
    assert found["spec"]["replicas"] == 2


async def test_what_is_deleted_by_hand_comes_back(house: ClusterHouse) -> None:
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    house.server.inside.delete("Service", "stw-shop", "web")
    await house.until(lambda: house.found("Service"))


@pytest.mark.parametrize(
    ("fate", "reason"),
    [
        (Fate.PULL_FAILS, "ImageUnavailable"),
        (Fate.CRASHES, "CrashLoop"),
        (Fate.OUT_OF_MEMORY, "OutOfMemory"),
        (Fate.UNSCHEDULABLE, "Unschedulable"),
        (Fate.QUOTA_EXCEEDED, "QuotaExceeded"),
        (Fate.LIMIT_RANGE, "LimitExceeded"),
        (Fate.POD_SECURITY, "PodSecurityRefused"),
        (Fate.CONFIG_MISSING, "StartRefused"),
        (Fate.PROBE_FAILS, "HealthCheckFailing"),
    ],
)
async def test_why_an_app_is_not_well_is_told_before_any_tick(
    tmp_path: Path, fate: Fate, reason: str
) -> None:
    async with cluster_house(tmp_path, ticks=3600.0) as house:
        house.server.workloads.let("web:1", fate)
        await house.send(manifest("App", "web", spec()))
        await house.until(lambda: house.reason("Degraded") == ("True", reason))
        assert house.reason("Ready") == ("False", reason)


@pytest.mark.parametrize(
    ("fate", "reason"),
    [
        (Fate.PULL_FAILS, "ImageUnavailable"),
        (Fate.UNSCHEDULABLE, "Unschedulable"),
        (Fate.QUOTA_EXCEEDED, "QuotaExceeded"),
        (Fate.LIMIT_RANGE, "LimitExceeded"),
        (Fate.POD_SECURITY, "PodSecurityRefused"),
    ],
)
async def test_why_an_app_with_slots_is_not_well_is_told(
    house: ClusterHouse, fate: Fate, reason: str
) -> None:
    house.server.workloads.let("web:1", fate)
    volumes = [{"name": "data", "path": "/data", "scope": "replica"}]
    await house.send(manifest("App", "web", spec(volumes=volumes)))
    await house.until(lambda: house.reason("Degraded") == ("True", reason))
    house.server.workloads.let("web:1", Fate.RUNS)
    house.server.inside.patch("StatefulSet", "stw-shop", "web", {"spec": {"replicas": 1}})
    await house.until(lambda: house.reason("Ready") == ("True", "AllReplicasReady"))


async def test_a_revision_that_never_gets_well_leaves_the_last_one_serving(
    house: ClusterHouse,
) -> None:
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    house.server.workloads.let("web:2", Fate.CRASHES)
    await house.send(manifest("App", "web", spec("web:2")))
    await house.until(lambda: house.reason("Degraded") == ("True", "CrashLoop"))
    house.server.workloads.pass_deadline("stw-shop", "web")
    await house.until(lambda: "rollout.stalled" in house.types)
    status = house.of()
    assert status is not None
    assert (status.serving, status.ready) == (1, 2)
    assert house.reason("Progressing") == ("False", "DeadlineExceeded")
    await house.send(i.Undo(ref=WEB))
    await house.ready()
    found = house.found("Deployment")
    assert found is not None
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "web:1"


async def test_an_app_is_scaled_stopped_started_and_restarted(house: ClusterHouse) -> None:
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    await house.send(i.Scale(ref=WEB, replicas=3))
    await house.until(lambda: (status := house.of()) and status.ready == 3)
    await house.send(i.Stop(ref=WEB))
    await house.until(lambda: not house.all("Pod"))
    await house.until(lambda: house.reason("Ready") == ("False", "Stopped"))
    await house.send(i.Start(ref=WEB))
    await house.until(lambda: house.reason("Ready") == ("True", "AllReplicasReady"))
    before = {pod["metadata"]["name"] for pod in house.all("Pod")}
    await house.send(i.Restart(ref=WEB))
    await house.ready()
    assert not before & {pod["metadata"]["name"] for pod in house.all("Pod")}


async def test_while_an_app_is_paused_the_held_revision_stays(house: ClusterHouse) -> None:
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    await house.send(i.Hold(ref=WEB, reason="a look"))
    await house.send(manifest("App", "web", spec("web:2")))
    await house.rest()
    assert house.reason("Paused") == ("True", "Held")
    assert {one["spec"]["containers"][0]["image"] for one in house.all("Pod")} == {"web:1"}
    await house.send(i.Resume(ref=WEB))
    await house.ready()
    assert {one["spec"]["containers"][0]["image"] for one in house.all("Pod")} == {"web:2"}


async def test_an_app_that_moves_leaves_when_it_is_well_elsewhere(house: ClusterHouse) -> None:
    await house.send(manifest("App", "web", spec(target="local")))
    await house.ready()
    house.server.workloads.let("web:1", Fate.WAITS)
    await house.send(manifest("App", "web", spec(target="prod")))
    await house.until(lambda: len(house.all("Pod")) == 2)
    await house.rest()
    assert len(house.running()) == 2
    house.server.workloads.let("web:1", Fate.RUNS)
    await house.until(lambda: not house.running())
    await house.ready()
    await house.send(manifest("App", "web", spec(target="local")))
    await house.until(lambda: not house.all("Pod") and not house.all("Deployment"))
    assert len(house.running()) == 2


async def test_a_name_of_somebody_else_is_not_touched(house: ClusterHouse) -> None:
    house.server.inside.create("Namespace", "", {"metadata": {"name": "stw-shop"}})
    await house.send(manifest("App", "web", spec()))
    await house.until(lambda: house.reason("Synced") == ("False", "NameTaken"))
    assert not house.all("Deployment")


async def test_a_cluster_that_is_down_is_unknown_and_heals(house: ClusterHouse) -> None:
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    await house.server.kill()
    await house.until(lambda: house.reason("Ready") == ("Unknown", "TargetUnreachable"))
    await house.send(manifest("App", "other", spec(target="local")))
    await house.until(lambda: house.reason("Ready", "other") == ("True", "AllReplicasReady"))
    await house.server.start()
    await house.until(lambda: house.reason("Ready") == ("True", "AllReplicasReady"), 60)


async def test_volumes_stay_unless_they_are_asked_for(house: ClusterHouse) -> None:
    volumes = [{"name": "data", "path": "/data", "scope": "replica", "size": "1Gi"}]
    await house.send(manifest("App", "web", spec(volumes=volumes)))
    await house.ready()
    assert len(house.all("PersistentVolumeClaim")) == 2
    await house.send(i.Delete(ref=WEB))
    await house.until(lambda: "removal.completed" in house.types)
    await house.rest()
    assert len(house.all("PersistentVolumeClaim")) == 2
    await house.send(manifest("App", "web", spec(volumes=volumes)))
    await house.ready()
    await house.send(i.Delete(ref=WEB, volumes=True))
    await house.until(lambda: house.types.count("removal.completed") == 2)
    assert not house.all("PersistentVolumeClaim")


async def test_a_project_goes_with_all_that_it_had(house: ClusterHouse) -> None:
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    await house.send(i.Delete(ref=project("shop"), cascade=True))
    await house.until(lambda: house.server.inside.get("Namespace", "", "stw-shop") is None)


async def test_logs_and_commands_reach_into_pods(house: ClusterHouse) -> None:
    await house.send(manifest("App", "web", spec(replicas=1)))
    await house.ready()
    [pod] = house.all("Pod")
    name = pod["metadata"]["name"]
    there = Container("stw-shop", name, pod["spec"]["containers"][0]["name"])
    house.server.pods.say(there, "hello", "2026-01-01T00:00:01.5Z")

    async def shout(session: Session) -> int:
        await session.out(b"out")
        await session.err(b"err")
        return 3

    house.server.pods.commands["shout"] = shout
    view = house.parts.targets.get("prod")
    assert view is not None
    [replica] = await view.engine.replicas.list(("shop", "web"))
    io = view.engine.io
    logs = io.logs(replica, tail=None, since=None, follow=False)
    assert [line.text async for line in logs] == [b"hello"]
    result = await io.run(replica, ["shout"], timeout_seconds=5)
    assert result == (3, b"out", b"err")
    with pytest.raises(StartFailed, match="cannot run"):
        await io.run(replica, ["missing"], timeout_seconds=5)
    following = io.logs(replica, tail=None, since=None, follow=True)
    assert (await anext(following)).text == b"hello"
    house.server.pods.restart(there)
    house.server.pods.say(there, "again", "2026-01-01T00:00:02.5Z")
    assert (await anext(following)).text == b"again"
    await following.aclose()  # type: ignore[attr-defined]


async def test_what_the_account_may_not_do_names_the_verb(tmp_path: Path) -> None:
    async with cluster_house(tmp_path, token="nobody") as house:
        house.server.access.users["nobody"] = User("nobody", ())
        await house.send(manifest("App", "web", spec()))
        await house.until(lambda: house.reason("Ready") == ("Unknown", "TargetUnreachable"))
        view = house.parts.targets.get("prod")
        assert view is not None
        await house.until(lambda: "may not list" in view.trouble)
