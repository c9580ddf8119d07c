"""A NATS server in memory, for sessions as `bus.nats` uses them, on the clock of the loop.

What goes wrong is up to its `MessageFaults`, and to whoever calls `disconnect`, `restart` and
`redeliver`. It has no luck of its own: the same calls give the same lines to `heard`.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import final

from bus.nats.session import CONNECT_SECONDS, PING_SECONDS, NatsUnavailable, Opening, Session
from simulation.agenda import Agenda
from simulation.exchange import Exchange
from simulation.jetstream import JetStream
from simulation.message_faults import MessageFaults
from simulation.session import SimulatedSession
from simulation.streams import Stored
from simulation.witness import Witness


@final
class Broker:
    """One server. What its streams keep outlives outages and restarts, as if fsynced at once.

    Args:
        faults: what goes wrong.
        heard: told of every message and trouble, in one line each.
        read: gets the subject and the content of every message.
    """

    def __init__(
        self,
        faults: MessageFaults | None = None,
        heard: Callable[[str], None] = lambda _line: None,
        read: Callable[[str, bytes], None] = lambda _subject, _data: None,
    ) -> None:
        self.faults = faults or MessageFaults()
        self.faults.felt = self._feel
        self._witness = Witness(heard)
        self._agenda = Agenda()
        self._exchange = Exchange(self.faults, self._agenda, self._witness)
        self._exchange.read = read
        self._jetstream = JetStream(self._exchange, self._agenda, self._witness)
        self._sessions: list[SimulatedSession] = []
        self._opened = 0

    @property
    def happened(self) -> Counter[str]:
        """What really happened, by name: `lost`, `repeated`, `redelivered`, `outages`..."""
        return self._witness.happened

    async def open(self, name: str) -> Session:
        """Connect as a client of this name.

        Raises:
            NatsUnavailable: the server is down, or the client is cut off.
        """
        if name in self.faults.cut:
            await asyncio.sleep(CONNECT_SECONDS)
            raise NatsUnavailable("no answer")
        await asyncio.sleep(0)
        if self.faults.down:
            raise NatsUnavailable("connection refused")
        self._opened += 1
        session = SimulatedSession(name, self._opened, self._exchange, self.faults, self._witness)
        self._sessions = [known for known in self._sessions if known.is_open] + [session]
        self._witness.note(f"session {session.number} of {name} begins", "opened")
        self._agenda.add(PING_SECONDS, lambda: self._ping(session))
        return session

    def opening(self, name: str = "stateward") -> Opening:
        """How `bus.nats.bus.NatsBus` opens its sessions here, whatever server it is told."""
        return lambda _server: self.open(name)

    def disconnect(self, name: str) -> None:
        """End the sessions of a client, as when its process dies."""
        for session in self._sessions:
            if session.name == name:
                session.end("connection reset")

    def restart(self, *, forgotten_acks: int = 0) -> None:
        """Be down for no time at all; the last acknowledgements may not have reached the disk."""
        self._witness.note("the server restarts", "restarts")
        self._fall()
        self._jetstream.restart(forgotten_acks=forgotten_acks)

    def redeliver(self, stream: str) -> None:
        """Deliver again what a stream has unacknowledged, as if its time were over."""
        self._witness.note(f"{stream} delivers again what is unacknowledged")
        self._jetstream.redeliver(stream)

    def stored(self, stream: str) -> Sequence[Stored]:
        """What a stream keeps, in order."""
        known = self._jetstream.streams.get(stream)
        return () if known is None else tuple(known.messages.values())

    async def close(self) -> None:
        """End all sessions and everything that was still to happen."""
        tasks = [task for session in self._sessions for task in session.tasks]
        for session in self._sessions:
            session.end("closed")
        self._agenda.close()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _feel(self) -> None:
        if self.faults.down:
            self._witness.note("the server is down", "outages")
            self._fall()
        else:
            self._witness.note("the server is up")
            self._jetstream.restart(forgotten_acks=0)

    def _fall(self) -> None:
        """Lose the clients. Those that are cut off do not hear of it."""
        self._exchange.lose_clients(self._jetstream)
        for session in self._sessions:
            session.is_known = False
            if session.name not in self.faults.cut:
                session.end("unexpected EOF")

    def _ping(self, session: SimulatedSession) -> None:
        if session.is_open:
            session.ping()
            self._agenda.add(PING_SECONDS, lambda: self._ping(session))
