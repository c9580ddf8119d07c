"""Seeded bugs of what keeps objects in clusters: patches, for the table of `mutants`.

Each is what a tired person might leave out: a precondition, a label, a look before writing.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from adapters.k8s.render import variables, workloads
from domain.secret import SecretText
from reconcilers import object_planning
from reconcilers.object_actions import ApplyObject
from reconcilers.object_pass import ObjectReconciler
from reconcilers.object_planning import Whose
from reconcilers.object_ports import Json, Manifest, ObjectKey, ObjectRefused
from reconcilers.outcome import Outcome
from simulation import seeds
from simulation.cluster.copying import Copy
from simulation.cluster.engine import SimulatedObjects

type Patched = Any


def pruned_by_name() -> Patched:
    """What has the name is deleted, whether or not it is what was seen."""
    original = SimulatedObjects.delete

    async def delete(self: Any, key: ObjectKey, *, uid: str, **how: Any) -> None:
        there = self._cluster.store.get(key)
        await original(self, key, uid=there["metadata"]["uid"] if there else uid, **how)

    return patch.object(SimulatedObjects, "delete", delete)


def stale_objects() -> Patched:
    """Passes act on what was seen two minutes ago."""
    original = SimulatedObjects.list
    kept: dict[tuple[int, object], tuple[float, Sequence[Json]]] = {}

    async def listed(self: Any, owner: tuple[str, str] | None = None) -> Sequence[Json]:
        now = self._cluster.clock()
        known = kept.get((id(self), owner))
        if known is not None and known[0] <= now < known[0] + 120.0:
            return known[1]
        found = await original(self, owner)
        kept[id(self), owner] = (now, found)
        return found

    return patch.object(SimulatedObjects, "list", listed)


@contextmanager
def installation_ignored() -> Iterator[None]:
    """Whoever's objects they are: an app of this name is ours."""
    original = Copy._is_ours

    def is_ours(self: Copy, body: Json) -> bool:
        labels = body["metadata"].get("labels", {})
        is_theirs: bool = labels.get("stateward/installation") == seeds.NEIGHBOUR
        return is_theirs or original(self, body)

    with ExitStack() as stack:
        stack.enter_context(patch.object(Copy, "_is_ours", is_ours))
        stack.enter_context(patch.object(object_planning, "is_ours", lambda _live, _whose: True))
        yield


def name_taken_over() -> Patched:
    """What is not ours is applied over, for its name is as ours should be."""
    return patch.object(SimulatedObjects, "_look_before", lambda _self, _key: None)


def refusal_retried_hot() -> Patched:
    """What a cluster refuses for good is tried again at once."""
    original = ObjectReconciler.reconcile

    async def reconcile(self: Any, app: Any, *rest: Any) -> Outcome:
        try:
            return await original(self, app, *rest)
        except ObjectRefused as error:
            self._.again(app.ref.stream)
            return Outcome("requeue", str(error))

    return patch.object(ObjectReconciler, "reconcile", reconcile)


def all_pods_at_once() -> Patched:
    """A rollout may take down as many pods as it likes."""
    original = workloads._deployment

    def deployment(order: Any) -> dict[str, Any]:
        made = original(order)
        if made["strategy"]["type"] == "RollingUpdate":
            made["strategy"]["rollingUpdate"] = {"maxSurge": 0, "maxUnavailable": order.replicas}
        return made

    return patch.object(workloads, "_deployment", deployment)


def always_applied() -> Patched:
    """Every object is sent at every look, changed or not."""

    def towards(manifest: Manifest, there: Json | None) -> Iterator[ApplyObject]:
        uid = there["metadata"]["uid"] if there is not None else None
        yield ApplyObject(manifest=manifest, uid=uid, because="changed")

    return patch.object(object_planning, "_towards", towards)


def secret_in_a_config_map() -> Patched:
    """Values of secrets are variables like any other."""
    original = variables._plain

    def plain(order: Any) -> dict[str, str]:
        env: Mapping[str, str | SecretText] = order.env
        shown = {n: v.reveal() for n, v in env.items() if isinstance(v, SecretText)}
        return {**original(order), **shown}

    return patch.object(variables, "_plain", plain)


def strays_left() -> Patched:
    """What is no longer wanted stays."""

    def strays(_wanted: object, _live: object, _whose: Whose) -> Iterator[Json]:
        return iter(())

    return patch.object(object_planning, "_strays", strays)
