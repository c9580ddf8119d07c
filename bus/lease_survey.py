"""Who lives and who holds what, for somebody who looks once and is no worker.

A worker judges others by how long it has seen them unchanged (`bus.lease_view`). Who looks only
once has the ages of the records instead, by the clock of whoever keeps them: good enough to tell a
person, and never to take anything.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from bus.lease_view import LEASE, SESSION, LeaseRecord, SessionRecord
from bus.leases import Entry

_sessions: Final = msgspec.json.Decoder(SessionRecord)
_leases: Final = msgspec.json.Decoder(LeaseRecord)


class Surveyed(NamedTuple):
    """A worker's session: for how long it was not heard of, and how many parts of which target it
    holds. `state` is `live`, `leaving`, or `silent` for one that renews itself no more.
    """

    worker: str
    state: str
    silent_seconds: float
    holds: Mapping[str, int]


class Survey(NamedTuple):
    """Into how many `parts` each target is divided, and how many of them are `free`: nobody's."""

    workers: tuple[Surveyed, ...]
    parts: Mapping[str, int]
    free: Mapping[str, int]


def survey(entries: Iterable[Entry], ages: Mapping[str, float], patience: float) -> Survey:
    """Sessions that are over and hold nothing are left out.

    Args:
        entries: all records.
        ages: for how many seconds each record has not been written, by its key.
        patience: after how many seconds without a renewal a session is over.
    """
    sessions: dict[str, tuple[SessionRecord, float]] = {}
    holds: dict[str, Counter[str]] = {}
    parts: Counter[str] = Counter()
    free: Counter[str] = Counter()
    names: dict[str, str] = {}
    for entry in entries:
        try:
            if entry.key.startswith(SESSION):
                record = _sessions.decode(entry.value)
                sessions[entry.key.removeprefix(SESSION)] = record, ages[entry.key]
            elif entry.key.startswith(LEASE):
                target = entry.key.removeprefix(LEASE).rpartition(".")[0]
                lease = _leases.decode(entry.value)
                parts[target] += 1
                if lease.session:
                    holds.setdefault(lease.session, Counter())[target] += 1
                    names[lease.session] = lease.worker
                else:
                    free[target] += 1
        except msgspec.MsgspecError:  # of another version: it says nothing here
            continue
    found = [
        Surveyed(record.worker, _state(record, age, patience), age, holds.pop(name, Counter()))
        for name, (record, age) in sessions.items()
    ]
    found += [Surveyed(names[name], "silent", float("inf"), held) for name, held in holds.items()]
    shown = [one for one in found if one.state != "silent" or one.holds]
    return Survey(tuple(sorted(shown, key=lambda one: (one.worker, one.state))), parts, free)


def _state(record: SessionRecord, age: float, patience: float) -> str:
    return "silent" if record.state == "ended" or age > patience else record.state
