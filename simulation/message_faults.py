"""What goes wrong with simulated messages. It decides nothing by itself: a test or a seed does.

Every message is first described as `Sent`; `MessageFaults.fate` answers with its `Fate`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, final


class Kind(StrEnum):
    """What a message is for."""

    MESSAGE = "message"  # nobody waits for an answer
    REQUEST = "request"
    REPLY = "reply"
    DELIVERY = "delivery"  # of what a stream keeps
    ACK = "ack"  # that a delivery is done with, or takes longer


class Sent(NamedTuple):
    """The `number`-th message, counted from 1; one that goes to several is one for each of them.

    Sender and receiver are names of clients, or `simulation.jetstream.JETSTREAM`.
    """

    number: int
    sender: str
    receiver: str
    subject: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Fate:
    """It arrives after each of these seconds: not at all, or once, or more often.

    What is sent with the same delay arrives in the order in which it was sent.
    """

    delays: tuple[float, ...] = (0.0,)


ON_TIME: Final = Fate()
LOST: Final = Fate(())


@final
class MessageFaults:
    """The troubles of one broker; change them at any time.

    fate: asked for every message, but for those of clients that are cut off.
    cut: names of clients that are cut off. What they send vanishes, nothing reaches them, and
        their sessions hang until three pings went unanswered.
    """

    def __init__(self, fate: Callable[[Sent], Fate] = lambda _sent: ON_TIME) -> None:
        self.fate = fate
        self.cut: set[str] = set()
        self.felt: Callable[[], None] = lambda: None  # the broker's: called when `down` changes
        self._down = False

    @property
    def down(self) -> bool:
        """Whether there is no server. All sessions end when it goes, and none can be opened."""
        return self._down

    @down.setter
    def down(self, is_down: bool) -> None:
        if is_down != self._down:
            self._down = is_down
            self.felt()


def on_kind(kind: Kind, fate: Fate) -> Callable[[Sent], Fate]:
    """The fate of all messages of one kind."""
    return lambda sent: fate if sent.kind is kind else ON_TIME


def on_first(kind: Kind, *fates: Fate) -> Callable[[Sent], Fate]:
    """The fates of the first messages of one kind; those that come later are on time."""
    left = iter(fates)
    return lambda sent: next(left, ON_TIME) if sent.kind is kind else ON_TIME
