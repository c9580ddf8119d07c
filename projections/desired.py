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
from projections.kept import WIDTH, Kept, Rollout, Snapshot

type Row = tuple[int, str, int, str, bytes]
"""(position, stream, version, type, data), as the log gives it (`bus.log.StoredEvent`)."""

type Decode = Any
"""`bus.codec.decode`, handed in: this layer and the bus do not know each other."""

SHAPING: Final = {
    event.type: event.type  # the one string that is kept for all events of a type
    for event in e.INTENT_EVENTS
    if event
    not in {
        e.MemberJoined,
        e.MemberLeft,
        e.ClaimsTaken,
        e.ClaimsReleased,
        e.AppDeleted,
        e.ProjectDeleted,
        e.TargetDeleted,
        e.SecretDeleted,
    }
}
_ADOPTED: Final = e.AppAdopted.type
_COMPLETED: Final = e.RolloutCompleted.type
_STALLED: Final = e.RolloutStalled.type
_ROLLOUTS: Final = {e.RolloutStarted.type, _COMPLETED, _STALLED}
_STATUS: Final = "#status"
_STATUS_LENGTH: Final = len(_STATUS)
_BOOKKEEPING: Final[tuple[type[e.Event], ...]] = (
    e.MemberJoined,
    e.MemberLeft,
    e.ClaimsTaken,
    e.ClaimsReleased,
)
IGNORED: Final = (
    frozenset(event.type for event in (*_BOOKKEEPING, *e.TRANSITIONS))
    - _ROLLOUTS
    - {e.RemovalCompleted.type, e.AdoptionCompleted.type}
)
_ASKED_AGAIN: Final = ("Target", "Project")  # few, and each replay tick asks for all of them
TOLD: Final = frozenset(event.type for event in e.TRANSITIONS) - {
    _COMPLETED,
    _STALLED,
    e.RemovalCompleted.type,
    e.AdoptionCompleted.type,
}
"""Transitions that nobody decides anything by: they tell what was done or seen."""

_rollouts = msgspec.json.Decoder(Rollout)


class DesiredApp(msgspec.Struct, frozen=True, kw_only=True):
    """What one app should be.

    `begun` is the last revision whose rollout started, `stable` the last that completed one (on
    `stable_target`) and `stalled` the last that missed its deadline (0: none). `asked_at` is when
    its last event was recorded (seconds since the epoch).
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
    stalled: int
    asked_at: float
    stable_target: str = ""

    @property
    def wanted(self) -> int:
        """How many replicas should run now."""
        return (self.spec.replicas or 0) if self.spec.running else 0

    @property
    def target(self) -> str:
        """Where it runs now: while it is paused, where the revision runs that is held."""
        held = self.paused.target if self.paused else ""
        return held or self.spec.target or ""

    @property
    def reached_at(self) -> str:
        """Whose router leads to it: while it moves, that of the target where it was rolled out."""
        moves = self.stable != self.revision and self.wanted > 0
        return (self.stable_target if moves else "") or self.target


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """A deleted app whose engine has not confirmed yet that nothing is left."""

    ref: Ref
    position: int
    uid: int
    target: str
    volumes: bool
    drain: str | None
    stop_grace: str


class Adoption(msgspec.Struct, frozen=True, kw_only=True):
    """An installation, or objects of a cluster, that an app takes over, until nothing is left.

    `position` is that of the `app.adopted` that asked for it.
    """

    position: int
    installation: str
    objects: tuple[e.ForeignObject, ...] = ()


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A resource of any kind as its last event has it; a Secret's spec lists keys, never values."""

    ref: Ref
    uid: int
    generation: int
    spec: bytes
    labels: Mapping[str, str]


