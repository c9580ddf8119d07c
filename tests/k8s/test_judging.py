"""The conditions of an app whose engine keeps objects: the same words as on every engine."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from domain import events as e
from domain.names import app
from projections.desired import DesiredApp
from reconcilers.object_actions import ApplyObject, DeleteObject
from reconcilers.object_comparing import Addition
from reconcilers.object_judging import judge, replacements
from reconcilers.object_planning import Plan
from reconcilers.object_ports import Cause, Manifest, ObjectKey, ObjectView
from reconcilers.status import CONDITIONS, AppStatus
from tests.support import k8s_orders as orders
from tests.support.k8s_orders import RENDERER, order

SERVICE = ObjectKey("v1", "Service", "stw-shop", "web")
WELL = ObjectView(wanted=3, ready=3, updated=3, revision=2, serving=2, is_settled=True)
NO_IMAGE = Cause("ImageUnavailable", "web-1 cannot get web:2: not found")


def desired(*, replicas: int = 3, stable: int = 2, **more: Any) -> DesiredApp:
    return DesiredApp(
        ref=app("shop", "web"),
        position=42,
        uid=17,
        generation=40,
        revision=2,
        digest="d",
        spec=orders.complete({**orders.WEB, "replicas": replicas}),
        labels={},
        secrets={},
        image="web@sha256:feed",
        begun=2,
        stable=stable,
        stalled=0,
        asked_at=0.0,
        **({"paused": None} | more),
    )


def deployment() -> Manifest:
    return next(m for m in RENDERER.app(order(orders.WEB)) if m.key.kind == "Deployment")


def status(view: ObjectView, plan: Plan | None = None, **asked: Any) -> AppStatus:
    return judge(desired(**asked), view, plan or Plan(), now=1.0, before=None)


def said(found: AppStatus, kind: str) -> tuple[str, str]:
    condition = found.condition(kind)
    assert condition is not None
    return condition.status, condition.reason


def test_pods_of_another_revision_are_not_the_ones_that_were_asked_for() -> None:
    """What an app left behind, and what nobody has seen yet, does not make a rollout complete."""
    assert status(WELL).updated == 3
    assert status(changed(revision=1)).updated == 0
    assert status(changed(is_settled=False)).updated == 0
    found = status(changed(revision=1)).condition("Progressing")
    assert found is not None
    assert found.message == "0 of 3 replicas run revision 2"


def changed(**fields: Any) -> ObjectView:
    return msgspec.structs.replace(WELL, **fields)


VIEWS: tuple[tuple[str, ObjectView, dict[str, tuple[str, str]]], ...] = (
    (
        "all is well",
        WELL,
        {
            "Ready": ("True", "AllReplicasReady"),
            "Progressing": ("False", "Complete"),
            "Degraded": ("False", "AsExpected"),
            "Synced": ("True", "Converged"),
        },
    ),
    (
        "not taken in yet",
        changed(is_settled=False),
        {"Ready": ("True", "Serving"), "Progressing": ("True", "RolloutInProgress")},
    ),
    (
        "another revision is still on the cluster",
        changed(revision=1, serving=1),
        {"Ready": ("True", "Serving"), "Progressing": ("True", "RolloutInProgress")},
    ),
    (
        "the old serves while the new cannot",
        changed(updated=0, serving=1, causes=(NO_IMAGE,)),
        {"Ready": ("True", "Serving"), "Degraded": ("True", "ImageUnavailable")},
    ),
    (
        "nothing serves",
        changed(ready=0, updated=0, serving=0, causes=(NO_IMAGE,)),
        {"Ready": ("False", "ImageUnavailable"), "Degraded": ("True", "ImageUnavailable")},
    ),
    (
        "it only begins",
        changed(ready=0, updated=0, serving=0),
        {"Ready": ("False", "Starting"), "Degraded": ("True", "ReplicasMissing")},
    ),
    (
        "it passed its deadline",
        changed(updated=0, is_stalled=True),
        {"Progressing": ("False", "DeadlineExceeded"), "Degraded": ("True", "DeadlineExceeded")},
    ),
)


@pytest.mark.parametrize(("view", "expected"), [v[1:] for v in VIEWS], ids=[v[0] for v in VIEWS])
def test_what_is_seen_gives_conditions(
    view: ObjectView, expected: dict[str, tuple[str, str]]
) -> None:
    found = status(view)
    assert {kind: said(found, kind) for kind in expected} == expected
    types = tuple(condition.type for condition in found.conditions)
    assert types == tuple(one for one in CONDITIONS if one not in ("Routed", "Certified"))


def test_a_stopped_app_is_not_ready_and_nothing_is_wrong() -> None:
    found = status(ObjectView(revision=2, is_settled=True), replicas=0)
    assert (said(found, "Ready"), said(found, "Degraded")) == (
        ("False", "Stopped"),
        ("False", "AsExpected"),
    )


def test_a_held_app_is_complete_at_the_revision_that_is_held() -> None:
    until = datetime(2030, 1, 1, tzinfo=UTC)
    pause = e.Pause(revision=1, reason="sale", until=until)
    found = status(changed(revision=1, serving=1), paused=pause)
    assert said(found, "Progressing") == ("False", "Complete")
    assert said(found, "Paused") == ("True", "Held")


def test_the_first_rollout_is_not_degraded_while_it_comes() -> None:
    assert said(status(changed(ready=0, updated=0), stable=0), "Degraded")[0] == "False"


PLANS: tuple[tuple[Plan, str, str], ...] = (
    (Plan(taken=(SERVICE,)), "NameTaken", "Service stw-shop/web belongs to somebody else"),
    (Plan(waiting=(SERVICE,)), "Converging", "not yet what is wanted"),
    (
        Plan(
            actions=(
                ApplyObject(
                    manifest=deployment(),
                    uid="u",
                    because="edited",
                    fields=("spec.replicas",),
                    by=("kubectl-edit",),
                ),
            )
        ),
        "Drifted",
        "spec.replicas of Deployment stw-shop/web was changed by kubectl-edit",
    ),
    (
        Plan(additions={SERVICE: (Addition("mesh", ("spec.containers[sidecar]",)),)}),
        "AddedTo",
        "mesh added spec.containers[sidecar] to Service stw-shop/web; it is left alone",
    ),
)


@pytest.mark.parametrize(("plan", "reason", "part"), PLANS, ids=[p[1] for p in PLANS])
def test_what_is_planned_says_whether_it_is_synced(plan: Plan, reason: str, part: str) -> None:
    condition = status(WELL, plan).condition("Synced")
    assert condition is not None
    assert (condition.reason, part in condition.message) == (reason, True), condition.message
    assert (condition.status == "True") == (reason == "AddedTo")


def test_a_name_that_is_taken_is_why_an_app_is_not_there() -> None:
    """Lists of apps show why one is not ready, and how many it should have."""
    found = status(ObjectView(), Plan(taken=(SERVICE,)), stable=0)
    assert (said(found, "Ready"), said(found, "Degraded")) == (
        ("False", "NameTaken"),
        ("True", "NameTaken"),
    )
    ready = found.condition("Ready")
    assert ready is not None
    assert ready.message.startswith("0 of 3 replicas are ready: Service stw-shop/web belongs to")
    assert found.wanted == 3
    serving = status(WELL, Plan(taken=(SERVICE,)))  # one that lacks only its autoscaler, say
    assert (said(serving, "Ready")[0], said(serving, "Degraded")[1]) == ("True", "NameTaken")


def test_a_replacement_is_told_before_it_is_done() -> None:
    name = ObjectKey("apps/v1", "StatefulSet", "stw-shop", "db")
    fields = ("spec.volumeClaimTemplates",)
    deletion = DeleteObject(
        key=name, uid="u", because="immutable", fields=fields, propagation="Orphan"
    )
    [told] = replacements([deletion])
    assert told.startswith("StatefulSet stw-shop/db is made anew: spec.volumeClaimTemplates")
    assert "its pods and claims stay" in told
