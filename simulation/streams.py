"""What a simulated JetStream keeps on its disk: the messages of streams, in order.

Everything that was kept outlives a restart, but for what is known of repeated messages: ids are
known again only of messages that are still there, as on a real server.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, final

from bus.nats.session import Message
from simulation.exchange import matches

SECOND: Final = 1_000_000_000  # JetStream counts in nanoseconds
TWO_MINUTES: Final = 120 * SECOND  # in which ids are known, unless a stream says otherwise
MESSAGE_ID: Final = "Nats-Msg-Id"
REMOVALS: Final = 256  # that can be taken back


class Declined(Exception):
    """JetStream does not do it. `code` is that of its API."""

    def __init__(self, code: int, error: int, why: str) -> None:
        super().__init__(why)
        self.error = {"code": code, "err_code": error, "description": why}


class Stored(NamedTuple):
    """A message of a stream, and when it came in seconds of the loop."""

    sequence: int
    subject: str
    data: bytes
    headers: Mapping[str, str]
    at: float


class Kept(NamedTuple):
    """What became of a message: its place in the stream, or that of the one it repeats."""

    sequence: int
    is_repeated: bool


@final
class Stream:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.messages: dict[int, Stored] = {}
        self.last = 0
        self._ids: dict[str, Stored] = {}
        self._removed: deque[Stored] = deque(maxlen=REMOVALS)

    @property
    def is_work_queue(self) -> bool:
        return self.config.get("retention") == "workqueue"

    def takes(self, subject: str) -> bool:
        return any(matches(pattern, subject) for pattern in self.config["subjects"])

    def keep(self, message: Message, now: float) -> Kept:
        """Keep a message, unless one with its id is known.

        Raises:
            Declined: there is no room.
        """
        self._let_age(now)
        identity = message.headers.get(MESSAGE_ID)
        if identity in self._ids:
            return Kept(self._ids[identity].sequence, is_repeated=True)
        self._make_room(len(message.data))
        self.last += 1
        stored = Stored(self.last, message.subject, message.data, message.headers, now)
        self.messages[self.last] = stored
        if identity is not None:
            self._ids[identity] = stored
        return Kept(self.last, is_repeated=False)

    def remove(self, sequence: int) -> None:
        if (gone := self.messages.pop(sequence, None)) is not None:
            self._removed.append(gone)

    def restart(self, now: float, *, forgotten_removals: int) -> list[int]:
        """Come up again, perhaps without the last removals: which messages are back."""
        count = min(forgotten_removals, len(self._removed))
        back = [self._removed.pop() for _ in range(count)]
        for stored in back:
            self.messages[stored.sequence] = stored
        self.messages = dict(sorted(self.messages.items()))
        self._ids = {
            stored.headers[MESSAGE_ID]: stored
            for stored in self.messages.values()
            if MESSAGE_ID in stored.headers
        }
        self._let_age(now)
        return sorted(stored.sequence for stored in back)

    def state(self) -> dict[str, int]:
        """As `STREAM.INFO` tells it."""
        return {
            "messages": len(self.messages),
            "bytes": sum(len(stored.data) for stored in self.messages.values()),
            "first_seq": next(iter(self.messages), self.last + 1),
            "last_seq": self.last,
        }

    def _let_age(self, now: float) -> None:
        window = (self.config.get("duplicate_window") or TWO_MINUTES) / SECOND
        for identity in _older(self._ids, now - window):
            del self._ids[identity]
        if age := self.config.get("max_age"):
            for sequence in _older(self.messages, now - age / SECOND):
                del self.messages[sequence]

    def _make_room(self, size: int) -> None:
        room = self.config.get("max_bytes", -1)
        used = sum(len(stored.data) for stored in self.messages.values()) if room > 0 else 0
        if room <= 0 or used + size <= room:
            return
        if self.config.get("discard") == "new":
            raise Declined(503, 10077, "maximum bytes exceeded")
        for sequence, stored in list(self.messages.items()):
            if used + size <= room:
                return
            used -= len(stored.data)
            del self.messages[sequence]


def _older[K](kept: Mapping[K, Stored], moment: float) -> list[K]:
    """The keys of what came before a moment; the oldest is first in `kept`."""
    found: list[K] = []
    for key, stored in kept.items():
        if stored.at > moment:
            break
        found.append(key)
    return found
