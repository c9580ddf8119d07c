"""What goes wrong on demand: refusals, slowness, cut and silent watches, versions that expired."""

import asyncio
from dataclasses import dataclass, field

from tests.support.kubernetes.answers import Refused
from tests.support.kubernetes.reading import Reading
from tests.support.kubernetes.requests import Request
from tests.support.kubernetes.store import Store


@dataclass(slots=True)
class Fault:
    """Answers `code` to the next `times` requests with a verb (for a plural), or after a delay."""

    code: int = 0  # 0: no refusal; -1: the connection is cut without an answer
    times: int = 1
    skip: int = 0  # so many that would be hit are let pass first
    verb: str = ""
    plural: str = ""
    retry_after: int | None = None  # seconds
    delay: float = 0.0
    after_work: bool = False  # the request is carried out, and only its answer is lost
    message: str = "the server refuses, as it was told to"
    reason: str | None = None  # empty: none is given

    def hits(self, request: Request) -> bool:
        """Whether it strikes now; each time it does is counted."""
        fits = self.verb in {"", request.verb} and self.plural in {"", request.kind.plural}
        if not fits or self.times <= 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class ConnectionCut(Exception):
    """The server drops the connection instead of an answer."""


@dataclass(slots=True)
class Faults:
    store: Store
    reading: Reading
    pending: list[Fault] = field(default_factory=list)
    lost_events: int = 0  # so many next events are told to no watch
    watches: dict[asyncio.Task[None], str] = field(default_factory=dict)  # and how they shall end

    def add(self, fault: Fault) -> None:
        self.pending.append(fault)

    def throttle(self, *, times: int = 1, retry_after: int = 1, verb: str = "") -> None:
        self.add(Fault(code=429, times=times, retry_after=retry_after, verb=verb))

    def expire_versions(self) -> None:
        """Let no watch start, and no list go on, from a version before the present one."""
        self.store.forget_history()
        self.reading.expire_pages()

    def cut_watches(self) -> int:
        """Drop the connection of every watch; returns how many there were."""
        return self._end("cut")

    def end_watches(self) -> int:
        """Let every watch end properly, as at its timeout; returns how many there were."""
        return self._end("end")

    def _end(self, how: str) -> int:
        for task in self.watches:
            self.watches[task] = how
            task.cancel()
        return len(self.watches)

    async def before(self, request: Request) -> None:
        """Raises: Refused or ConnectionCut, as scripted."""
        for fault in self.pending:
            if not fault.after_work and fault.hits(request):
                await self._strike(fault)

    async def after(self, request: Request) -> None:
        """As `before`, once the request was carried out."""
        for fault in self.pending:
            if fault.after_work and fault.hits(request):
                await self._strike(fault)

    def loses(self, line: bytes) -> bool:
        """Whether the event about to be told is lost; bookmarks and errors never are."""
        if self.lost_events <= 0 or line.startswith((b'{"type":"B', b'{"type":"E')):
            return False
        self.lost_events -= 1
        return True

    async def _strike(self, fault: Fault) -> None:
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.code == -1:
            raise ConnectionCut
        if fault.code:
            headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            raise Refused(fault.code, fault.message, reason=fault.reason, headers=headers)
