"""Desired state as of an earlier moment: the log, folded up to there.

The past does not change, so what was folded is kept for a while.
"""

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Final, final

import msgspec

from bus import codec
from bus.log import Log
from domain.refusals import BadValue
from gateway import times
from projections.desired import DesiredState

PAGE: Final = 2000
KEPT: Final = 4
KEPT_SECONDS: Final = 60.0


class _Timed(msgspec.Struct):
    at: datetime


_TIMED = msgspec.json.Decoder(_Timed)


@final
class Past:
    def __init__(self, log: Log, now: Callable[[], float]) -> None:
        self._log = log
        self._now = now
        self._kept: OrderedDict[str, tuple[float, DesiredState]] = OrderedDict()

    async def as_of(self, moment: str) -> DesiredState:
        """The desired state after a position (`42`), at a time, or a duration ago (`5m`).

        Raises:
            BadValue: it is neither, or has not come yet.
        """
        now = self._now()
        for key in [key for key, (until, _) in self._kept.items() if until <= now]:
            del self._kept[key]
        if moment in self._kept:
            return self._kept[moment][1]
        state = await self._folded(*await self._bounds(moment, now))
        self._kept[moment] = (now + KEPT_SECONDS, state)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return state

    async def position(self, moment: str) -> int:
        """The last position that belongs to a moment. Raises as `as_of`."""
        return (await self.as_of(moment)).position

    async def _bounds(self, moment: str, now: float) -> tuple[int, float]:
        """The last position and the last time that belong to the state."""
        head = (await self._log.head()).position
        if moment.isdecimal():
            if len(moment) > 18 or int(moment) > head:
                raise BadValue("query.asOf", moment, f"the log ends at position {head}")
            return int(moment), float("inf")
        latest = times.read(moment, "query.asOf", now)
        if latest > now:
            raise BadValue("query.asOf", moment, "that time has not come yet")
        return head, latest

    async def _folded(self, position: int, latest: float) -> DesiredState:
        state = DesiredState(codec.decode)
        after = 0
        while after < position:
            page = await self._log.read(after, PAGE)
            if not page:
                break
            end = next(
                (n for n, row in enumerate(page) if row[0] > position or _time(row[4]) > latest),
                len(page),
            )
            state.fold(page[:end])
            if end < len(page):
                break
            after = page[-1].position
        return state


def _time(data: bytes) -> float:
    try:
        return _TIMED.decode(data).at.timestamp()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return float("-inf")  # unreadable: it belongs to what came before it
