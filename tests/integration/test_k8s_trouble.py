"""What goes wrong with a cluster in the middle of an intent: told clearly, and nothing is lost."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.k8s.kinds import BUILT_IN
from domain import intents as i
from domain.names import app
from tests.integration.test_k8s_worker import spec
from tests.support.cluster_house import NAMESPACE, ClusterHouse, cluster_house
from tests.support.intents import manifest
from tests.support.kubernetes.access import Rule, User
from tests.support.kubernetes.faults import Fault
from tests.support.kubernetes.pod_states import Fate
from tests.support.kubernetes.server import ADMIN_TOKEN, KubernetesServer

WEB = app("shop", "web")
SCHEMA = "failed to create typed patch object (stw-shop/web): .spec.colour: field not declared"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[ClusterHouse]:
    async with cluster_house(tmp_path) as built:
        yield built


def message(house: ClusterHouse, kind: str, name: str = "web") -> str:
    status = house.of(name)
    condition = status.condition(kind) if status is not None else None
    return condition.message if condition is not None else ""


def images(house: ClusterHouse) -> list[str]:
    return [
        one["spec"]["containers"][0]["image"]
        for one in house.all("Pod")
        if "deletionTimestamp" not in one["metadata"]
    ]


async def test_a_server_that_restarts_in_mid_rollout_loses_nothing(house: ClusterHouse) -> None:
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    house.server.workloads.let("web:2", Fate.WAITS)
    await house.send(manifest("App", "web", spec("web:2")))
    await house.until(lambda: "web:2" in images(house))
    await house.server.kill()
    await house.send(i.Scale(ref=WEB, replicas=3))
    await house.until(lambda: house.reason("Ready") == ("Unknown", "TargetUnreachable"))
    assert images(house).count("web:1") == 2
    house.server.workloads.let("web:2", Fate.RUNS)
    await house.server.start()
    await house.ready()
    await house.until(lambda: images(house) == ["web:2"] * 3)
    assert house.types.count("rollout.completed") == 2


async def test_a_watch_that_stays_cut_is_caught_up_with(house: ClusterHouse) -> None:
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    house.server.faults.add(Fault(code=503, verb="watch", times=40))
    house.server.faults.cut_watches()
    house.server.inside.delete("Service", NAMESPACE, "web")
    house.server.inside.patch("Deployment", NAMESPACE, "web", {"spec": {"replicas": 7}})
    await house.until(lambda: house.found("Service"))
    await house.until(lambda: images(house) == ["web:1"] * 2)


async def test_versions_that_expired_are_listed_anew_and_nothing_is_missed(
    house: ClusterHouse,
) -> None:
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    house.server.inside.delete("Service", NAMESPACE, "web")
    house.server.faults.expire_versions()
    house.server.faults.cut_watches()
    await house.until(lambda: house.found("Service"))
    await house.send(i.Scale(ref=WEB, replicas=3))
    await house.until(lambda: images(house) == ["web:1"] * 3)


@pytest.mark.parametrize("code", [429, 503])
async def test_a_cluster_that_asks_for_patience_gets_it_and_delays_no_other_target(
    house: ClusterHouse, code: int
) -> None:
    house.server.faults.add(Fault(code=code, verb="patch", times=1, retry_after=60))
    await house.send(manifest("App", "web", spec()))
    await house.until(lambda: house.reason("Ready") == ("Unknown", "TargetUnreachable"))
    asked = len(house.server.calls)
    await house.send(manifest("App", "other", spec(target="local")))
    await house.until(lambda: house.reason("Ready", "other") == ("True", "AllReplicasReady"))
    await house.tick()
    assert len(house.server.calls) == asked


async def test_a_short_throttling_is_only_waited_for(house: ClusterHouse) -> None:
    house.server.faults.throttle(times=6, retry_after=1, verb="patch")
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    assert house.types.count("rollout.completed") == 1


async def test_what_fits_no_schema_is_told_and_not_asked_again_and_again(
    house: ClusterHouse,
) -> None:
    house.server.faults.add(
        Fault(code=500, verb="patch", plural="deployments", times=999, message=SCHEMA, reason="")
    )
    await house.send(manifest("App", "web", spec()))
    await house.until(lambda: house.reason("Degraded") == ("True", "ObjectRefused"))
    assert ".spec.colour: field not declared" in message(house, "Degraded")
    before = house.written
    for _ in range(4):
        await house.tick()
    assert house.written - before <= 4
    house.server.faults.pending.clear()
    await house.send(manifest("App", "web", spec(replicas=1)))
    await house.ready()


async def test_a_missing_verb_is_named_and_once_granted_the_app_comes(tmp_path: Path) -> None:
    groups = frozenset({kind.group for kind in BUILT_IN.values()})
    plurals = frozenset({kind.plural for kind in BUILT_IN.values()})
    verbs = frozenset({"get", "list", "watch", "create", "patch", "delete"})
    most = Rule(verbs=verbs, groups=groups, resources=plurals - {"deployments"})
    reads = Rule(
        verbs=verbs - {"create", "patch"}, groups=groups, resources=frozenset({"deployments"})
    )
    async with cluster_house(tmp_path, token="deployer") as house:
        house.server.access.users["deployer"] = User("deployer", (most, reads))
        await house.send(manifest("App", "web", spec()))
        await house.until(lambda: house.reason("Degraded") == ("True", "Forbidden"))
        said = message(house, "Degraded")
        assert "may not patch deployments.apps in namespace 'stw-shop'" in said
        assert "grant it the verb 'patch'" in said
        house.server.access.users["deployer"] = User("deployer")
        await house.ready()


async def test_a_namespace_that_ends_is_waited_for_and_made_anew(house: ClusterHouse) -> None:
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    kept = {"metadata": {"name": "kept", "finalizers": ["example.com/hold"]}}
    house.server.inside.create("ConfigMap", NAMESPACE, kept)
    uid = namespace(house)
    house.server.inside.delete("Namespace", "", NAMESPACE)
    await house.until(lambda: house.reason("Progressing") == ("True", "RemovalPending"))
    assert message(house, "Progressing").startswith(f"Namespace {NAMESPACE}")
    patch = {"metadata": {"finalizers": None}}
    house.server.inside.patch("ConfigMap", NAMESPACE, "kept", patch)
    await house.until(lambda: namespace(house) not in ("", uid))
    await house.ready()
    await house.until(lambda: images(house) == ["web:1"] * 2)


async def test_a_deletion_that_cannot_end_says_what_holds_it(house: ClusterHouse) -> None:
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    held = {"metadata": {"finalizers": ["example.com/hold"]}}
    house.server.inside.patch("Deployment", NAMESPACE, "web", held)
    await house.send(i.Delete(ref=app("shop", "web")))
    told = f"Deployment {NAMESPACE}/web, which finalizers hold: example.com/hold"
    await house.until(lambda: told in message(house, "Deleting"))
    house.server.inside.patch("Deployment", NAMESPACE, "web", {"metadata": {"finalizers": None}})
    await house.until(lambda: "removal.completed" in house.types)
    assert house.of() is None


def namespace(house: ClusterHouse) -> str:
    found = house.server.inside.get("Namespace", "", NAMESPACE)
    return str(found["metadata"]["uid"]) if found else ""


async def test_an_object_of_somebody_else_is_named_and_waited_for(house: ClusterHouse) -> None:
    await house.send(manifest("App", "first", spec("first:1")))
    await house.ready("first")
    ports = {"spec": {"ports": [{"port": 1}]}}
    house.server.inside.create("Service", NAMESPACE, {"metadata": {"name": "web"}, **ports})
    await house.send(manifest("App", "web", spec()))
    await house.until(lambda: house.reason("Synced") == ("False", "NameTaken"))
    assert f"Service {NAMESPACE}/web belongs to somebody else" in message(house, "Synced")
    found = house.found("Service")
    assert found is not None
    assert [one["port"] for one in found["spec"]["ports"]] == [1]
    house.server.inside.delete("Service", NAMESPACE, "web")
    await house.ready()


async def test_an_answer_that_was_lost_is_found_out_and_nothing_is_made_twice(
    house: ClusterHouse,
) -> None:
    house.server.faults.add(Fault(code=-1, verb="patch", times=5, after_work=True))
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    assert images(house) == ["web:1"] * 2


async def test_a_log_that_went_backwards_is_noticed_by_objects_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    async with KubernetesServer() as server:
        house = ClusterHouse(server, tmp_path, token=ADMIN_TOKEN)
        async with house.working():
            await house.furnish()
            await house.send(manifest("App", "web", spec()))
            await house.ready()
            await house.rest()
        await house.parts.targets.close()
        there = house.found("Deployment")
        restored = ClusterHouse(server, tmp_path, token=ADMIN_TOKEN)  # from before there was an app
        written = restored.written
        async with restored.working():
            await restored.furnish()
            await restored.until(lambda: restored.rewound)
            await restored.send(manifest("App", "other", spec()))
            await restored.until(lambda: restored.reason("Degraded", "other")[1] == "LogRewound")
            await restored.tick()
        await restored.parts.targets.close()
        assert re.fullmatch(
            r"an object on target prod has seen position \d+", restored.rewound or ""
        )
        assert (restored.found("Deployment"), restored.written) == (there, written)
