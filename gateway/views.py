"""Resources as they are answered: the manifest, with what is known about it as `status`.

Pure: desired state and status go in, JSON values come out. A Secret shows its keys, never values.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from bus.manifests import API_VERSION
from domain.events import Pause
from domain.names import Ref
from gateway.times import shown
from projections.desired import DesiredApp, DesiredState, Removal, Resource
from reconcilers.status import AppStatus, Condition, ReplicaStatus, StatusStore, TargetStatus

PLURALS: Final[Mapping[str, str]] = {
    "App": "apps",
    "Project": "projects",
    "Secret": "secrets",
    "Target": "targets",
}

type View = dict[str, Any]


class Sight(NamedTuple):
    """What a view is made of: desired state, statuses (none for the past), and the time."""

    desired: DesiredState
    status: StatusStore | None
    now: float


class Entry(NamedTuple):
    """A resource of a list, before it is shown."""

    ref: Ref
    labels: Mapping[str, str]
    found: Resource | Removal | None
    """None: it is frozen and nothing of it can be read."""


def entries(desired: DesiredState, kind: str) -> list[Entry]:
    """All resources of a kind, those that are being deleted or are frozen too, by name."""
    found = {entry.ref: entry for entry in _entries(desired, kind)}
    return [found[ref] for ref in sorted(found)]


def _entries(desired: DesiredState, kind: str) -> Iterator[Entry]:
    if kind == "App":
        for removal in desired.removals():
            yield Entry(removal.ref, {}, removal)
    for stream in (*desired.frozen, *desired.streams(kind)):
        if stream.startswith(f"{kind}/"):
            resource = desired.resource(stream)
            yield Entry(Ref.parse(stream), resource.labels if resource else {}, resource)


def entry_of(desired: DesiredState, ref: Ref) -> Entry | None:
    """One resource; None if there is none."""
    resource = desired.resource(ref.stream)
    if resource is not None:
        return Entry(ref, resource.labels, resource)
    if ref.stream in desired.frozen:
        return Entry(ref, {}, None)
    going = (
        next((r for r in desired.removals() if r.ref == ref), None) if ref.kind == "App" else None
    )
    return Entry(ref, {}, going) if going else None


def view(sight: Sight, entry: Entry, counts: Mapping[str, int] | None = None) -> View:
    """A resource as it is answered; `counts` (by `App/shop`, `Secret/shop`) is for Projects."""
    ref, found = entry.ref, entry.found
    if isinstance(found, Removal):
        return _removal(sight, found)
    generation = found.generation if found else 0
    metadata: View = {"name": ref.name}
    if ref.project:
        metadata["project"] = ref.project
    metadata |= {
        "labels": dict(entry.labels),
        "uid": found.uid if found else 0,
        "generation": generation,
        "deleting": False,
    }
    app = sight.desired.app(ref.stream) if ref.kind == "App" else None
    if app is not None:
        metadata["revision"] = app.revision
    return {
        "apiVersion": API_VERSION,
        "kind": ref.kind,
        "metadata": metadata,
        "spec": msgspec.Raw(found.spec) if found else {},
        "status": _status(sight, ref, app, counts or {}) if sight.status else None,
    }


def _status(sight: Sight, ref: Ref, app: DesiredApp | None, counts: Mapping[str, int]) -> Any:
    assert sight.status is not None
    frozen = sight.desired.frozen.get(ref.stream)
    if ref.kind == "App":
        return app_status(sight.status.get(ref.stream), app, frozen, sight.now)
    if frozen is not None:
        return {"frozen": frozen}
    if ref.kind == "Target":
        return _target_status(sight.status.get_target(ref.name), sight.now)
    if ref.kind == "Project":
        return {
            "apps": counts.get(f"App/{ref.name}", 0),
            "secrets": counts.get(f"Secret/{ref.name}", 0),
        }
    return None


def app_status(
    status: AppStatus | None, app: DesiredApp | None, frozen: str | None, now: float
) -> View:
    """An app's status; one of an earlier app of the same name is none."""
    if status is not None and app is not None and status.uid != app.uid:
        status = None
    conditions = [_condition(c) for c in status.conditions] if status else []
    if frozen is not None:
        message = f"its history cannot be read ({frozen}); what runs goes on running"
        others = [c for c in conditions if c["type"] != "Ready"]
        conditions = [_claim("Ready", "Unknown", "Frozen", message), *others]
    elif status is None:
        conditions = [_claim("Ready", "Unknown", "NotObserved", "nobody has looked at it yet")]
    return {
        "uid": status.uid if status else (app.uid if app else 0),
        "observedGeneration": status.observed_generation if status else 0,
        "observedAt": shown(status.observed_at) if status else None,
        "ageSeconds": _age(status.observed_at, now) if status else None,
        "revision": status.revision if status else 0,
        "serving": status.serving if status else 0,
        "stable": app.stable if app else 0,
        "wanted": status.wanted if status else (app.wanted if app else 0),
        "ready": status.ready if status else 0,
        "updated": status.updated if status else 0,
        "image": app.image if app else None,
        "paused": _pause(app.paused) if app and app.paused else None,
        "conditions": conditions,
        "replicas": [_replica(replica) for replica in status.replicas] if status else [],
    }


