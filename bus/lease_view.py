"""What one worker sees of all leases: who lives, who holds what, and what may be taken.

A session that has not changed for `patience` seconds of looking without a gap has ended: its worker
counted from before it asked for the last renewal, and this counts from after it was seen. That it
has is written on top of it before anything of it is taken, so it cannot be renewed any more.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple, final

import msgspec
import structlog

from bus.leases import Entry, Look, Member, Partition

SESSION: Final = "session."
LEASE: Final = "lease."
_EPOCH_BITS: Final = 31  # of a revision; what is above tells one bucket from the one before it
_EPOCH_START: Final = 1_577_836_800  # 2020-01-01: buckets are younger

_log = structlog.get_logger(__name__)


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A worker, from its start to its end. One that is `leaving` takes nothing more."""

    worker: str
    state: Literal["live", "leaving", "ended"]
    serves: tuple[str, ...] = ()
    reaches: tuple[str, ...] = ()


class LeaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a partition; no session: nobody."""

    worker: str = ""
    session: str = ""


class Seen(NamedTuple):
    """A record that is there: what it says, and its revision."""

    record: LeaseRecord
    revision: int


class _Sighting(NamedTuple):
    entry: Entry
    record: SessionRecord
    since: float


_sessions: Final = msgspec.json.Decoder(SessionRecord)
_leases: Final = msgspec.json.Decoder(LeaseRecord)


def lease_key(partition: Partition) -> str:
    return f"{LEASE}{partition.target}.{partition.number}"


@final
class LeaseView:
    """Args: `patience` is seconds without any change, after which a session has ended."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._sessions: dict[str, _Sighting] = {}
        self._missing: dict[str, float] = {}  # since when sessions that hold something are not seen
        self._leases: dict[Partition, Seen] = {}
        self._looked_at = float("-inf")
        self._is_old = False  # whether whoever held something before this bucket has ended
        self.born = 0

    def take(self, look: Look, now: float) -> None:
        """See all anew, at a time of the clock after it was asked for."""
        if now - self._looked_at > self._patience / 2:  # a gap is no sign that nobody renewed
            self._sessions.clear()
            self._missing.clear()
        self._looked_at, self.born = now, look.born
        self._is_old = look.age_seconds >= self._patience
        sessions: dict[str, _Sighting] = {}
        self._leases = {}
        for entry in look.entries:
            try:
                if entry.key.startswith(SESSION):
                    name = entry.key.removeprefix(SESSION)
                    sessions[name] = self._sighted(name, entry, now)
                elif entry.key.startswith(LEASE):
                    target, _, number = entry.key.removeprefix(LEASE).rpartition(".")
                    seen = Seen(_leases.decode(entry.value), entry.revision)
                    self._leases[Partition(target, int(number))] = seen
            except (msgspec.MsgspecError, ValueError) as error:
                _log.warning("a lease cannot be read", key=entry.key, error=str(error))
        self._sessions = sessions
        holders = {seen.record.session for seen in self._leases.values()} - {"", *sessions}
        self._missing = {one: self._missing.get(one, now) for one in holders}

    def _sighted(self, name: str, entry: Entry, now: float) -> _Sighting:
        before = self._sessions.get(name)
        if before is not None and before.entry.revision == entry.revision:
            return before
        return _Sighting(entry, _sessions.decode(entry.value), now)

    def own(self, session: str) -> tuple[SessionRecord, int] | None:
        """A session's record and its revision."""
        found = self._sessions.get(session)
        return (found.record, found.entry.revision) if found is not None else None

    def lease(self, partition: Partition) -> Seen | None:
        return self._leases.get(partition)

    def held_by(self, session: str) -> list[Partition]:
        """What a session's records say that it holds."""
        return [at for at, seen in self._leases.items() if seen.record.session == session]

    def holders(self) -> Mapping[Partition, str]:
        """The worker of each partition that is held, as far as was seen."""
        return {
            at: seen.record.worker
            for at, seen in self._leases.items()
            if seen.record.session and not self._has_ended(seen.record.session, self._looked_at)
        }

    def members(self) -> list[Member]:
        """Who may take something."""
        return [
            Member(said.worker, name, frozenset(said.serves), frozenset(said.reaches))
            for name, (_, said, _) in self._sessions.items()
            if said.state == "live"
        ]

    def overdue(self, now: float) -> Iterable[tuple[str, SessionRecord, int]]:
        """Sessions that did not renew: name, what to write on top, and of which revision."""
        for name, one in self._sessions.items():
            if one.record.state != "ended" and now - one.since >= self._patience:
                ended = msgspec.structs.replace(one.record, state="ended")
                yield name, ended, one.entry.revision

    def forgotten(self, now: float) -> list[Entry]:
        """Records of sessions that ended long ago and hold nothing."""
        holders = {seen.record.session for seen in self._leases.values()}
        return [
            one.entry
            for name, one in self._sessions.items()
            if one.record.state == "ended"
            and name not in holders
            and now - one.since >= 30 * self._patience
        ]

    def takeable(self, partition: Partition, session: str, now: float) -> int | None:
        """The revision on top of which a session may take a partition; None: it may not."""
        seen = self._leases.get(partition)
        if seen is None:
            return 0 if self._is_old else None
        holder = seen.record.session
        if holder in ("", session) or self._has_ended(holder, now):
            return seen.revision
        return None

    def _has_ended(self, session: str, now: float) -> bool:
        found = self._sessions.get(session)
        if found is not None:
            return found.record.state == "ended"
        since = self._missing.get(session)
        return since is not None and now - since >= self._patience

    def epoch(self, revision: int) -> int:
        """A revision as a fence that also grows when the bucket was lost and is a new one."""
        return ((self.born - _EPOCH_START) << _EPOCH_BITS) + revision
