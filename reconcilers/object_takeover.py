"""Objects of others that become ours, because an intent names them: in which order, and how. Pure.

What can be as it is wanted is applied to, and keeps all that nobody asked for. What never changes,
as the selector of a Deployment, is made anew: its pods serve on, and go when ours are ready. Until
then nothing is taken that leads requests there.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import final

import msgspec

from reconcilers import object_comparing as comparing
from reconcilers.object_actions import Action, ApplyObject, DeleteObject
from reconcilers.object_counts import WORKLOADS, is_rolled_out
from reconcilers.object_labels import ADOPTED
from reconcilers.object_ports import Json, Manifest, ObjectKey, Stage

REPLICA_SET = "ReplicaSet"


@final
class Takeover:
    """Of one owner, in one plan. `theirs` are by name; `later` and `ending` fill while it goes.

    `later` has to wait for what runs; `ending` are on their way out, and come as ours then.
    """

    def __init__(
        self,
        wanted: Sequence[Manifest],
        seen: Mapping[ObjectKey, Json],
        theirs: Sequence[Json],
    ) -> None:
        self.theirs = {ObjectKey.of(one): one for one in theirs}
        self.later: list[ObjectKey] = []
        self.ending: list[ObjectKey] = []
        runs = [one.key for one in wanted if one.key.kind in WORKLOADS]
        self._runs = runs
        self._is_rolled_out = all(is_rolled_out(seen.get(key)) for key in runs)

    def towards(self, manifest: Manifest) -> Iterator[Action]:
        """What makes the object of this name ours."""
        there = self.theirs[manifest.key]
        if "deletionTimestamp" in there["metadata"]:
            self.ending.append(manifest.key)
            return
        if manifest.stage >= Stage.SERVICE and not self._is_rolled_out:
            self.later.append(manifest.key)
            return
        uid = there["metadata"]["uid"]
        fields = fixed(manifest.body, there)
        if fields:
            yield DeleteObject(
                key=manifest.key,
                uid=uid,
                because="immutable",
                # pods of a StatefulSet have the names that its successor's get
                propagation="Orphan" if manifest.key.kind == "Deployment" else "Background",
                fields=fields,
                foreign=True,
            )
            return
        by = comparing.managers(there)
        yield ApplyObject(manifest=_noted(manifest), uid=uid, because="adopted", by=by)

    def away(self, *, is_incomplete: bool) -> Iterator[DeleteObject]:
        """What ran before and nothing owns any more, once all that is wanted is there."""
        for key, one in self.theirs.items():
            if key.kind != REPLICA_SET or not self._is_left_over(key, one):
                continue
            if is_incomplete or self.later or not self._is_rolled_out:
                self.later.append(key)
            elif "deletionTimestamp" not in one["metadata"]:
                uid = one["metadata"]["uid"]
                yield DeleteObject(key=key, uid=uid, because="adopted", foreign=True)

    def _is_left_over(self, key: ObjectKey, one: Json) -> bool:
        """Whether it was made by what the app's workload took the name of, which is gone."""
        owners = one["metadata"].get("ownerReferences") or ()
        named = any(
            key.namespace == run.namespace and key.name.startswith(f"{run.name}-")
            for run in self._runs
        )
        return named and not any(owner.get("controller") for owner in owners)


def fixed(wanted: Json, there: Json) -> tuple[str, ...]:
    """The paths by which an object has to be made anew to be as it is wanted."""
    if wanted["kind"] == "Service" and _has_nameless_port(wanted, there):
        return ("spec.ports",)
    return comparing.immutable(there, comparing.differing(wanted, there))


def _has_nameless_port(wanted: Json, there: Json) -> bool:
    """Whether it has a port besides ours without a name: those stay, and of several all have one.

    Source: https://kubernetes.io/docs/concepts/services-networking/service/#multi-port-services
    """
    ours = {_port(one) for one in wanted["spec"].get("ports", ())}
    theirs = there.get("spec", {}).get("ports") or ()
    return bool(ours) and any(_port(one) not in ours and not one.get("name") for one in theirs)


def _port(one: Json) -> tuple[int, str]:
    return one["port"], one.get("protocol", "TCP")


def marked(manifest: Manifest, there: Json | None) -> Manifest:
    """The object as it is wanted, with the note that it was taken over, if it has one."""
    if there is not None and ADOPTED in (there["metadata"].get("labels") or {}):
        return _noted(manifest)
    return manifest


def _noted(manifest: Manifest) -> Manifest:
    metadata = manifest.body["metadata"]
    labels = dict(sorted({**metadata["labels"], ADOPTED: "true"}.items()))
    body = {**manifest.body, "metadata": {**metadata, "labels": labels}}
    return msgspec.structs.replace(manifest, body=body)
