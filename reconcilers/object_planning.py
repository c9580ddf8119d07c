"""The plan for an owner's objects: from those wanted and those seen to what has to be done. Pure.

Applies come first, in the order in which the objects were rendered, then what is no longer wanted
goes. Done in that order and interrupted anywhere, the next plan holds the rest. Nothing is pruned
on doubt: not when rendering failed or came out empty, not while something wanted is not there yet,
not what another installation owns, and never a PersistentVolumeClaim.

Who has the last word on a field: we do on what we render, and take it back; an autoscaler on
`replicas`, which is then not rendered; others on what they add, which is told and left alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from reconcilers import object_comparing as comparing
from reconcilers import object_counts as counts
from reconcilers.object_actions import Action, ApplyObject, DeleteObject
from reconcilers.object_comparing import Addition
from reconcilers.object_counts import WORKLOADS, is_rolled_out
from reconcilers.object_labels import ADOPTED, DIGEST, INSTALLATION, PART_OF, TARGET
from reconcilers.object_ports import Json, Manifest, ObjectKey
from reconcilers.object_takeover import Takeover, marked

KEPT: Final = frozenset({"PersistentVolumeClaim", "Namespace"})  # never pruned
_MADE: Final = frozenset({"ReplicaSet", "Pod"})  # by workloads, which own them
_CONFIG: Final = frozenset({"ConfigMap", "Secret"})
# what leads requests there and what may make pods goes first, then what runs them, then what they
# need; a namespace last
_ENDING: Final[Mapping[str, int]] = {
    "HTTPRoute": 0,
    "Ingress": 0,
    "IngressRoute": 0,
    "HorizontalPodAutoscaler": 0,
    "Deployment": 1,
    "StatefulSet": 2,
    "PersistentVolumeClaim": 4,
    "Namespace": 5,
}
_REFERENCES: Final = ("configMapRef", "secretRef", "imagePullSecrets")


class Whose(msgspec.Struct, frozen=True):
    """Which objects are ours to touch, and within which set strays are looked for."""

    installation: str
    target: str
    set_id: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, in order, and what was seen besides.

    `waiting` are wanted objects that are on their way out first; `taken` are names that belong to
    somebody else; `adopting` are those of them that become ours when their turn comes; `held` says
    why strays are left for now. `additions` are by object, and so is what the cluster itself makes
    of objects that are written: `imposed` are the fields that it changes.
    """

    actions: tuple[Action, ...] = ()
    waiting: tuple[ObjectKey, ...] = ()
    taken: tuple[ObjectKey, ...] = ()
    adopting: tuple[ObjectKey, ...] = ()
    additions: Mapping[ObjectKey, tuple[Addition, ...]] = {}
    imposed: Mapping[ObjectKey, tuple[str, ...]] = {}
    held: str = ""


def plan(
    wanted: Sequence[Manifest] | None,
    live: Sequence[Json],
    whose: Whose,
    theirs: Sequence[Json] = (),
    made: Mapping[ObjectKey, Json] = MappingProxyType({}),
) -> Plan:
    """What makes the owner's objects as wanted. `wanted` None: they could not be rendered.

    `live` is all that `ObjectEngine.list` gives for the owner, with what the cluster made of it;
    `theirs` are objects of others that an intent names to be taken over. `made` is what some of the
    wanted became when they were last written, by the cluster's own doing.
    """
    if not wanted:
        what = "could not be rendered" if wanted is None else "came out empty"
        return Plan(held=f"the objects {what}, so nothing is touched")
    seen = {ObjectKey.of(one): one for one in live}
    takeover = Takeover(wanted, seen, theirs)
    actions: list[Action] = []
    waiting: list[ObjectKey] = []
    taken: list[ObjectKey] = []
    told: dict[ObjectKey, tuple[Addition, ...]] = {}
    imposed: dict[ObjectKey, tuple[str, ...]] = {}
    for manifest in wanted:
        there = seen.get(manifest.key)
        if there is None and manifest.key in takeover.theirs:
            actions += takeover.towards(manifest)
            continue
        if there is not None and not is_ours(there, whose):
            taken.append(manifest.key)
            continue
        if there is not None and _is_ending(there):
            waiting.append(manifest.key)
            continue
        if there is not None and (found := comparing.additions(manifest.body, there)):
            told[manifest.key] = found
        actions += counts.handover(manifest, there, wanted, seen)
        steps = list(_towards(marked(manifest, there), there, made.get(manifest.key)))
        if there is not None and manifest.key in made and not steps:
            imposed[manifest.key] = comparing.differing(manifest.body, there)
        actions += steps
    replaced = any(isinstance(action, DeleteObject) for action in actions)
    strays = list(_strays(wanted, live, whose))
    waiting += takeover.ending
    is_incomplete = bool(waiting or taken or replaced)
    held = _why_held(strays, wanted, seen, is_incomplete=is_incomplete)
    actions += [_end(stray, "unwanted") for stray in strays if not _stays(stray, held, live)]
    actions += takeover.away(is_incomplete=is_incomplete)
    return Plan(
        actions=tuple(actions),
        waiting=tuple(waiting),
        taken=tuple(taken),
        adopting=tuple(takeover.later),
        additions=told,
        imposed=imposed,
        held=held,
    )