def _pause(pause: Pause) -> View:
    return {"revision": pause.revision, "reason": pause.reason, "until": pause.until}


def _removal(sight: Sight, removal: Removal) -> View:
    message = "it is deleted; what is left of it on its target is being removed"
    status = sight.status.get(removal.ref.stream) if sight.status else None
    told = status.condition("Deleting") if status and status.uid == removal.uid else None
    why = f": {told.message}" if told is not None else ""
    going = _claim("Deleting", "True", "RemovalPending", message + why)
    shown_status = app_status(status, None, None, sight.now)
    return {
        "apiVersion": API_VERSION,
        "kind": "App",
        "metadata": {
            "name": removal.ref.name,
            "project": removal.ref.project,
            "labels": {},
            "uid": removal.uid,
            "generation": removal.position,
            "deleting": True,
            "revision": shown_status["revision"],
        },
        "spec": {"target": removal.target},
        "status": {**shown_status, "conditions": [going]} if sight.status else None,
    }


def _claim(kind: str, status: str, reason: str, message: str) -> View:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": None,
    }


def _condition(condition: Condition) -> View:
    claim = _claim(condition.type, condition.status, condition.reason, condition.message)
    claim["lastTransitionTime"] = shown(condition.last_transition_time or None)
    return claim


def _replica(replica: ReplicaStatus) -> View:
    return {
        "name": replica.name,
        "revision": replica.revision,
        "slot": replica.slot,
        "attempt": replica.attempt,
        "state": replica.state,
        "ready": replica.ready,
        "message": replica.message,
        "startedAt": shown(replica.started_at),
        "exitCode": replica.exit_code,
        "addresses": dict(replica.addresses),
    }


def _target_status(status: TargetStatus | None, now: float) -> View:
    seen = status.observed_at if status else 0.0  # 0: it never answered
    return {
        "answers": status.answers if status else None,
        "message": status.message if status else "nobody has asked it yet",
        "observedAt": shown(seen) if seen else None,
        "ageSeconds": _age(seen, now) if seen else None,
        "replicas": status.replicas if status else 0,
        "worker": status.worker if status else "",
    }


def _age(observed_at: float, now: float) -> float:
    return round(max(0.0, now - observed_at), 3)


def counts_of(desired: DesiredState) -> dict[str, int]:
    """How many Apps and Secrets each project has, by `App/shop` and `Secret/shop`."""
    counts: dict[str, int] = {}
    for kind in ("App", "Secret"):
        for stream in desired.streams(kind):
            owner = stream.rpartition("/")[0]
            counts[owner] = counts.get(owner, 0) + 1
    return counts
