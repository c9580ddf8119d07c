"""A consumer of a simulated stream: delivers in order, and again what is not acknowledged in time.

It delivers while somebody listens, and as much as may be unacknowledged at once. What it knows is
on disk too: whoever comes back after a restart is not told again of what was acknowledged.
"""

from dataclasses import dataclass
from typing import Any, Final, final

from bus.nats.session import Message
from simulation.agenda import Agenda
from simulation.exchange import ACKS, Exchange, Party
from simulation.program import ImpossibleWorld
from simulation.streams import SECOND, Stored, Stream
from simulation.witness import Witness

THIRTY_SECONDS: Final = 30 * SECOND  # to acknowledge, unless a consumer says otherwise
UNDERSTOOD: Final = {
    "deliver_policy": ("all",),
    "replay_policy": ("instant",),
    "ack_policy": ("explicit",),
    "max_deliver": (-1,),
}


@dataclass(slots=True)
class _Pending:
    """Delivered so many times. `patience` grows whenever there is more time to acknowledge it."""

    deliveries: int = 0
    patience: int = 0
    is_late: bool = False


@final
class Consumer:
    """What `CONSUMER.CREATE` makes; `party` is who sends."""

    def __init__(
        self,
        stream: Stream,
        config: dict[str, Any],
        party: Party,
        exchange: Exchange,
        agenda: Agenda,
        witness: Witness,
    ) -> None:
        for setting, known in UNDERSTOOD.items():
            if config.get(setting, known[0]) not in known:
                raise ImpossibleWorld(f"no simulated consumer has {setting}={config[setting]!r}")
        self.config = config
        self._stream = stream
        self._party = party
        self._exchange = exchange
        self._agenda = agenda
        self._witness = witness
        self._ack_seconds = config.get("ack_wait", THIRTY_SECONDS) / SECOND
        self._pending: dict[int, _Pending] = {}
        self._cursor = 0  # the last one in the stream that was delivered
        self._delivered = 0
        self.is_gone = False

    @property
    def name(self) -> str:
        return f"{self._stream.config['name']}.{self.config['durable_name']}"

    def deliver(self) -> None:
        """Deliver what can be delivered now, the oldest first."""
        if self.is_gone or not self._exchange.has_listener(self.config["deliver_subject"]):
            return
        for sequence, pending in sorted(self._pending.items()):
            if pending.is_late:
                self._send(sequence, pending)
        most = self.config.get("max_ack_pending", 1000)
        for sequence in [one for one in self._stream.messages if one > self._cursor]:
            if len(self._pending) >= most:
                return
            self._cursor = sequence
            if sequence not in self._pending:
                self._pending[sequence] = _Pending()
                self._send(sequence, self._pending[sequence])

    def hear(self, sequence: int, word: bytes) -> None:
        """Take what was said of a delivery. One that is not pending is not spoken of."""
        pending = self._pending.get(sequence)
        if pending is None:
            return
        match word:
            case b"" | b"+ACK":
                del self._pending[sequence]
                if self._stream.is_work_queue:
                    self._stream.remove(sequence)
                self._witness.note(f"{self.name} is done with {sequence}", "acknowledged")
                self.deliver()
            case b"+WPI":
                self._be_patient(sequence, pending)
            case _:
                raise ImpossibleWorld(f"no simulated consumer understands {word!r}")

    def repeat(self, sequences: list[int] | None = None) -> None:
        """Deliver again what is pending, or what is back, as if its time were over."""
        for sequence in self._pending if sequences is None else sequences:
            self._pending.setdefault(sequence, _Pending()).is_late = True
        self.deliver()

    def _send(self, sequence: int, pending: _Pending) -> None:
        stored = self._stream.messages.get(sequence)
        if stored is None:
            del self._pending[sequence]
            return
        pending.is_late = False
        pending.deliveries += 1
        self._delivered += 1
        if pending.deliveries > 1:
            line = f"{self.name} delivers {sequence} for the {pending.deliveries}. time"
            self._witness.note(line, "redelivered")
        self._be_patient(sequence, pending)
        reply = self._reply(stored, pending)
        message = Message(stored.subject, reply, stored.data, stored.headers)
        self._exchange.send(self._party, message, to=self.config["deliver_subject"])

    def _reply(self, stored: Stored, pending: _Pending) -> str:
        left = sum(1 for sequence in self._stream.messages if sequence > self._cursor)
        places = f"{pending.deliveries}.{stored.sequence}.{self._delivered}"
        return f"{ACKS}{self.name}.{places}.{round(stored.at * SECOND)}.{left}"

    def _be_patient(self, sequence: int, pending: _Pending) -> None:
        pending.patience += 1
        patience = pending.patience
        self._agenda.add(self._ack_seconds, lambda: self._lose_patience(sequence, patience))

    def _lose_patience(self, sequence: int, patience: int) -> None:
        pending = self._pending.get(sequence)
        if pending is not None and pending.patience == patience:
            pending.is_late = True
            self.deliver()