def removal(live: Sequence[Json], whose: Whose, *, volumes: bool) -> Plan:
    """What ends all that is ours of a deleted owner: what runs first, its data only if asked for.

    A namespace takes all with it that is inside, so it stays while claims are there that shall.
    """
    ours = [one for one in live if is_ours(one, whose) and not _is_made_by_cluster(one)]
    claims = [one for one in ours if one["kind"] == "PersistentVolumeClaim"]
    held = ""
    ending = []
    for one in sorted(ours, key=_ending_order):
        if one["kind"] == "PersistentVolumeClaim" and not volumes:
            continue
        if one["kind"] == "Namespace" and ADOPTED in _labels(one):
            held = f"{ObjectKey.of(one)} was there before, and stays with all that is not ours"
            continue
        if one["kind"] == "Namespace" and claims and not volumes:
            held = f"{ObjectKey.of(one)} stays for the sake of {len(claims)} volumes in it"
            continue
        if not _is_ending(one):
            ending.append(_end(one, "removed"))
    return Plan(actions=tuple(ending), held=held)


def is_ours(live: Json, whose: Whose) -> bool:
    """Whether an object is this installation's, through this target."""
    labels = _labels(live)
    return (labels.get(INSTALLATION), labels.get(TARGET)) == (whose.installation, whose.target)


# -- towards what is wanted ------------------------------------------------------------------------


def _towards(manifest: Manifest, there: Json | None, made: Json | None) -> Iterator[Action]:
    if there is None:
        yield ApplyObject(manifest=manifest, uid=None, because="missing")
        return
    uid = there["metadata"]["uid"]
    fields = comparing.differing(manifest.body, there)
    fixed = comparing.immutable(there, fields)
    if fixed:
        yield DeleteObject(
            key=manifest.key,
            uid=uid,
            because="immutable",
            propagation="Orphan" if manifest.key.kind in WORKLOADS else "Background",
            fields=fixed,
        )
    elif _labels(there).get(DIGEST) != manifest.digest:
        yield ApplyObject(manifest=manifest, uid=uid, because="changed")
    elif fields and (made is None or comparing.differing(made, there)):
        by = comparing.editors(there, fields)
        yield ApplyObject(manifest=manifest, uid=uid, because="edited", fields=fields, by=by)


# -- away with what is not -------------------------------------------------------------------------


def _strays(wanted: Sequence[Manifest], live: Sequence[Json], whose: Whose) -> Iterator[Json]:
    keys = {manifest.key for manifest in wanted}
    runs = [one for one in live if one["kind"] in WORKLOADS and ObjectKey.of(one) in keys]
    is_settled = bool(runs) and all(map(is_rolled_out, runs))
    for one in live:
        if (
            ObjectKey.of(one) in keys
            or not is_ours(one, whose)
            or _is_made_by_cluster(one)
            or _is_ending(one)
        ):
            continue
        is_member = _labels(one).get(PART_OF) == whose.set_id and one["kind"] not in KEPT
        # made by a workload that went without them, and taken up by none
        is_forsaken = one["kind"] in _MADE and is_settled
        if is_member or is_forsaken:
            yield one


def _why_held(
    strays: Sequence[Json],
    wanted: Sequence[Manifest],
    seen: Mapping[ObjectKey, Json],
    *,
    is_incomplete: bool,
) -> str:
    if not strays:
        return ""
    if is_incomplete:
        return "what is no longer wanted stays until all that is wanted can be there"
    runs = [seen.get(m.key) for m in wanted if m.key.kind in WORKLOADS]
    if any(one["kind"] in WORKLOADS for one in strays) and not all(map(is_rolled_out, runs)):
        return "what ran before goes when its successor is ready"
    return ""


def _stays(stray: Json, held: str, live: Sequence[Json]) -> bool:
    """Whether a stray is left for now: on hold, or configuration that some pod may still need."""
    if held:
        return True
    if stray["kind"] not in _CONFIG:
        return False
    name = stray["metadata"]["name"]
    return name in {one for user in live for one in _named_by(user)}


def _named_by(user: object) -> Iterator[str]:
    """The names of configuration that stand anywhere in an object: in a template, in a pod."""
    if isinstance(user, Mapping):
        for field, value in user.items():
            for one in value if isinstance(value, list) else (value,):
                if field in _REFERENCES and isinstance(one, Mapping) and "name" in one:
                    yield one["name"]
                yield from _named_by(one)


def _end(live: Json, because: Literal["unwanted", "removed"]) -> DeleteObject:
    return DeleteObject(key=ObjectKey.of(live), uid=live["metadata"]["uid"], because=because)


def _ending_order(live: Json) -> tuple[int, ObjectKey]:
    return _ENDING.get(live["kind"], 3), ObjectKey.of(live)


def _labels(live: Json) -> Mapping[str, str]:
    found: Mapping[str, str] = live["metadata"].get("labels") or {}
    return found


def _is_ending(live: Json) -> bool:
    return "deletionTimestamp" in live["metadata"]


def _is_made_by_cluster(live: Json) -> bool:
    """A controller copies labels of ours to what it makes, such as EndpointSlices."""
    owners = live["metadata"].get("ownerReferences") or ()
    return any(owner.get("controller") for owner in owners)
