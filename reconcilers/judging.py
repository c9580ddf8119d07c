"""Judging: from desired and observed to the conditions that people read. One pure function."""

from collections.abc import Mapping, Sequence

import msgspec

from projections.desired import DesiredApp
from reconcilers.ports import Replica, ReplicaState
from reconcilers.replica_facts import Seen, Want
from reconcilers.status import AppStatus, Condition, ReplicaStatus, Truth


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What a pass learned besides the replicas.

    `troubles` are (reason, sentence), the most telling first. `progressing` says that something is
    being done about the difference, `stalled` that a rollout missed its deadline. `messages` say of
    replicas, by id, what keeps them from being ready. `adopting` is the installation from which it
    takes over, or empty. `certificates` are the ends of those of its hosts.
    """

    troubles: Sequence[tuple[str, str]] = ()
    stalled: bool = False
    synced: bool = False
    messages: Mapping[str, str] = {}
    adopting: str = ""
    routed: Condition | None = None
    certified: Condition | None = None
    certificates: Mapping[str, float] = {}


def judge(
    desired: DesiredApp,
    want: Want,
    seen: Sequence[Seen],
    findings: Findings,
    *,
    now: float,
    before: AppStatus | None,
) -> AppStatus:
    """What the app is like. Conditions keep the time of their last change from `before`."""
    ready = [one for one in seen if one.ready]
    updated = [one for one in ready if one.revision == want.revision]
    conditions = (
        _ready(want, ready, updated, findings),
        _progressing(want, updated, findings),
        _degraded(want, ready, findings),
        _synced(findings),
        paused(desired),
        *(one for one in (findings.routed, findings.certified) if one is not None),
    )
    return AppStatus(
        uid=desired.uid,
        observed_generation=desired.generation,
        observed_at=now,
        revision=desired.revision,
        serving=max((one.revision for one in ready), default=0),
        wanted=want.replicas,
        ready=len(ready),
        updated=len(updated),
        conditions=tuple(dated(c, before, now) for c in conditions),
        replicas=tuple(_replica(one, findings) for one in seen),
        certificates=findings.certificates,
    )


def unknown(
    desired: DesiredApp, message: str, *, now: float, before: AppStatus | None
) -> AppStatus:
    """The status while the target does not answer: what was seen last, and that it is old."""
    last = before or AppStatus(
        uid=desired.uid,
        observed_generation=0,
        observed_at=0.0,
        revision=desired.revision,
        serving=0,
        wanted=desired.wanted,
        ready=0,
        updated=0,
        conditions=(),
    )
    conditions = [
        Condition(type=kind, status="Unknown", reason="TargetUnreachable", message=message)
        for kind in ("Ready", "Progressing", "Degraded", "Synced")
    ]
    return msgspec.structs.replace(
        last,
        conditions=tuple(dated(c, before, now) for c in (*conditions, paused(desired))),
    )


def claim(kind: str, status: Truth, reason: str, message: str) -> Condition:
    return Condition(type=kind, status=status, reason=reason, message=message)


def _ready(
    want: Want, ready: Sequence[Seen], updated: Sequence[Seen], findings: Findings
) -> Condition:
    if want.replicas == 0:
        return claim("Ready", "False", "Stopped", "no replica is wanted")
    if len(ready) >= want.replicas:
        if len(updated) >= want.replicas:
            count = f"{want.replicas} of {want.replicas} replicas are ready"
            return claim("Ready", "True", "AllReplicasReady", count)
        older = max(one.revision for one in ready if one not in updated)
        message = f"revision {older} serves while revision {want.revision} comes"
        return claim("Ready", "True", "Serving", message)
    count = f"{len(ready)} of {want.replicas} replicas are ready"
    if want.waits:
        return claim("Ready", "False", "RemovalPending", f"{count}: {want.waits}")
    if findings.troubles:
        reason, message = findings.troubles[0]
        return claim("Ready", "False", reason, f"{count}: {message}")
    return claim("Ready", "False", "Starting", count)


def _progressing(want: Want, updated: Sequence[Seen], findings: Findings) -> Condition:
    if findings.stalled:
        message = f"revision {want.revision} did not become healthy by its deadline"
        return claim("Progressing", "False", "DeadlineExceeded", message)
    if want.replicas == 0 or (want.revision == want.stable and len(updated) >= want.replicas):
        return claim("Progressing", "False", "Complete", f"revision {want.revision} is rolled out")
    if want.waits:
        return claim("Progressing", "True", "RemovalPending", want.waits)
    message = f"{len(updated)} of {want.replicas} replicas run revision {want.revision}"
    return claim("Progressing", "True", "RolloutInProgress", message)


def _degraded(want: Want, ready: Sequence[Seen], findings: Findings) -> Condition:
    if findings.troubles:
        return claim("Degraded", "True", *findings.troubles[0])
    if findings.stalled:
        message = f"revision {want.revision} did not become healthy by its deadline"
        return claim("Degraded", "True", "DeadlineExceeded", message)
    if want.revision == want.stable and len(ready) < want.replicas:
        message = f"{len(ready)} of {want.replicas} replicas are ready"
        return claim("Degraded", "True", "ReplicasMissing", message)
    return claim("Degraded", "False", "AsExpected", "nothing is wrong")


def _synced(findings: Findings) -> Condition:
    if findings.adopting:
        message = (
            f"what installation {findings.adopting} runs of it ends once this is ready; "
            "if it comes back, that control plane still runs: stop it"
        )
        return claim("Synced", "False", "Adopting", message)
    if findings.synced:
        return claim("Synced", "True", "Converged", "what runs is what is wanted")
    return claim("Synced", "False", "Converging", "what runs is not yet what is wanted")


def paused(desired: DesiredApp) -> Condition:
    pause = desired.paused
    if pause is None:
        return claim("Paused", "False", "NotPaused", "changes are rolled out")
    until = f" until {pause.until.isoformat()}" if pause.until else ""
    message = f"held at revision {pause.revision}{until}: {pause.reason}"
    return claim("Paused", "True", "Held", message)


def dated(condition: Condition, before: AppStatus | None, now: float) -> Condition:
    """The condition with the time since which it has its status."""
    old = before.condition(condition.type) if before else None
    if old is None or old.status != condition.status:
        return msgspec.structs.replace(condition, last_transition_time=now)
    if (old.reason, old.message) == (condition.reason, condition.message):
        return old
    return msgspec.structs.replace(condition, last_transition_time=old.last_transition_time)


def _replica(one: Seen, findings: Findings) -> ReplicaStatus:
    replica = one.replica
    message = one.failed or findings.messages.get(replica.id, "") or replica.reason
    return ReplicaStatus(
        name=f"{replica.name.app}.r{one.revision}.{one.number}.{replica.name.attempt}",
        revision=one.revision,
        slot=one.number,
        attempt=replica.name.attempt,
        state=replica.state.value,
        ready=one.ready,
        message=message,
        started_at=replica.started_at,
        exit_code=replica.exit_code,
        addresses={a.port: f"{a.host}:{a.number}" for a in replica.addresses},
    )


def died(replica: Replica) -> str:
    """How a replica ended, in words."""
    if replica.reason:
        return replica.reason
    if replica.exit_code is None:
        return "it ended"
    return f"it exited with {replica.exit_code}"


def is_dead(replica: Replica) -> bool:
    return replica.state is ReplicaState.EXITED
