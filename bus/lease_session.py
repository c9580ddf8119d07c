"""A worker's session: renewed while it works, and over by this machine's own clock when it is not.

It is valid until `ttl` seconds after the last successful renewal was *asked for*, by a clock that
counts the time in which this machine slept. Whose reply was lost counts as failed.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, final

import msgspec
import structlog

from bus.lease_view import SESSION, LeaseView, SessionRecord
from bus.leases import LeaseRaced, LeaseStore, LeasesUnavailable, Member

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSettings:
    """Times in seconds. `hand_over` is how long what is under way may take to end."""

    ttl: float = 10.0
    hand_over: float = 5.0

    @property
    def patience(self) -> float:
        """Longer than the time to live by what two clocks may differ in pace."""
        return self.ttl * 1.05

    @property
    def renew_every(self) -> float:
        return self.ttl / 3

    @property
    def look_every(self) -> float:
        return self.ttl / 20

    @property
    def answer_within(self) -> float:
        """So that one renewal that hangs leaves time for another."""
        return self.ttl / 4


@final
class LeaseSession:
    """Args: `new_name` makes one that was never used; `ended` is called when a session is over."""

    def __init__(
        self,
        store: LeaseStore,
        *,
        worker: str,
        new_name: Callable[[], str],
        clock: Callable[[], float],
        settings: LeaseSettings,
        ended: Callable[[], None],
    ) -> None:
        self._store, self._worker, self._new_name = store, worker, new_name
        self._clock, self._settings, self._ended = clock, settings, ended
        self.name, self._revision = new_name(), 0
        self._valid_until = float("-inf")
        self._state: Literal["live", "leaving", "ended"] = "live"
        self._serves: tuple[str, ...] = ()
        self._reaches: tuple[str, ...] = ()
        self._told: SessionRecord | None = None  # as others know it
        self._changed = asyncio.Event()  # something new is to be told, or to be tried at once
        self._turn = asyncio.Lock()
        self.view = LeaseView(settings.patience)
        self.trouble = "nothing was renewed yet"

    @property
    def is_valid(self) -> bool:
        return self._clock() < self._valid_until

    @property
    def is_leaving(self) -> bool:
        return self._state != "live"

    @property
    def member(self) -> Member:
        return Member(self._worker, self.name, frozenset(self._serves), frozenset(self._reaches))

    def offer(self, serves: Iterable[str], reaches: Iterable[str]) -> None:
        """Say on which targets this worker may work, and which of them it reaches now."""
        self._serves, self._reaches = tuple(sorted(serves)), tuple(sorted(reaches))
        if self._told is not None and self._told != self._record():
            self._changed.set()

    async def renew_always(self) -> None:
        while True:
            self._changed.clear()
            await self.renew()
            settings = self._settings
            pause = settings.look_every if self.trouble else settings.renew_every
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def count_down(self) -> None:
        """Notice that time is up even if nothing answers any more."""
        was_valid = False
        while True:
            if was_valid and not self.is_valid:
                self.say("the session could not be renewed in time")
                self._ended()
            was_valid = self.is_valid
            left = self._valid_until - self._clock()
            await asyncio.sleep(max(min(left, self._settings.ttl), self._settings.look_every))

    async def renew(self) -> None:
        """Try once. Nothing is known of what fails, and the next one finds out."""
        async with self._turn:
            asked_at, record = self._clock(), self._record()
            try:
                async with asyncio.timeout(self._settings.answer_within):
                    self._revision = await self._store.write(
                        f"{SESSION}{self.name}",
                        msgspec.json.encode(record),
                        after=self._revision,
                        tell=record != self._told,
                    )
            except LeaseRaced:
                await self._read_own()
            except (LeasesUnavailable, TimeoutError) as error:
                self.say(str(error) or "no renewal was answered in time")
            else:
                self._told = record
                self._valid_until = asked_at + self._settings.ttl
                self.say("")

    async def _read_own(self) -> None:
        """An earlier renewal was applied although nobody said so, or the session was ended."""
        try:
            await self.look()
        except (LeasesUnavailable, TimeoutError) as error:
            self.say(str(error) or "the session could not be looked at in time")
            return
        found = self.view.own(self.name)
        if found is not None and found[0].state != "ended":
            if found[1] != self._revision:
                self._revision = found[1]
                self._changed.set()
            return
        self.say("the session was ended by another, for it was not renewed in time")
        self._valid_until = float("-inf")
        self.name, self._revision, self._told = self._new_name(), 0, None
        self._ended()
        self._changed.set()

    async def look(self) -> None:
        """See all records anew.

        Raises:
            LeasesUnavailable: not now.
            TimeoutError: the same.
        """
        async with asyncio.timeout(self._settings.answer_within):
            look = await self._store.look()
        self.view.take(look, self._clock())

    async def leave(self) -> None:
        """Take nothing more, and let the others know."""
        self._state = "leaving"
        if self.is_valid:
            await self.renew()

    async def end(self) -> None:
        """Let others take what is left, at once; nothing is done any more from here on."""
        self._state = "ended"
        if self.is_valid:
            await self.renew()
        self._valid_until = float("-inf")

    def say(self, trouble: str) -> None:
        if trouble != self.trouble:
            _log.info("leases", trouble=trouble or "none: renewed", worker=self._worker)
        self.trouble = trouble

    def _record(self) -> SessionRecord:
        return SessionRecord(
            worker=self._worker, state=self._state, serves=self._serves, reaches=self._reaches
        )
