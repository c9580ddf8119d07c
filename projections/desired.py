"""Desired state: what should run, and which positions made which revisions.

Folding keeps the last event of each resource as it lies in the log, undecoded: an App's events
carry its complete record, so the last one is the state, and a rebuild costs little more than
reading. Views are decoded when somebody asks. The same log gives the same `dump`, byte for byte,
whether it was folded live, again, or from a snapshot.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, final

import msgspec

from domain import app as spec_of
from domain import events as e
from domain.app import AppSpec
from domain.names import Ref

type Row = tuple[int, str, int, str, bytes]
"""(position, stream, version, type, data), as the log gives it (`bus.log.StoredEvent`)."""

type Decode = Any
"""`bus.codec.decode`, handed in: this layer and the bus do not know each other."""

_LAST: Final = frozenset(event.type for event in e.INTENT_EVENTS) - {
    e.MemberJoined.type,
    e.MemberLeft.type,
    e.AppDeleted.type,
    e.ProjectDeleted.type,
    e.TargetDeleted.type,
    e.SecretDeleted.type,
}
_REMEMBERED: Final = {e.RolloutStarted.type, e.RolloutCompleted.type, e.RemovalCompleted.type}
_IGNORED: Final = (
    frozenset({e.MemberJoined.type, e.MemberLeft.type})
    | frozenset(event.type for event in e.TRANSITIONS) - _REMEMBERED
)


class DesiredApp(msgspec.Struct, frozen=True, kw_only=True):
    """What one app should be.

    `begun` is the last revision whose rollout started and `stable` the last whose rollout
    completed (0: none). `asked_at` is when its last event was recorded (seconds since the epoch).
    """

    ref: Ref
    position: int
    uid: int
    generation: int
    revision: int
    digest: str
    spec: AppSpec
    labels: Mapping[str, str]
    secrets: Mapping[str, str]
    image: str | None
    paused: e.Pause | None
    begun: int
    stable: int
    asked_at: float

    @property
    def wanted(self) -> int:
        """How many replicas should run now."""
        return (self.spec.replicas or 0) if self.spec.running else 0

    @property
    def target(self) -> str:
        return self.spec.target or ""


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """A deleted app whose engine has not confirmed yet that nothing is left."""

    ref: Ref
    position: int
    uid: int
    target: str
    volumes: bool


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A resource of any kind as its last event has it; a Secret's spec lists keys, never values."""

    ref: Ref
    uid: int
    generation: int
    spec: bytes
    labels: Mapping[str, str]


class _Snapshot(msgspec.Struct):
    position: int
    rows: list[Row]
    revisions: dict[str, list[int]]
    begun: dict[str, tuple[int, int]]
    completed: dict[str, tuple[int, int]]
    removals: list[Row]
    orphans: dict[str, list[int]]
    frozen: dict[str, str]


