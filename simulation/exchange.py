"""How messages get from who sends them to all who listen, with the fate that faults give them.

A message goes to every interest that its subject matches, and to one of each queue group, in turn.
It is under way for at least a moment, and what is under way when the server goes is lost.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Protocol, final
from zlib import crc32

from bus.nats.session import Message
from bus.nats.subjects import INBOX
from simulation.agenda import Agenda
from simulation.message_faults import ON_TIME, Fate, Kind, MessageFaults, Sent
from simulation.witness import Witness

ACKS: Final = "$JS.ACK."


class Party(Protocol):
    """Who sends and listens.

    name: of the client, the same for all its sessions.
    is_known: whether the server knows of it; one that has lost its connection may not be told.
    """

    name: str
    is_known: bool

    @property
    def is_open(self) -> bool: ...


@dataclass(slots=True, eq=False)
class Interest:
    """Somebody listens on a subject, which may have wildcards. `take` must not block.

    What it listens to begins with `literal`.
    """

    party: Party
    subject: str
    take: Callable[[Message], None]
    queue: str = ""
    literal: str = field(init=False)

    def __post_init__(self) -> None:
        self.literal = self.subject.split("*")[0].split(">")[0]


@final
class Exchange:
    def __init__(self, faults: MessageFaults, agenda: Agenda, witness: Witness) -> None:
        self._faults = faults
        self._agenda = agenda
        self._witness = witness
        self._interests: list[Interest] = []
        self._turns: Counter[str] = Counter()  # by queue group
        self._latest: dict[tuple[str, str], int] = {}  # that arrived, by sender and receiver
        self._sent = 0
        self._outages = 0
        self.listened: Callable[[], None] = lambda: None  # called when somebody begins to listen
        self.read: Callable[[str, bytes], None] = lambda _subject, _data: None
        """Gets all that is sent, headers too, even if nobody listens."""

    def listen(self, interest: Interest) -> None:
        self._interests.append(interest)
        self.listened()

    def leave(self, interest: Interest) -> None:
        if interest in self._interests:
            self._interests.remove(interest)

    def has_listener(self, subject: str) -> bool:
        return any(matches(interest.subject, subject) for interest in self._present())

    def lose_clients(self, party: Party) -> None:
        """The server goes: what is under way is lost, and of its listeners only `party` stays."""
        self._outages += 1
        self._interests = [i for i in self._interests if i.party is party]

    def send(self, sender: Party, message: Message, *, to: str = "") -> bool:
        """Send a message on its subject, or `to` another; False if nobody listens there."""
        kind = _kind(message, to)
        self.read(message.subject, message.data)
        for value in message.headers.values():
            self.read(message.subject, value.encode())
        if sender.name in self._faults.cut or not sender.is_known:
            self._describe(self._number(sender, "nobody", message, kind), message, "is cut off")
            self._witness.happened["cut"] += 1
            return True
        receivers = self._receivers(to or message.subject)
        if not receivers:
            self._describe(self._number(sender, "nobody", message, kind), message, "")
        outages = self._outages  # a fault may take the server away while they are gone through
        for interest in receivers:
            sent = self._number(sender, interest.party.name, message, kind)
            self._carry(sent, interest, message, outages)
        return bool(receivers)

    def _number(self, sender: Party, receiver: str, message: Message, kind: Kind) -> Sent:
        self._sent += 1
        return Sent(self._sent, sender.name, receiver, message.subject, kind)

    def _receivers(self, subject: str) -> list[Interest]:
        present = self._present()
        found = [
            i for i in present if subject.startswith(i.literal) and matches(i.subject, subject)
        ]
        groups: dict[str, list[Interest]] = {}
        for interest in found:
            if interest.queue:
                groups.setdefault(interest.queue, []).append(interest)
        chosen = [members[self._turn(queue) % len(members)] for queue, members in groups.items()]
        return [i for i in found if not i.queue or i in chosen]

    def _turn(self, queue: str) -> int:
        self._turns[queue] += 1
        return self._turns[queue] - 1

    def _present(self) -> list[Interest]:
        """All that listen, as far as the server knows: the cut off cannot tell that they left."""
        cut = self._faults.cut
        self._interests = [i for i in self._interests if i.party.is_open or i.party.name in cut]
        return self._interests

    def _carry(self, sent: Sent, interest: Interest, message: Message, outages: int) -> None:
        fate = self._faults.fate(sent)
        self._describe(sent, message, _told(fate))
        happened = self._witness.happened
        happened["messages"] += 1
        happened["lost"] += not fate.delays
        happened["repeated"] += len(fate.delays) > 1
        happened["delayed"] += any(fate.delays)
        for delay in fate.delays:
            self._agenda.add(delay, lambda: self._arrive(sent, interest, message, outages))

    def _arrive(self, sent: Sent, interest: Interest, message: Message, outages: int) -> None:
        if outages != self._outages or not interest.party.is_open:
            self._witness.note(f"#{sent.number} finds nobody", "lost")
        elif sent.receiver in self._faults.cut:
            self._witness.note(f"#{sent.number} is cut off", "cut")
        else:
            between = (sent.sender, sent.receiver)
            latest = self._latest.get(between, 0)
            self._witness.happened["reordered"] += sent.number < latest
            self._latest[between] = max(sent.number, latest)
            interest.take(message)

    def _describe(self, sent: Sent, message: Message, fate: str) -> None:
        self._witness.note(
            f"#{sent.number} {sent.sender} to {sent.receiver}: {sent.kind} {sent.subject} "
            f"({len(message.data)} bytes, {crc32(message.data):08x}) {fate}".rstrip()
        )


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject is one of a pattern: `*` stands for one token, `>` for all that follow."""
    if pattern == subject:
        return True
    if not subject.startswith(_literal(pattern)):
        return False
    wanted, given = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted = wanted[:-1]
        if len(given) <= len(wanted):
            return False
        given = given[: len(wanted)]
    return len(wanted) == len(given) and all(
        one in ("*", other) for one, other in zip(wanted, given, strict=True)
    )


@lru_cache(maxsize=4096)
def _literal(pattern: str) -> str:
    """What a pattern begins with; for one without wildcards, more than any other subject does."""
    wild = min((at for at in (pattern.find("*"), pattern.find(">")) if at >= 0), default=None)
    return f"{pattern}." if wild is None else pattern[:wild]


def _kind(message: Message, to: str) -> Kind:
    if to:
        return Kind.DELIVERY
    if message.subject.startswith(ACKS):
        return Kind.ACK
    if message.reply:
        return Kind.REQUEST
    return Kind.REPLY if message.subject.startswith(INBOX) else Kind.MESSAGE


def _told(fate: Fate) -> str:
    if fate == ON_TIME:
        return ""
    if not fate.delays:
        return "is lost"
    return f"arrives after {', '.join(f'{delay:g}' for delay in fate.delays)} s"
