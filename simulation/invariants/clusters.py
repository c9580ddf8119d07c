"""Invariants of the objects in clusters: what belongs to others stays, ours are what is needed.

Objects of others are compared as they are meant, not as they fare. What somebody puts into a
namespace of ours goes with it.
"""

from collections.abc import Iterator, Mapping
from typing import Final, final

from domain.names import Ref
from projections.desired import DesiredApp
from reconcilers.object_labels import APP, INSTALLATION, PART_OF, PROJECT, TARGET, UID
from reconcilers.object_ports import Json, ObjectKey
from simulation.cluster.cluster import Cluster
from simulation.invariants.truth import Truth
from simulation.invariants.violations import Invariant, Report

type Broken = tuple[Invariant, str]

_CLAIM: Final = "PersistentVolumeClaim"
_MADE: Final = frozenset({"Pod", "ReplicaSet"})
_CONFIG: Final = frozenset({"ConfigMap", "Secret"})
_NEEDED: Final = ("Service", "ServiceAccount", "NetworkPolicy")  # of an app with a port


@final
class ClusterInvariants:
    def __init__(self, truth: Truth, report: Report) -> None:
        self._truth, self._report = truth, report
        self._theirs: dict[str, dict[ObjectKey, Json]] = {}
        self._homes: dict[str, dict[str, str]] = {}  # our namespaces, by target: name and uid

    def foreign(self) -> None:
        """What belongs to others is as it was."""
        for name, cluster in self._truth.clusters.items():
            present = cluster.foreign(self._truth.installation)
            for key, before in self._theirs.get(name, {}).items():
                went_along = key not in present and self._is_homeless(cluster, key)
                if present.get(key) != before and not went_along:
                    is_there = "changed" if key in present else "gone"
                    self._report(Invariant.OWNED, f"{key} of another owner on {name} is {is_there}")
            self._theirs[name] = present
            self._homes[name] = {
                key.name: body["metadata"]["uid"]
                for key, body in self._ours(name, cluster)
                if key.kind == "Namespace"
            }

    def _is_homeless(self, cluster: Cluster, key: ObjectKey) -> bool:
        """Whether the namespace of ours goes, or is gone, that an object was put into."""
        before = self._homes[cluster.name].get(key.namespace)
        there = cluster.store.get(ObjectKey("v1", "Namespace", "", key.namespace))
        if before is None or there is None:
            return before is not None
        return there["metadata"]["uid"] != before or "deletionTimestamp" in there["metadata"]

    def others_changed(self, name: str, key: ObjectKey) -> None:
        """The world itself did something to an object that is not ours."""
        present = self._truth.clusters[name].foreign(self._truth.installation)
        if key in present:
            self._theirs.setdefault(name, {})[key] = present[key]
        else:
            self._theirs.get(name, {}).pop(key, None)

    # -- at rest ------------------------------------------------------------------------------

    def broken(self) -> Iterator[Broken]:
        """What is not (yet) as it should be once all is at rest."""
        apps = {app.ref.stream: app for app in self._truth.apps()}
        for name, cluster in self._truth.clusters.items():
            ours = dict(self._ours(name, cluster))
            yield from self._left(name, ours, apps)
            for app in apps.values():
                if app.target == name and app.ref.stream not in self._truth.frozen:
                    yield from self._missing(name, app, ours)

    def _ours(self, name: str, cluster: Cluster) -> Iterator[tuple[ObjectKey, Json]]:
        mark = {INSTALLATION: self._truth.installation, TARGET: name}
        for key, body in cluster.store.all():
            if mark.items() <= body["metadata"].get("labels", {}).items():
                yield key, body

    def _left(
        self, name: str, ours: Mapping[ObjectKey, Json], apps: Mapping[str, DesiredApp]
    ) -> Iterator[Broken]:
        truth = self._truth
        frozen = set(truth.frozen)
        used = {one for body in ours.values() for one in _named(body)}
        kept = {key.namespace for key in ours if key.kind == _CLAIM}
        homes = {k.namespace for k, b in ours.items() if _stream(b) in frozen}
        homes |= {k.namespace for k, b in ours.items() if self._may_stay(b, name, apps)}
        for key, body in ours.items():
            stream = _stream(body)
            if key.kind in _MADE or stream in frozen:
                continue
            if not stream:
                is_left = (key.namespace or key.name) not in homes and key.name not in kept
            elif key.kind == _CLAIM:
                is_left = stream not in apps and truth.went_with_volumes(stream, name)
            elif not self._may_stay(body, name, apps):
                orphans = truth.desired.orphans(stream)
                is_left = int(body["metadata"]["labels"][UID]) not in orphans
            else:
                is_config = key.kind in _CONFIG and PART_OF in body["metadata"]["labels"]
                is_at_rest = apps[stream].target == name and truth.runs_as_held(apps[stream])
                is_left = is_config and is_at_rest and key.name not in used
            if is_left:
                yield Invariant.CLEAN, f"{key} on {name} is left, and nobody needs it any more"

    def _may_stay(self, body: Json, target: str, apps: Mapping[str, DesiredApp]) -> bool:
        """Whether the app lives here, or moved to where it cannot run: then it waits here."""
        app = apps.get(_stream(body))
        if (
            "deletionTimestamp" in body["metadata"]
            or app is None
            or str(app.uid) != body["metadata"]["labels"].get(UID)
        ):
            return False
        return app.target == target or not self._truth.runs_as_held(app)

    def _missing(
        self, name: str, app: DesiredApp, ours: Mapping[ObjectKey, Json]
    ) -> Iterator[Broken]:
        kinds = {
            key.kind: body
            for key, body in ours.items()
            if key.name == app.ref.name and _stream(body) == app.ref.stream
        }
        if not self._truth.runs_as_held(app):
            return
        for kind in _NEEDED:
            if kind not in kinds:
                yield Invariant.SETTLED, f"{app.ref} has no {kind} on {name}"
        workload = kinds.get("Deployment") or kinds.get("StatefulSet")
        if workload is None:
            yield Invariant.SETTLED, f"nothing runs {app.ref} on {name}"
        elif workload["spec"]["replicas"] != app.wanted:
            asked = workload["spec"]["replicas"]
            yield Invariant.SETTLED, f"{app.ref} should have {app.wanted} replicas, not {asked}"


def _stream(body: Json) -> str:
    """Of the app whose object it is; empty for what a project shares."""
    labels = body["metadata"]["labels"]
    return Ref("App", labels[PROJECT], labels[APP]).stream if APP in labels else ""


def _named(body: Json) -> Iterator[str]:
    """The configuration that a workload, a set or a pod takes its variables from."""
    spec = body.get("spec", {})
    for container in spec.get("template", {}).get("spec", spec).get("containers", ()):
        for source in container.get("envFrom", ()):
            yield from (named["name"] for named in source.values())
