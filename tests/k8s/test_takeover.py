"""What of others becomes ours, and how: as it is where that can be, and made anew only as said."""

from typing import Any

import pytest

from reconcilers.object_actions import ApplyObject, DeleteObject
from reconcilers.object_labels import ADOPTED
from reconcilers.object_planning import plan, removal
from reconcilers.object_ports import Json, Manifest
from tests.support import k8s_orders as orders
from tests.support.k8s_cluster import Cluster, converge, whose
from tests.support.k8s_orders import RENDERER, SHOP, order

THEIRS = {"matchLabels": {"app": "theirs"}}
SLOTS: dict[str, Any] = {
    **orders.WEB,
    "volumes": [{"name": "data", "path": "/data", "scope": "replica", "size": "1Gi"}],
}


def theirs(manifest: Manifest, spec: Json) -> Json:
    """An object of somebody else by the name of one of ours."""
    metadata = {"name": manifest.key.name, "namespace": manifest.key.namespace, "uid": "theirs"}
    return {"apiVersion": manifest.key.api_version, "kind": manifest.key.kind} | {
        "metadata": metadata,
        "spec": spec,
    }


def of_kind(wanted: tuple[Manifest, ...], kind: str) -> Manifest:
    return next(one for one in wanted if one.key.kind == kind)


@pytest.mark.parametrize(
    ("spec", "kind", "propagation"),
    [(orders.WEB, "Deployment", "Orphan"), (SLOTS, "StatefulSet", "Background")],
    ids=["pods serve on", "pods of the same names end first"],
)
def test_a_workload_with_another_selector_is_made_anew(
    spec: dict[str, Any], kind: str, propagation: str
) -> None:
    wanted = RENDERER.app(order(spec))
    there = theirs(of_kind(wanted, kind), {"selector": THEIRS, "replicas": 2})
    found = plan(wanted, [], whose(wanted), [there])
    [end] = [one for one in found.actions if isinstance(one, DeleteObject)]
    assert (end.uid, end.because, end.propagation) == ("theirs", "immutable", propagation)
    assert end.foreign
    assert any(field.startswith("spec.selector") for field in end.fields)


@pytest.mark.parametrize(
    ("ports", "is_anew"),
    [([{"port": 81}], True), ([{"name": "old", "port": 81}], False), ([{"port": 8080}], False)],
    ids=["without a name", "with a name", "ours"],
)
def test_a_port_that_may_not_stay_beside_ours_is_no_reason_to_be_refused(
    ports: list[dict[str, Any]], *, is_anew: bool
) -> None:
    wanted = RENDERER.app(order(orders.WEB))
    cluster = Cluster()
    converge(cluster, wanted)
    service = of_kind(wanted, "Service")
    live = [one for one in cluster.live() if one["kind"] != "Service"]
    found = plan(wanted, live, whose(wanted), [theirs(service, {"ports": ports})])
    [action] = found.actions
    assert (action.key, action.uid) == (service.key, "theirs")
    assert isinstance(action, DeleteObject) == is_anew


def test_what_leads_requests_there_waits_until_ours_is_ready() -> None:
    wanted = RENDERER.app(order(orders.WEB))
    service = of_kind(wanted, "Service")
    found = plan(wanted, [], whose(wanted), [theirs(service, {"ports": []})])
    assert found.adopting == (service.key,)
    assert service.key not in [one.key for one in found.actions]


def test_data_is_never_made_anew() -> None:
    volume = {"name": "data", "path": "/data", "scope": "app", "size": "1Gi"}
    wanted = RENDERER.app(order({**orders.WEB, "volumes": [volume]}))
    claim = of_kind(wanted, "PersistentVolumeClaim")
    there = theirs(claim, {"accessModes": ["ReadWriteOnce"], "storageClassName": "slow"})
    actions = plan(wanted, [], whose(wanted), [there]).actions
    [taken] = [one for one in actions if one.key == claim.key]
    assert isinstance(taken, ApplyObject)
    assert (taken.because, taken.uid) == ("adopted", "theirs")


def test_what_is_not_by_the_name_of_the_workload_is_not_ended() -> None:
    wanted = RENDERER.app(order(orders.WEB))
    cluster = Cluster()
    converge(cluster, wanted)
    about: Json = {"apiVersion": "apps/v1", "kind": "ReplicaSet"}
    namespace = of_kind(wanted, "Deployment").key.namespace
    left, another, owned = (
        {**about, "metadata": {"name": name, "namespace": namespace, "uid": name, **more}}
        for name, more in (
            ("web-1", {}),
            ("api-1", {}),
            ("web-2", {"ownerReferences": [{"uid": "x", "controller": True}]}),
        )
    )
    actions = plan(wanted, cluster.live(), whose(wanted), [left, another, owned]).actions
    assert [(one.key.name, one.uid) for one in actions] == [("web-1", "web-1")]


def test_the_note_that_it_was_taken_over_stays_and_keeps_a_namespace() -> None:
    wanted = RENDERER.project(SHOP)
    cluster = Cluster()
    converge(cluster, wanted)
    live = [
        {**one, "metadata": {**one["metadata"], "labels": {**labels, ADOPTED: "true"}}}
        for one in cluster.live()
        for labels in (one["metadata"]["labels"],)
    ]
    assert plan(wanted, live, whose(wanted)).actions == ()
    going = removal(live, whose(wanted), volumes=True)
    assert "Namespace" not in {one.key.kind for one in going.actions}
    assert "was there before" in going.held
