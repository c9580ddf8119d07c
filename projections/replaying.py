"""Replaying a long history into desired state, without the payloads that nobody will ask for.

An event that shapes a resource carries its complete record, so of all those of a resource the
last one's payload is enough: it is read at the end. What a rollout or a deletion says is read on
the way. The state is the same, byte for byte, as if every row had been folded.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Final, Protocol

from domain.events import AppAdopted
from projections.desired import IGNORED, SHAPING, DesiredState, Row

_LATER: Final = IGNORED | SHAPING.keys() - {AppAdopted.type}  # which is kept until it is done
_UNREAD: Final = b""


class History(Protocol):
    """The log above a position, in two parts."""

    def outlines(self, after: int) -> Iterator[tuple[Sequence[int], Sequence[str], Sequence[str]]]:
        """Yield the positions, streams and types of all events above `after`, page by page."""
        ...

    def payloads(self, positions: Sequence[int]) -> Iterable[bytes]:
        """The payloads of these events, in the same order."""
        ...


def replay(desired: DesiredState, history: History) -> None:
    """Fold everything above the state's position."""
    for positions, streams, types in history.outlines(desired.position):
        desired.fold(_rows(history, positions, streams, types))
    unread = desired.without_data()
    payloads = history.payloads([kept.position for kept in unread])
    for kept, data in zip(unread, payloads, strict=True):
        kept.data = data


def _rows(
    history: History, positions: Sequence[int], streams: Sequence[str], types: Sequence[str]
) -> list[Row]:
    """A page as it is folded, with the payloads that folding looks into; no fold asks versions."""
    data: Iterable[bytes] = repeat(_UNREAD, len(positions))
    if not _LATER.issuperset(types):
        looked_into = [kind not in _LATER for kind in types]
        wanted = [at for at, wants in zip(positions, looked_into, strict=True) if wants]
        read = iter(history.payloads(wanted))
        data = [next(read) if wants else _UNREAD for wants in looked_into]
    return list(zip(positions, streams, repeat(0, len(positions)), types, data, strict=True))
