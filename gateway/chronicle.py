"""Pages of events out of the log, for those who may see them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from bus.log import Log, StoredEvent
from domain.access import Actor
from domain.names import Ref, status_stream
from domain.refusals import BadValue
from gateway.asking import may_read

PAGE: Final = 1000
MAX_SCANNED: Final = 50_000  # events looked at for one page; the caller goes on from `next`


@dataclass(slots=True)
class Filter:
    """Which events are wanted, among those that the actor may see."""

    actor: Actor
    project: str = ""
    resource: str = ""
    type: str = ""
    bookkeeping: bool = False
    transitions: bool = True
    _seen: dict[str, bool] = field(default_factory=dict)

    def wants(self, row: StoredEvent) -> bool:
        if not self._is_of_type(row.type):
            return False
        stream, _, part = row.stream.partition("#")
        if (part in ("members", "claims") and not self.bookkeeping) or (
            part == "status" and not self.transitions
        ):
            return False
        if stream not in self._seen:
            self._seen[stream] = self._about(stream)
        return self._seen[stream]

    def _is_of_type(self, kind: str) -> bool:
        if self.type.endswith("."):
            return kind.startswith(self.type)
        return self.type in ("", kind)

    def _about(self, stream: str) -> bool:
        if self.resource and stream != self.resource:
            return False
        try:
            ref = Ref.parse(stream)
        except BadValue:
            return self.actor.everywhere and not self.project
        owner = ref.name if ref.kind == "Project" else ref.project
        return (not self.project or owner == self.project) and may_read(self.actor, ref)


@dataclass(frozen=True, slots=True)
class Found:
    """Events, oldest first; `next` is where to go on, None at the end."""

    rows: Sequence[StoredEvent]
    next: int | None
    head: int


async def page(log: Log, wanted: Filter, after: int, limit: int, upto: int | None = None) -> Found:
    """The first `limit` events after a position, as if the log ended at `upto`."""
    head = (await log.head()).position if upto is None else upto
    if wanted.resource:
        rows = [row for row in await _of(log, wanted) if after < row.position <= head]
        more = len(rows) > limit
        return Found(rows[:limit], rows[limit - 1].position if more else None, head)
    found: list[StoredEvent] = []
    scanned, at = 0, after
    while at < head and len(found) < limit and scanned < MAX_SCANNED:
        rows = list(await log.read(at, PAGE))
        if not rows:
            break
        for row in rows:
            at = row.position
            if at > head:
                break
            if wanted.wants(row):
                found.append(row)
                if len(found) == limit:
                    break
        scanned += len(rows)
    return Found(found, at if at < head else None, head)


async def newest(log: Log, wanted: Filter, count: int, upto: int | None = None) -> Found:
    """The last `count` events that are wanted, as far back as one request may look."""
    head = (await log.head()).position if upto is None else upto
    if wanted.resource:
        rows = [row for row in await _of(log, wanted) if row.position <= head]
        return Found(rows[-count:], None, head)
    found: list[StoredEvent] = []
    end = head
    while end > 0 and len(found) < count and head - end < MAX_SCANNED:
        start = max(0, end - PAGE)
        rows = [row for row in await log.read(start, PAGE) if row.position <= end]
        found = [row for row in rows if wanted.wants(row)] + found
        end = start
    return Found(found[-count:], None, head)


async def _of(log: Log, wanted: Filter) -> list[StoredEvent]:
    """Everything about one resource, in order of position."""
    rows = list(await log.stream(wanted.resource))
    if wanted.resource.startswith("App/"):
        rows += await log.stream(status_stream(Ref.parse(wanted.resource)))
    return sorted(row for row in rows if wanted.wants(row))