@final
class DesiredState:
    """The fold. `position` is the last event it has seen."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self.position = 0
        self._kept: dict[str, Kept] = {}
        self._removals: dict[tuple[str, int], Kept] = {}
        self._orphans: dict[str, list[int]] = {}
        self._adoptions: dict[str, list[Kept]] = {}
        self._frozen: dict[str, str] = {}
        self._unreadable: dict[str, str] = {}  # found out when asked, so not part of `dump`
        self._views: dict[str, DesiredApp] = {}
        self._resources: dict[str, tuple[int, Resource]] = {}  # with the position each was read at

    # -- folding ------------------------------------------------------------------------------

    def fold(self, rows: Sequence[Row]) -> None:  # noqa: C901, PLR0912 -- calls would show
        """Fold the next events of the log, in order. Never raises: a bad stream is frozen."""
        shaping, revising, kept = SHAPING.get, e.REVISING, self._kept
        frozen, views, unreadable = self._frozen, self._views, self._unreadable
        for row in rows:
            position, stream, _, kind, data = row
            shape = shaping(kind)
            if shape is not None:
                if frozen and stream in frozen:
                    continue
                one = kept.get(stream)
                if one is None:
                    one = kept[stream] = Kept()
                one.position, one.kind, one.data = position, shape, data
                if shape in revising:
                    one.revisions += position.to_bytes(WIDTH, "little")
                elif shape is _ADOPTED:
                    self._adoptions.setdefault(stream, []).append(Kept(position, shape, data))
                if views:
                    views.pop(stream, None)
                if unreadable:
                    unreadable.pop(stream, None)
            elif kind in _ROLLOUTS:
                rollout = self._rollout(kind, data)
                if rollout is None:
                    continue
                stream = stream[:-_STATUS_LENGTH]
                one = kept.get(stream)
                if one is None:
                    one = kept[stream] = Kept()
                if kind == _COMPLETED:
                    one.stable_uid, one.stable = rollout.uid, rollout.revision
                    one.stable_target = rollout.target
                elif kind == _STALLED:
                    one.stalled_uid, one.stalled = rollout.uid, rollout.revision
                else:
                    one.begun_uid, one.begun = rollout.uid, rollout.revision
                if views:
                    views.pop(stream, None)
            elif kind not in IGNORED:
                self._fold_rarely(row)
        if rows:
            self.position = rows[-1][0]

    def _rollout(self, kind: str, data: bytes) -> Rollout | None:
        """What is kept of a rollout; None if it cannot be read: what was done shapes nothing."""
        try:
            rollout = _rollouts.decode(data)
            return rollout if rollout.v == 1 else self._decode(kind, data)
        except Exception:  # whatever is wrong
            return None

    def _fold_rarely(self, row: Row) -> None:
        position, stream, _, kind, data = row
        self._views.pop(stream.removesuffix(_STATUS), None)
        if stream in self._frozen:
            return
        try:
            event = self._decode(kind, data)
        except Exception as error:  # whatever is wrong, it freezes its stream only
            if not stream.endswith(_STATUS):  # what was done shapes nothing
                self._frozen[stream.partition("#")[0]] = f"position {position}: {error}"
            return
        match event:
            case e.AppDeleted(uid=uid, orphan=orphan):
                if stream in self._kept:
                    self._kept[stream].end()
                self._adoptions.pop(stream, None)
                if orphan:
                    self._orphans.setdefault(stream, []).append(uid)
                else:
                    self._removals[stream, uid] = Kept(position, kind, data)
            case e.RemovalCompleted(uid=uid):
                self._removals.pop((stream.removesuffix(_STATUS), uid), None)
            case e.AdoptionCompleted(adopted=adopted):
                self._adopted(stream.removesuffix(_STATUS), adopted)
            case e.ProjectDeleted() | e.TargetDeleted() | e.SecretDeleted():
                self._kept.pop(stream, None)
            case _:
                pass

    def _adopted(self, stream: str, position: int) -> None:
        left = [kept for kept in self._adoptions.pop(stream, ()) if kept.position != position]
        if left:
            self._adoptions[stream] = left

    # -- asking -------------------------------------------------------------------------------

    @property
    def frozen(self) -> Mapping[str, str]:
        """The streams whose history cannot be read, with the reason. Nothing of them may change."""
        return {**self._frozen, **self._unreadable} if self._unreadable else self._frozen

    def streams(self, kind: str) -> Iterator[str]:
        """The streams of all resources of a kind that exist, in no order."""
        prefix = f"{kind}/"
        kept = self._kept.items()
        return (stream for stream, one in kept if one.kind and stream.startswith(prefix))

    def app(self, stream: str) -> DesiredApp | None:
        """What an app should be; None if there is none, or it is frozen and never was readable."""
        view = self._views.get(stream)
        if view is not None:
            return view
        kept = self._kept.get(stream)
        event = self._decoded(stream, kept)
        if kept is None or not isinstance(event, e.AppEvent):
            return None
        try:
            view = _view(stream, kept, event)
        except ValueError as error:
            self._unreadable[stream] = f"position {kept.position}: {error}"
            return None
        self._views[stream] = view
        return view

    def mentions(self, stream: str, word: bytes) -> bool:
        """Whether the record of a resource holds a word, as it lies there: undecoded, so quick."""
        kept = self._kept.get(stream)
        return kept is not None and word in kept.data

    def _decoded(self, stream: str, kept: Kept | None) -> e.Event | None:
        if kept is None or not kept.kind:
            return None
        try:
            event: e.Event = self._decode(kept.kind, kept.data)
        except Exception as error:  # as in `_fold_rarely`
            self._unreadable[stream] = f"position {kept.position}: {error}"
            return None
        return event

    def resource(self, stream: str) -> Resource | None:
        """A resource of any kind; None if it does not exist or cannot be read."""
        kept = self._kept.get(stream)
        read = self._resources.get(stream)
        if read is not None and kept is not None and kept.kind and read[0] == kept.position:
            return read[1]
        event = self._decoded(stream, kept)
        if kept is None or event is None:
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
        resource = Resource(
            ref=Ref.parse(stream),
            uid=uid or kept.position,
            generation=generation or kept.position,
            spec=raw,
            labels=labels,
        )
        if resource.ref.kind in _ASKED_AGAIN:
            self._resources[stream] = kept.position, resource
        return resource

    def removals(self) -> Iterator[Removal]:
        """The deleted apps that may still have something on their target."""
        for (stream, uid), kept in list(self._removals.items()):
            event = self._decoded(stream, kept)
            if isinstance(event, e.AppDeleted):
                yield Removal(
                    ref=Ref.parse(stream),
                    position=kept.position,
                    uid=uid,
                    target=event.target,
                    volumes=event.volumes,
                    drain=event.drain,
                    stop_grace=event.stop_grace,
                )

    def removals_of(self, stream: str) -> Sequence[Removal]:
        """Those of one name; several when it was made and deleted again and again."""
        if not any(key[0] == stream for key in self._removals):
            return ()
        return [removal for removal in self.removals() if removal.ref.stream == stream]

    def orphans(self, stream: str) -> Sequence[int]:
        """The uids of former apps of this name whose replicas are not ours to touch any more."""
        return self._orphans.get(stream, ())

    def adopting(self) -> Sequence[str]:
        """The apps that take over from another installation, and are not done with it."""
        return list(self._adoptions)

    def adoptions(self, stream: str) -> Sequence[Adoption]:
        """From whom an app takes over, as asked, oldest first."""
        if stream not in self._adoptions:
            return ()
        asked = [(one.position, self._decoded(stream, one)) for one in self._adoptions[stream]]
        return [
            Adoption(position=position, installation=event.installation, objects=event.objects)
            for position, event in asked
            if isinstance(event, e.AppAdopted)
        ]

    def revisions(self, stream: str) -> Sequence[int]:
        """The positions that made the app's revisions: revision n is at index n - 1."""
        kept = self._kept.get(stream)
        return kept.revision_positions() if kept is not None else ()

    def without_data(self) -> list[Kept]:
        """What was folded without its payload, in the order of positions."""
        found = [one for one in self._kept.values() if one.kind and not one.data]
        return sorted(found, key=lambda one: one.position)

    # -- snapshots ----------------------------------------------------------------------------

    def dump(self) -> bytes:
        """Everything, in one canonical form: equal states give equal bytes."""
        removals = sorted(self._removals.items(), key=lambda item: item[0])
        return msgspec.msgpack.encode(
            Snapshot(
                position=self.position,
                kept={stream: self._kept[stream] for stream in sorted(self._kept)},
                removals=[(stream, uid, kept) for (stream, uid), kept in removals],
                orphans={stream: self._orphans[stream] for stream in sorted(self._orphans)},
                frozen={stream: self._frozen[stream] for stream in sorted(self._frozen)},
                adoptions={stream: self._adoptions[stream] for stream in sorted(self._adoptions)},
            )
        )

    def load(self, dumped: bytes | memoryview) -> None:
        """Take over what `dump` gave. Raises `msgspec.MsgspecError` if it is not that."""
        snapshot = msgspec.msgpack.decode(dumped, type=Snapshot)
        self.position = snapshot.position
        self._kept = snapshot.kept
        self._removals = {(stream, uid): kept for stream, uid, kept in snapshot.removals}
        self._orphans = snapshot.orphans
        self._frozen = snapshot.frozen
        self._adoptions = snapshot.adoptions
        self._unreadable.clear()
        self._views.clear()