@final
class DesiredState:
    """The fold. `position` is the last event it has seen."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self.position = 0
        self._rows: dict[str, Row] = {}
        self._revisions: dict[str, list[int]] = {}
        self._begun: dict[str, tuple[int, int]] = {}
        self._completed: dict[str, tuple[int, int]] = {}
        self._removals: dict[tuple[str, int], Row] = {}
        self._orphans: dict[str, list[int]] = {}
        self._frozen: dict[str, str] = {}
        self._unreadable: dict[str, str] = {}  # found out when asked, so not part of `dump`
        self._views: dict[str, DesiredApp] = {}

    # -- folding ------------------------------------------------------------------------------

    def fold(self, rows: Sequence[Row]) -> None:
        """Fold the next events of the log, in order. Never raises: a bad stream is frozen."""
        if not rows:
            return
        last, revising, revisions, kept = _LAST, e.REVISING, self._revisions, self._rows
        frozen, views, unreadable = self._frozen, self._views, self._unreadable
        for row in rows:
            kind = row[3]
            if kind in last:
                stream = row[1]
                if frozen and stream in frozen:
                    continue
                kept[stream] = row
                if kind in revising:
                    if stream in revisions:
                        revisions[stream].append(row[0])
                    else:
                        revisions[stream] = [row[0]]
                if views:
                    views.pop(stream, None)
                if unreadable:
                    unreadable.pop(stream, None)
            elif kind not in _IGNORED:
                self._fold_rarely(row)
        self.position = rows[-1][0]

    def _fold_rarely(self, row: Row) -> None:
        position, stream, _, kind, data = row
        self._views.pop(stream.removesuffix("#status"), None)
        if stream in self._frozen:
            return
        try:
            event = self._decode(kind, data)
        except Exception as error:  # whatever is wrong, it freezes its stream only
            if not stream.endswith("#status"):  # what was seen and done shapes nothing
                self._frozen[stream.partition("#")[0]] = f"position {position}: {error}"
            return
        match event:
            case e.AppDeleted(uid=uid, orphan=orphan):
                self._rows.pop(stream, None)
                if orphan:
                    self._orphans.setdefault(stream, []).append(uid)
                else:
                    self._removals[stream, uid] = row
            case e.RolloutStarted(uid=uid, revision=revision):
                self._begun[stream.removesuffix("#status")] = (uid, revision)
            case e.RolloutCompleted(uid=uid, revision=revision):
                self._completed[stream.removesuffix("#status")] = (uid, revision)
            case e.RemovalCompleted(uid=uid):
                self._removals.pop((stream.removesuffix("#status"), uid), None)
            case e.ProjectDeleted() | e.TargetDeleted() | e.SecretDeleted():
                self._rows.pop(stream, None)
            case _:
                pass

    # -- asking -------------------------------------------------------------------------------

    @property
    def frozen(self) -> Mapping[str, str]:
        """The streams whose history cannot be read, with the reason. Nothing of them may change."""
        return {**self._frozen, **self._unreadable} if self._unreadable else self._frozen

    def streams(self, kind: str) -> Iterator[str]:
        """The streams of all resources of a kind that exist, in no order."""
        prefix = f"{kind}/"
        return (stream for stream in self._rows if stream.startswith(prefix))

    def app(self, stream: str) -> DesiredApp | None:
        """What an app should be; None if there is none, or it is frozen and never was readable."""
        view = self._views.get(stream)
        if view is not None:
            return view
        row = self._rows.get(stream)
        if row is None:
            return None
        decoded = self._decoded(row)
        if not isinstance(decoded, e.AppEvent):
            return None
        try:
            view = self._view(row, decoded)
        except ValueError as error:
            self._unreadable[stream] = f"position {row[0]}: {error}"
            return None
        self._views[stream] = view
        return view

    def _view(self, row: Row, event: e.AppEvent) -> DesiredApp:
        stream = row[1]
        uid = event.uid or row[0]
        begun = self._begun.get(stream, (0, 0))
        completed = self._completed.get(stream, (0, 0))
        return DesiredApp(
            ref=Ref.parse(stream),
            position=row[0],
            uid=uid,
            generation=event.generation or row[0],
            revision=event.revision,
            digest=event.digest,
            spec=spec_of.decode(bytes(event.spec)),
            labels=event.labels,
            secrets=event.secrets,
            image=event.image,
            paused=event.paused,
            begun=begun[1] if begun[0] == uid else 0,
            stable=completed[1] if completed[0] == uid else 0,
            asked_at=event.at.timestamp(),
        )

    def _decoded(self, row: Row) -> e.Event | None:
        try:
            event: e.Event = self._decode(row[3], row[4])
        except Exception as error:  # as in `_fold_rarely`
            self._unreadable[row[1]] = f"position {row[0]}: {error}"
            return None
        return event

    def resource(self, stream: str) -> Resource | None:
        """A resource of any kind; None if it does not exist or cannot be read."""
        row = self._rows.get(stream)
        event = self._decoded(row) if row is not None else None
        if row is None or event is None:
            return None
        match event:
            case e.AppEvent(spec=spec, labels=labels, uid=uid):
                raw = bytes(spec)
            case e.ProjectDefined(spec=spec, labels=labels, uid=uid):
                raw = bytes(spec)
            case e.TargetDefined(spec=spec, labels=labels, uid=uid):
                raw = bytes(spec)
            case e.SecretSet(version=version, keys=keys, labels=labels, uid=uid):
                raw = msgspec.json.encode({"version": version, "keys": keys})
            case _:
                return None
        generation = event.generation if isinstance(event, e.AppEvent) else 0
        return Resource(
            ref=Ref.parse(stream),
            uid=uid or row[0],
            generation=generation or row[0],
            spec=raw,
            labels=labels,
        )

    def removals(self) -> Iterator[Removal]:
        """The deleted apps that may still have something on their target."""
        for (stream, uid), row in list(self._removals.items()):
            event = self._decoded(row)
            if isinstance(event, e.AppDeleted):
                yield Removal(
                    ref=Ref.parse(stream),
                    position=row[0],
                    uid=uid,
                    target=event.target,
                    volumes=event.volumes,
                )

    def removals_of(self, stream: str) -> Sequence[Removal]:
        """Those of one name; several when it was made and deleted again and again."""
        if not any(key[0] == stream for key in self._removals):
            return ()
        return [removal for removal in self.removals() if removal.ref.stream == stream]

    def orphans(self, stream: str) -> Sequence[int]:
        """The uids of former apps of this name whose replicas are not ours to touch any more."""
        return self._orphans.get(stream, ())

    def revisions(self, stream: str) -> Sequence[int]:
        """The positions that made the app's revisions: revision n is at index n - 1."""
        return self._revisions.get(stream, ())

    # -- snapshots ----------------------------------------------------------------------------

    def dump(self) -> bytes:
        """Everything, in one canonical form: equal states give equal bytes."""
        return msgspec.msgpack.encode(
            _Snapshot(
                position=self.position,
                rows=[self._rows[stream] for stream in sorted(self._rows)],
                revisions={s: self._revisions[s] for s in sorted(self._revisions)},
                begun={s: self._begun[s] for s in sorted(self._begun)},
                completed={s: self._completed[s] for s in sorted(self._completed)},
                removals=[self._removals[key] for key in sorted(self._removals)],
                orphans={s: self._orphans[s] for s in sorted(self._orphans)},
                frozen={s: self._frozen[s] for s in sorted(self._frozen)},
            )
        )

    def load(self, dumped: bytes) -> None:
        """Take over what `dump` gave. Raises `msgspec.MsgspecError` if it is not that."""
        snapshot = msgspec.msgpack.decode(dumped, type=_Snapshot)
        self.position = snapshot.position
        self._rows = {row[1]: row for row in snapshot.rows}
        self._revisions = snapshot.revisions
        self._begun = snapshot.begun
        self._completed = snapshot.completed
        self._removals = {(row[1], self._uid(row)): row for row in snapshot.removals}
        self._orphans = snapshot.orphans
        self._frozen = snapshot.frozen
        self._unreadable.clear()
        self._views.clear()

    def _uid(self, row: Row) -> int:
        event = self._decode(row[3], row[4])
        return event.uid if isinstance(event, e.AppDeleted) else 0


def rebuilt(decode: Decode, pages: Iterable[Sequence[Row]]) -> DesiredState:
    """The state that a whole history gives."""
    state = DesiredState(decode)
    for page in pages:
        state.fold(page)
    return state
