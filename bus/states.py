"""What this process knows of streams: their states and versions, so that few intents read the log.

Knowledge may be old: the log refuses an append on it, and then only the rest of the stream is read.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final, final

from bus import codec
from bus.log import Log
from domain import state
from domain.events import Event, Fact
from domain.refusals import Frozen

KEPT: Final = 50_000  # streams, about 1 kB each

type Versioned = tuple[int, state.State]


@final
class States:
    def __init__(self, log: Log) -> None:
        self._log = log
        self._known: OrderedDict[str, Versioned] = OrderedDict()
        self._outrun: OrderedDict[str, Versioned] = OrderedDict()

    def get(self, stream: str) -> Versioned | None:
        """The version and state of a stream, as far as they are known; maybe old."""
        return self._known.get(stream)

    async def load(self, stream: str) -> Versioned:
        """The version and state of a stream, read from the log if they are not known.

        Raises:
            Frozen: its history cannot be read.
        """
        known = self._known.get(stream)
        if known is not None:
            self._known.move_to_end(stream)
            return known
        version, before = self._outrun.pop(stream, (0, None))
        rows = await self._log.stream(stream, version)
        try:
            history = [(row.position, codec.decode(row.type, row.data)) for row in rows]
        except codec.Undecodable as error:
            raise Frozen(stream, str(error)) from error
        loaded = (rows[-1].version if rows else version, state.fold(stream, history, before))
        _keep(self._known, stream, loaded)
        return loaded

    def moved(self, stream: str) -> None:
        """The stream is further than what is known of it; the rest is read when it is needed."""
        known = self._known.pop(stream, None)
        if known is not None:
            _keep(self._outrun, stream, known)

    def remember(
        self,
        facts: Sequence[Fact],
        positions: Sequence[int],
        expected: Mapping[str, int],
        before: Mapping[str, state.State],
    ) -> None:
        """Fold what was appended on top of `expected` versions, in `before` states."""
        if len(facts) == 1:
            (fact,), (position,) = facts, positions
            self._add(fact.stream, ((position, fact.event),), expected, before)
            return
        histories: dict[str, list[tuple[int, Event]]] = {}
        for fact, position in zip(facts, positions, strict=True):
            histories.setdefault(fact.stream, []).append((position, fact.event))
        for stream, history in histories.items():
            self._add(stream, history, expected, before)

    def _add(
        self,
        stream: str,
        history: Sequence[tuple[int, Event]],
        expected: Mapping[str, int],
        before: Mapping[str, state.State],
    ) -> None:
        if stream not in expected:  # written without being read: its version is not known
            self.moved(stream)
            return
        version = expected[stream] + len(history)
        known = self._known.get(stream)
        if known is None or known[0] < version:
            _keep(self._known, stream, (version, state.fold(stream, history, before[stream])))


def _keep(kept: OrderedDict[str, Versioned], stream: str, versioned: Versioned) -> None:
    kept[stream] = versioned
    if len(kept) > KEPT:
        kept.popitem(last=False)