def _view(stream: str, kept: Kept, event: e.AppEvent) -> DesiredApp:
    uid = event.uid or kept.position
    return DesiredApp(
        ref=Ref.parse(stream),
        position=kept.position,
        uid=uid,
        generation=event.generation or kept.position,
        revision=event.revision,
        digest=event.digest,
        spec=spec_of.decode(bytes(event.spec)),
        labels=event.labels,
        secrets=event.secrets,
        image=event.image,
        paused=event.paused,
        begun=kept.begun if kept.begun_uid == uid else 0,
        stable=kept.stable if kept.stable_uid == uid else 0,
        stable_target=kept.stable_target if kept.stable_uid == uid else "",
        stalled=kept.stalled if kept.stalled_uid == uid else 0,
        asked_at=event.at.timestamp(),
    )


def foreseen(
    decode: Decode, stream: str, position: int, kind: str, data: bytes
) -> DesiredApp | None:
    """What an app would be after an event that is not in the log; None if that cannot be read."""
    state = DesiredState(decode)
    state.fold([(position, stream, 1, kind, data)])
    return state.app(stream)


def rebuilt(decode: Decode, pages: Iterable[Sequence[Row]]) -> DesiredState:
    """The state that a whole history gives."""
    state = DesiredState(decode)
    for page in pages:
        state.fold(page)
    return state
