"""Plans for an app's objects: what is applied, what is left alone, and what is never pruned."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconcilers import object_comparing as comparing
from reconcilers.object_actions import Action, ApplyObject, DeleteObject
from reconcilers.object_counts import is_rolled_out, stops
from reconcilers.object_labels import INSTALLATION as OF_INSTALLATION
from reconcilers.object_labels import PART_OF
from reconcilers.object_planning import plan, removal
from reconcilers.object_ports import HANDOVER, AppOrder, Manifest, ObjectKey, Stage
from tests.support import k8s_orders as orders
from tests.support.k8s_cluster import Cluster, converge, merge, whose
from tests.support.k8s_orders import RENDERER, order

type Body = dict[str, Any]

WEB = RENDERER.app(order(orders.WEB))
OWNER = whose(WEB)


def key(manifests: tuple[Manifest, ...], kind: str) -> ObjectKey:
    return next(m.key for m in manifests if m.key.kind == kind)


def converged(manifests: tuple[Manifest, ...] = WEB) -> Cluster:
    cluster = Cluster()
    converge(cluster, manifests)
    return cluster


# --- any order ----------------------------------------------------------------------------------


@settings(max_examples=25)
@given(before=orders.specs(), after=orders.specs(), crash=st.integers(0, 12))
def test_acting_leaves_nothing_to_do_wherever_it_was_interrupted(
    before: dict[str, Any], after: dict[str, Any], crash: int
) -> None:
    old, new = RENDERER.app(order(before)), RENDERER.app(order(after, revision=2))
    straight, interrupted = converged(old), converged(old)
    converge(straight, new)
    converge(interrupted, new, stop_after=crash)
    converge(interrupted, new)
    assert set(straight.applied) == set(interrupted.applied)
    claims = {m.key for m in old if m.key.kind == "PersistentVolumeClaim"}
    assert set(straight.applied) == {m.key for m in new} | claims


@given(asked=orders.orders())
def test_a_converged_app_is_not_written_to(asked: AppOrder) -> None:
    wanted = RENDERER.app(asked)
    cluster = converged(wanted)
    assert plan(wanted, cluster.live(), whose(wanted)).actions == ()
    assert cluster.writes == len(wanted)


@given(asked=orders.orders())
def test_objects_are_applied_in_stages_and_strays_go_last(asked: AppOrder) -> None:
    wanted = RENDERER.app(asked)
    cluster = converged(RENDERER.app(order(orders.BUSY, app=asked.app, project=asked.project)))
    actions = plan(wanted, cluster.live(), whose(wanted)).actions
    stages = [a.manifest.stage if isinstance(a, ApplyObject) else Stage.ROUTE + 1 for a in actions]
    replaced = [a for a in actions if isinstance(a, DeleteObject) and a.because == "immutable"]
    assert replaced or stages == sorted(stages)


# --- what is edited, and by whom ----------------------------------------------------------------

EDITS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("Deployment", {"spec": {"replicas": 7}}, "spec.replicas"),
    (
        "Deployment",
        {"metadata": {"labels": {"stateward/app": "x"}}},
        "metadata.labels.stateward/app",
    ),
    ("Service", {"spec": {"ports": []}}, "spec.ports[8080,TCP]"),
    ("NetworkPolicy", {"spec": {"ingress": [{}]}}, "spec.ingress"),
)


@pytest.mark.parametrize(("kind", "edit", "field"), EDITS, ids=[e[2] for e in EDITS])
def test_an_edit_is_taken_back_and_named(kind: str, edit: dict[str, Any], field: str) -> None:
    cluster = converged()
    managed = {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": _fields(field)}
    cluster.others[key(WEB, kind)] = {**edit}
    merge(cluster.others[key(WEB, kind)], {"metadata": {"managedFields": [managed]}})
    [action] = plan(WEB, cluster.live(), OWNER).actions
    assert isinstance(action, ApplyObject)
    assert (action.because, action.by) == ("edited", ("kubectl-edit",))
    assert field in action.fields
    cluster.execute(action)
    assert plan(WEB, cluster.live(), OWNER).actions == ()


def _fields(path: str) -> dict[str, Any]:
    """`a.b` as `managedFields` has it; an item of a list by its key."""
    head, _, rest = path.partition(".")
    name, bracket, item = head.partition("[")
    inner: dict[str, Any] = _fields(rest) if rest else {}
    if bracket:
        port, protocol = item.rstrip("]").split(",")
        return {f"f:{name}": {f'k:{{"port":{port},"protocol":"{protocol}"}}': {".": {}}}}
    if head == "labels":
        return {"f:labels": {f"f:{rest}": {}}}
    return {f"f:{name}": inner}


def test_one_more_rule_in_a_list_that_is_one_value_is_taken_back() -> None:
    cluster = converged()
    rules = [*cluster.find("NetworkPolicy")["spec"]["ingress"], {}]
    cluster.others[key(WEB, "NetworkPolicy")] = {"spec": {"ingress": rules}}
    [action] = plan(WEB, cluster.live(), OWNER).actions
    assert isinstance(action, ApplyObject)
    assert action.fields == ("spec.ingress",)


@pytest.mark.parametrize(
    ("kind", "field"), [("Service", "selector"), ("NetworkPolicy", "podSelector")]
)
def test_one_more_label_in_a_selector_is_taken_back(kind: str, field: str) -> None:
    """It selects something else then: a Service nothing at all."""
    cluster = converged()
    cluster.others[key(WEB, kind)] = {"spec": {field: {"matchLabels": {"version": "2"}}}}
    [action] = plan(WEB, cluster.live(), OWNER).actions
    assert isinstance(action, ApplyObject)
    assert (action.because, action.fields) == ("edited", (f"spec.{field}",))


def test_what_an_intent_changed_is_no_edit() -> None:
    changed = RENDERER.app(order(orders.WEB, revision=2))
    [action] = plan(changed, converged().live(), OWNER).actions
    assert isinstance(action, ApplyObject)
    assert (action.because, action.fields, action.by) == ("changed", (), ())


def test_of_secrets_no_more_need_be_seen_than_their_metadata() -> None:
    live = [
        {n: one[n] for n in ("apiVersion", "kind", "metadata")} if one["kind"] == "Secret" else one
        for one in converged().live()
    ]
    assert plan(WEB, live, OWNER).actions == ()


def test_an_edit_of_a_container_names_the_container_and_the_field() -> None:
    cluster = converged()
    edited = deepcopy(dict(cluster.find("Deployment")))["spec"]
    edited["template"]["spec"]["containers"][0]["image"] = "evil:1"
    cluster.others[key(WEB, "Deployment")] = {"spec": edited}
    [action] = plan(WEB, cluster.live(), OWNER).actions
    assert isinstance(action, ApplyObject)
    assert action.fields == ("spec.template.spec.containers[web].image",)


def test_what_others_add_is_told_with_their_name_and_left_alone() -> None:
    cluster = converged()
    spec = deepcopy(dict(cluster.find("Deployment")))["spec"]
    spec["template"]["spec"]["containers"].append({"name": "sidecar", "image": "mesh:1"})
    sidecar: Body = {'k:{"name":"sidecar"}': {".": {}, "f:image": {}, "f:name": {}}}
    restarted: Body = {"f:annotations": {".": {}, "f:kubectl.kubernetes.io/restartedAt": {}}}
    template = {"f:metadata": restarted, "f:spec": {"f:containers": sidecar}}
    entries = [
        {"manager": "mesh", "fieldsV1": {"f:spec": {"f:template": template}}},
        {"manager": "kube-controller-manager", "fieldsV1": {"f:metadata": {"f:annotations": {}}}},
        {"manager": "stateward", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {"manager": "agent", "subresource": "status", "fieldsV1": {"f:status": {"f:x": {}}}},
    ]
    cluster.others[key(WEB, "Deployment")] = {"spec": spec, "metadata": {"managedFields": entries}}
    found = plan(WEB, cluster.live(), OWNER)
    assert found.actions == ()
    [addition] = found.additions[key(WEB, "Deployment")]
    assert addition.manager == "mesh"
    assert addition.fields == (
        "spec.template.metadata.annotations",
        "spec.template.spec.containers[sidecar]",
    )


def test_what_a_server_fills_in_is_no_difference() -> None:
    cluster = converged()
    filled = deepcopy(dict(cluster.find("Deployment")))["spec"]
    filled["template"]["spec"] |= {"dnsPolicy": "ClusterFirst", "restartPolicy": "Always"}
    filled["template"]["spec"]["containers"][0]["terminationMessagePath"] = "/dev/termination-log"
    cluster.others[key(WEB, "Deployment")] = {"spec": filled}
    assert plan(WEB, cluster.live(), OWNER).actions == ()


# --- an autoscaler ------------------------------------------------------------------------------


def replicas(cluster: Cluster) -> int:
    found: int = cluster.find("Deployment")["spec"]["replicas"]
    return found


@pytest.mark.parametrize(("ran", "kept"), [(9, 9), (1, 2), (0, 2), (50, 20)])
def test_replicas_are_handed_over_to_a_new_autoscaler(ran: int, kept: int) -> None:
    fixed = {name: value for name, value in orders.BUSY.items() if name != "autoscale"}
    cluster = converged(RENDERER.app(order({**fixed, "replicas": ran}, app="busy")))
    busy = RENDERER.app(order(orders.BUSY, app="busy", revision=2))
    seen = [replicas(cluster)]
    for action in plan(busy, cluster.live(), whose(busy)).actions:
        cluster.execute(action)
        seen.append(replicas(cluster))
    assert set(seen) <= {ran, kept}, "it fell to the default in between"
    assert replicas(cluster) == kept
    assert plan(busy, cluster.live(), whose(busy)).actions == ()


def test_what_an_autoscaler_decided_is_left_alone_and_is_no_addition() -> None:
    busy = RENDERER.app(order(orders.BUSY, app="busy"))
    cluster = converged(busy)
    assert not any(HANDOVER in managers for managers in cluster.applied.values())
    scaled = {"manager": "keda", "subresource": "scale", "fieldsV1": _fields("spec.replicas")}
    cluster.others[key(busy, "Deployment")] = {
        "spec": {"replicas": 13},
        "metadata": {"managedFields": [scaled]},
    }
    found = plan(busy, cluster.live(), whose(busy))
    assert (found.actions, found.additions) == ((), {})


def test_an_autoscaler_that_found_none_gets_some_to_begin_with() -> None:
    busy = RENDERER.app(order(orders.BUSY, app="busy"))
    cluster = converged(busy)
    cluster.others[key(busy, "Deployment")] = {"spec": {"replicas": 0}}
    [action] = plan(busy, cluster.live(), whose(busy)).actions
    assert isinstance(action, ApplyObject)
    assert (action.because, action.manager) == ("handover", HANDOVER)
    assert action.manifest.body["spec"] == {"replicas": 2}


# --- that none runs needs nothing new -----------------------------------------------------------


def stopped(cluster: Cluster, spec: Mapping[str, Any], revision: int = 2) -> list[Action]:
    asked = order({**spec, "replicas": 0}, revision=revision)
    planned = plan(RENDERER.app(asked), cluster.live(), OWNER).actions
    return [*stops(asked.uid, cluster.live(), planned), *planned]


def test_a_mere_stop_is_one_write() -> None:
    found = stopped(converged(), orders.WEB, revision=1)
    assert "stopped" not in {action.because for action in found}
    assert [action.key.kind for action in found][:1] == ["Deployment"]


@pytest.mark.parametrize("more", [{"image": "web:2"}, {"env": {"NEW": "1"}}], ids=str)
def test_a_stop_with_something_new_says_the_number_first_and_once(more: dict[str, Any]) -> None:
    cluster = converged()
    first, *_ = stopped(cluster, {**orders.WEB, **more})
    assert isinstance(first, ApplyObject)
    assert (first.key, first.because) == (key(WEB, "Deployment"), "stopped")
    cluster.execute(first)
    template = cluster.find("Deployment")["spec"]["template"]
    assert template["spec"]["containers"][0]["image"] == order(orders.WEB).image
    cluster.others[first.key] = {"spec": {"replicas": 0}}
    assert not any(
        isinstance(a, ApplyObject) and a.because == "stopped"
        for a in stopped(cluster, {**orders.WEB, **more})
    )


def test_what_a_former_life_left_is_not_for_the_app_to_stop() -> None:
    assert not list(stops(order(orders.WEB).uid + 1, converged().live(), ()))


# --- what goes, and what never does -------------------------------------------------------------


@pytest.mark.parametrize("wanted", [None, ()], ids=["failed", "empty"])
def test_nothing_is_touched_when_nothing_was_rendered(wanted: tuple[Manifest, ...] | None) -> None:
    found = plan(wanted, converged().live(), OWNER)
    assert (found.actions, bool(found.held)) == ((), True)


def test_claims_stay_when_their_volume_is_no_longer_wanted() -> None:
    cluster = converged(RENDERER.app(order(orders.ARCHIVE)))
    without = RENDERER.app(order({"image": "archive:1"}, revision=2))
    converge(cluster, without)
    assert cluster.find("PersistentVolumeClaim")


def foreign(cluster: Cluster, name: ObjectKey) -> None:
    cluster.others[name] = {"metadata": {"labels": {OF_INSTALLATION: "somebody-else"}}}


def test_what_belongs_to_another_installation_is_neither_applied_nor_pruned() -> None:
    cluster = converged()
    foreign(cluster, key(WEB, "Service"))
    found = plan(WEB, cluster.live(), OWNER)
    assert (found.actions, found.taken) == ((), (key(WEB, "Service"),))
    portless = RENDERER.app(order({**orders.WORKER}, revision=2))
    acted = {action.key for action in plan(portless, cluster.live(), OWNER).actions}
    assert key(WEB, "Service") not in acted
    assert key(WEB, "PodDisruptionBudget") in acted


@pytest.mark.parametrize(
    ("kind", "is_in_set"), [("Service", False), ("PersistentVolumeClaim", True)]
)
def test_what_is_in_no_set_and_any_data_is_not_pruned(kind: str, *, is_in_set: bool) -> None:
    cluster = converged()
    found = deepcopy(dict(cluster.find("Service")))
    found["kind"] = kind
    found["metadata"]["name"] = "api"
    if not is_in_set:
        del found["metadata"]["labels"][PART_OF]
    cluster.made.append(found)
    assert plan(WEB, cluster.live(), OWNER).actions == ()


def test_what_a_controller_made_with_our_labels_is_not_a_stray() -> None:
    cluster = converged()
    slices = deepcopy(dict(cluster.find("Service")))
    slices |= {"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1"}
    slices["metadata"] |= {"name": "web-x1", "ownerReferences": [{"controller": True}]}
    cluster.made.append(slices)
    assert plan(WEB, cluster.live(), OWNER).actions == ()


def test_configuration_goes_when_no_pod_can_need_it_any_more() -> None:
    cluster = converged()
    config = next(m.key for m in WEB if m.body.get("data"))
    template = cluster.find("Deployment")["spec"]["template"]
    old = {"kind": "ReplicaSet", "apiVersion": "apps/v1", "spec": {"template": template}}
    cluster.made.append({**old, "metadata": {"name": "web-1", "namespace": "stw-shop"}})
    changed = RENDERER.app(order({**orders.WEB, "env": {"LOG": "debug"}}, revision=2))
    converge(cluster, changed)
    assert config in cluster.applied
    cluster.made.clear()
    converge(cluster, changed)
    assert config not in cluster.applied
    assert {m.key for m in changed} == set(cluster.applied)


def test_what_ran_before_goes_when_its_successor_is_ready() -> None:
    cluster = converged(RENDERER.app(order(orders.WORKER)))
    with_volume = {**orders.WORKER, "volumes": [{"name": "data", "path": "/data"}]}
    wanted = RENDERER.app(order(with_volume, revision=2))
    cluster.rolls_out = False
    found = converge(cluster, wanted)
    assert {"Deployment", "StatefulSet"} <= {name.kind for name in cluster.applied}
    assert "successor" in found.held
    cluster.rolls_out = True
    converge(cluster, wanted)
    assert "Deployment" not in {name.kind for name in cluster.applied}


def test_what_is_on_its_way_out_is_waited_for_and_nothing_is_pruned_meanwhile() -> None:
    cluster = converged()
    cluster.ending.add(key(WEB, "Deployment"))
    portless = RENDERER.app(order({**orders.WORKER}, revision=2))
    found = plan(portless, cluster.live(), OWNER)
    assert found.waiting == (key(WEB, "Deployment"),)
    assert not any(isinstance(action, DeleteObject) for action in found.actions)
    cluster.remove(key(WEB, "Deployment"))
    cluster.ending.clear()
    converge(cluster, portless)
    assert set(cluster.applied) == {m.key for m in portless}


def test_an_object_that_cannot_be_changed_is_made_anew_and_its_pods_stay() -> None:
    cluster = converged(RENDERER.app(order(orders.DATABASE)))
    before = cluster.uids[key(RENDERER.app(order(orders.DATABASE)), "StatefulSet")]
    volumes = [{"name": "data", "path": "/var/lib/db", "size": "30Gi"}]
    wanted = RENDERER.app(order({**orders.DATABASE, "volumes": volumes}, revision=2))
    [first, *_] = plan(wanted, cluster.live(), whose(wanted)).actions
    assert isinstance(first, DeleteObject)
    assert (first.because, first.propagation) == ("immutable", "Orphan")
    assert (first.uid, first.fields) == (before, ("spec.volumeClaimTemplates",))
    converge(cluster, wanted)
    assert cluster.find("StatefulSet")["metadata"]["uid"] != before


# --- the end of an app and of a project ---------------------------------------------------------


@pytest.mark.parametrize("volumes", [False, True])
def test_a_deleted_app_goes_and_its_data_only_if_asked_for(*, volumes: bool) -> None:
    wanted = RENDERER.app(order(orders.ARCHIVE))
    cluster = converged(wanted)
    actions = removal(cluster.live(), whose(wanted), volumes=volumes).actions
    assert actions[0].key.kind == "Deployment"
    for action in actions:
        cluster.execute(action)
    left = {name.kind for name in cluster.applied}
    assert left == (set() if volumes else {"PersistentVolumeClaim"})
    assert removal(cluster.live(), whose(wanted), volumes=volumes).actions == ()


def test_a_namespace_stays_while_there_is_data_in_it_that_shall_stay() -> None:
    shared = RENDERER.project(orders.SHOP)
    cluster = converged(shared)
    archive = RENDERER.app(order(orders.ARCHIVE))
    claim = next(m for m in archive if m.key.kind == "PersistentVolumeClaim")
    cluster.execute(ApplyObject(manifest=claim, uid=None, because="missing"))
    owner = whose(shared)
    found = removal(cluster.live(), owner, volumes=False)
    assert "Namespace" not in {action.key.kind for action in found.actions}
    assert "1 volumes" in found.held
    last = removal(cluster.live(), owner, volumes=True).actions[-1]
    assert last.key.kind == "Namespace"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"observedGeneration": 2, "updatedReplicas": 2, "availableReplicas": 2}, True),
        ({"observedGeneration": 1, "updatedReplicas": 2, "availableReplicas": 2}, False),
        ({"observedGeneration": 2, "updatedReplicas": 1, "availableReplicas": 2}, False),
        ({"observedGeneration": 2, "updatedReplicas": 2}, False),
    ],
)
def test_a_workload_is_rolled_out_when_its_controller_says_so(
    status: dict[str, int], *, expected: bool
) -> None:
    workload = {"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": status}
    assert is_rolled_out(workload) == expected


def test_an_autoscaler_of_somebody_else_is_named_for_the_count_that_it_set() -> None:
    """It sets nothing but that, as the cluster itself and through a resource of its own."""
    scaled = {
        "manager": "kube-controller-manager",
        "operation": "Update",
        "subresource": "scale",
        "fieldsV1": {"f:spec": {"f:replicas": {}}},
    }
    live = {"kind": "Deployment", "metadata": {"managedFields": [scaled]}, "spec": {"replicas": 7}}
    fields = comparing.differing({"kind": "Deployment", "spec": {"replicas": 2}}, live)
    assert comparing.editors(live, fields) == ("kube-controller-manager (scale)",)
    assert comparing.additions({"kind": "Deployment", "spec": {"replicas": 2}}, live) == ()
