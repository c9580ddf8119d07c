"""Invariants of the objects in clusters: what belongs to others stays, ours are what is needed.

Objects of others are compared as they are meant, not as they fare. What somebody puts into a
namespace of ours goes with it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, final

from bus import codec
from bus.log import StoredEvent
from domain import events as e
from domain.names import Ref
from projections.desired import DesiredApp
from reconcilers.object_labels import ADOPTED, APP, INSTALLATION, PART_OF, PROJECT, TARGET, UID
from reconcilers.object_ports import Json, ObjectKey
from simulation.cluster.cluster import Cluster
from simulation.invariants.truth import Truth
from simulation.invariants.violations import Invariant, Report

type Broken = tuple[Invariant, str]

MISSED_AFTER: Final = 30.0  # seconds: what came later may not be seen before its home goes
_CLAIM: Final = "PersistentVolumeClaim"
_MADE: Final = frozenset({"Pod", "ReplicaSet"})
_CONFIG: Final = frozenset({"ConfigMap", "Secret"})
_MISSED: Final = frozenset({_CLAIM, "Pod", "Deployment", "StatefulSet"})
_NEEDED: Final = ("Service", "ServiceAccount", "NetworkPolicy")  # of an app with a port


@final
class ClusterInvariants:
    def __init__(self, truth: Truth, report: Report) -> None:
        self._truth, self._report = truth, report
        self._theirs: dict[str, dict[ObjectKey, Json]] = {}
        self._homes: dict[str, dict[str, str]] = {}  # our namespaces, by target: name and uid
        self._came: dict[tuple[str, ObjectKey], float] = {}  # when, by target and name
        self._going: set[str] = set()  # uids of what their owner has ended
        self._named: set[tuple[ObjectKey, str]] = set()  # what intents named to be taken over
        self._with_data: set[str] = set()  # uids of what was asked for with `volumes`

    def foreign(self) -> None:
        """What belongs to others is as it was."""
        for name, cluster in self._truth.clusters.items():
            present = cluster.foreign(self._truth.installation)
            for key, before in self._theirs.get(name, {}).items():
                is_new = cluster.clock() < self._came[name, key] + MISSED_AFTER
                may_go = is_new or key.kind not in _MISSED
                went_along = key not in present and may_go and self._is_homeless(cluster, key)
                goes = before["metadata"]["uid"] in self._going
                if present.get(key) != before and not went_along and not goes:
                    self._changed(name, key, before, present.get(key))
            self._theirs[name] = present
            for key in present:
                self._came.setdefault((name, key), cluster.clock())
            self._homes[name] = {
                key.name: body["metadata"]["uid"]
                for key, body in self._ours(name, cluster)
                if key.kind == "Namespace"
            }

    def _changed(self, target: str, key: ObjectKey, before: Json, after: Json | None) -> None:
        """What belonged to others is not as it was: an intent must have named that very object."""
        uid = before["metadata"]["uid"]
        if (key, uid) not in self._named:
            is_there = "changed" if after is not None else "gone"
            self._report(Invariant.OWNED, f"{key} of another owner on {target} is {is_there}")
        elif key.kind == _CLAIM and uid not in self._with_data:
            words = f"{key} on {target} was taken over, and nobody asked for data"
            self._report(Invariant.VOLUMES, words)
        elif key.kind == _CLAIM and self._truth.clusters[target].store.get(key) is None:
            self._report(Invariant.VOLUMES, f"{key} on {target} was to be taken over, and is gone")

    def committed(self, events: Sequence[StoredEvent]) -> None:
        """The log has these now; what it says once counts, also if it is lost."""
        for row in events:
            if row.type == e.AppAdopted.type:
                event = codec.decode(row.type, row.data)
                assert isinstance(event, e.AppAdopted), "its type says so"
                for one in event.objects:
                    key = ObjectKey(one.api_version, one.kind, one.namespace, one.name)
                    self._named.add((key, one.uid))

    def volumes_named(self, named: Iterable[e.ForeignObject]) -> None:
        """Somebody is about to ask for these, and says that their data is meant as well."""
        self._with_data |= {one.uid for one in named}

    def came(self, name: str, key: ObjectKey) -> float:
        """When (of its cluster's clock) an object of others was first seen."""
        return self._came.get((name, key), 0.0)

    def others_end(self, name: str, key: ObjectKey) -> None:
        """Whose it is ends an object, and all that is in it."""
        inside = key.name if key.kind == "Namespace" else ""
        for one, body in self._theirs.get(name, {}).items():
            if one == key or (inside and one.namespace == inside):
                self._going.add(body["metadata"]["uid"])

    def _is_homeless(self, cluster: Cluster, key: ObjectKey) -> bool:
        """Whether the namespace of ours goes, or is gone, that an object was put into."""
        before = self._homes[cluster.name].get(key.namespace)
        there = cluster.store.get(ObjectKey("v1", "Namespace", "", key.namespace))
        if before is None or there is None:
            return before is not None
        return there["metadata"]["uid"] != before or "deletionTimestamp" in there["metadata"]

    def others_changed(self, name: str, key: ObjectKey) -> None:
        """The world itself did something to an object that is not ours."""
        cluster = self._truth.clusters[name]
        present = cluster.foreign(self._truth.installation)
        self._came[name, key] = cluster.clock()
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
            yield from self._left(cluster, ours, apps)
            yield from self._open(name, apps)
            for app in apps.values():
                if app.target == name and app.ref.stream not in self._truth.frozen:
                    yield from self._missing(name, app, ours)

    def _ours(self, name: str, cluster: Cluster) -> Iterator[tuple[ObjectKey, Json]]:
        mark = {INSTALLATION: self._truth.installation, TARGET: name}
        for key, body in cluster.store.all():
            if mark.items() <= body["metadata"].get("labels", {}).items():
                yield key, body

    def _left(
        self, cluster: Cluster, ours: Mapping[ObjectKey, Json], apps: Mapping[str, DesiredApp]
    ) -> Iterator[Broken]:
        truth, name = self._truth, cluster.name
        frozen = set(truth.frozen)
        used = {one for body in ours.values() for one in _named(body)}
        kept = {key.namespace for key in ours if key.kind == _CLAIM}
        homes = {k.namespace for k, b in ours.items() if _stream(b) in frozen}
        homes |= {k.namespace for k, b in ours.items() if self._may_stay(b, name, apps)}
        for key, body in ours.items():
            stream = _stream(body)
            if key.kind in _MADE or stream in frozen:
                continue
            if key.kind == "Namespace" and self._has_to_stay(cluster, key, body):
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

    def _has_to_stay(self, cluster: Cluster, key: ObjectKey, body: Json) -> bool:
        """Whether a namespace was there before, or holds what others would miss."""
        missed = any(
            one.namespace == key.name and one.kind in _MISSED
            for one in cluster.foreign(self._truth.installation)
        )
        return ADOPTED in body["metadata"]["labels"] or missed

    def _open(self, target: str, apps: Mapping[str, DesiredApp]) -> Iterator[Broken]:
        """Adoptions that have no end in the log."""
        truth = self._truth
        for stream, app in apps.items():
            is_here = app.target == target and stream not in truth.frozen
            if is_here and truth.runs_as_held(app) and truth.desired.adoptions(stream):
                yield Invariant.ENDED, f"what {app.ref} was to take over on {target} has no end"

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
