"""A world for the pure replicas reconciler: what each action does when nothing goes wrong."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import assert_never

import msgspec

from reconcilers.ports import Replica, ReplicaName, ReplicaState
from reconcilers.replica_facts import Memory, Seen, Slot, Want
from reconcilers.replicas import Action, Plan, Remove, Start, Stop, diff

DIGEST = "d"


def replica(
    revision: int = 1,
    slot: int = 0,
    attempt: int = 1,
    *,
    uid: int = 1,
    state: ReplicaState = ReplicaState.RUNNING,
    digest: str = DIGEST,
    edited: tuple[str, ...] = (),
    lived: float | None = None,
) -> Replica:
    name = ReplicaName("shop", "web", revision, slot, attempt)
    return Replica(
        id=f"{uid}:{name}",
        name=name,
        uid=uid,
        digest=digest,
        position=1,
        state=state,
        edited=edited,
        started_at=None if lived is None else 0.0,
        finished_at=lived,
    )


@dataclass
class World:
    """Replicas of one app. `good` says which revisions can become healthy; others die at start."""

    want: Want
    seen: dict[str, Seen] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    good: Callable[[int], bool] = lambda _revision: True
    least_ready: int = 1000

    def put(self, *seen: Seen) -> None:
        for one in seen:
            self.seen[one.replica.id] = one

    def plan(self) -> Plan:
        return diff(self.want, list(self.seen.values()), self.memory, now=0.0)

    def act(self, action: Action) -> None:
        match action:
            case Start(slot=slot, attempt=attempt, reuses=reuses):
                attempts = {**self.memory.attempts, slot: attempt}
                self.memory = msgspec.structs.replace(self.memory, attempts=attempts)
                state = ReplicaState.RUNNING if self.good(slot.revision) else ReplicaState.EXITED
                is_wanted = slot.revision == self.want.revision
                started = replica(
                    slot.revision,
                    slot.number,
                    attempt,
                    uid=self.want.uid,
                    state=state,
                    digest=self.want.digest if is_wanted else DIGEST,
                )
                if reuses is not None:  # it is the same one
                    assert self.seen[reuses.id].replica.state is ReplicaState.KEPT
                    assert reuses.digest == started.digest
                    started = msgspec.structs.replace(started, id=reuses.id)
                self.put(Seen(started))
            case Stop(replica=stopped, keep=keep, may_return=may_return):
                if keep or may_return:
                    state = ReplicaState.KEPT if may_return else ReplicaState.EXITED
                    self.put(Seen(msgspec.structs.replace(stopped, state=state)))
                else:
                    self.seen.pop(stopped.id, None)
            case Remove(replica=gone):
                self.seen.pop(gone.id, None)
            case _:
                assert_never(action)
        self.least_ready = min(self.least_ready, self.ready)

    def settle(self) -> None:
        """Time passes: everything that runs becomes ready."""
        for one in list(self.seen.values()):
            if one.replica.state is ReplicaState.RUNNING and not one.failed:
                self.put(Seen(one.replica, ready=True))

    def running(self, revision: int | None = None) -> list[Replica]:
        return [
            one.replica
            for one in self.seen.values()
            if one.replica.state is ReplicaState.RUNNING
            and revision in (None, one.replica.name.revision)
        ]

    @property
    def ready(self) -> int:
        return sum(one.ready for one in self.seen.values())

    def converge(self, rounds: int = 200) -> None:
        """Act and let time pass until nothing is left to do.

        Raises:
            AssertionError: there always was something left to do.
        """
        for _ in range(rounds):
            plan = self.plan()
            if not plan.actions:
                before = self.ready
                self.settle()
                if before == self.ready and not self.plan().actions:
                    return
            for action in plan.actions:
                self.act(action)
        raise AssertionError(f"still acting after {rounds} rounds: {self.plan().actions}")

    def wanting(self, **changes: object) -> None:
        self.want = replace_want(self.want, **changes)


def replace_want(want: Want, **changes: object) -> Want:
    return msgspec.structs.replace(want, **changes)


def wanting(replicas: int, revision: int = 1, **more: object) -> Want:
    """A want of an app whose every revision up to this one can be started."""
    fields: dict[str, object] = {
        "uid": 1,
        "revision": revision,
        "digest": DIGEST,
        "replicas": replicas,
        "keep_dead": replicas,
        "startable": frozenset(range(1, revision + 1)),
    }
    return msgspec.convert(fields | more, Want)


__all__ = ["DIGEST", "Slot", "World", "replace", "replica", "wanting"]
