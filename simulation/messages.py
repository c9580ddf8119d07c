"""The troubles of messages: what a seed does to each that the simulated broker carries."""

from typing import Final, final

from simulation.jetstream import JETSTREAM
from simulation.knobs import Fault
from simulation.message_faults import LOST, ON_TIME, Fate, Kind, Sent
from simulation.troubles import Troubles
from simulation.world import World

LATE_SECONDS: Final = 4.0  # at most; some less than those who ask have patience, some more


@final
class MessageTroubles:
    """Wires the message faults of one world."""

    def __init__(self, world: World, troubles: Troubles) -> None:
        self._troubles = troubles
        self._rng = world.rng("messages")
        world.broker.faults.fate = self._fate

    def _fate(self, sent: Sent) -> Fate:
        hits, words = self._troubles.hits, f"{sent.kind.value} from {sent.sender}"
        if hits(Fault.BUS_LOSS, words):
            return LOST
        calls = JETSTREAM in (sent.sender, sent.receiver) and sent.kind is not Kind.DELIVERY
        if not calls and hits(Fault.BUS_REPEAT, words):  # no server makes two of one call
            return Fate((0.0, self._rng.uniform(0.0, LATE_SECONDS)))
        if hits(Fault.BUS_DELAY, words):
            return Fate((self._rng.uniform(0.0, LATE_SECONDS),))
        if not calls and hits(Fault.BUS_REORDER, words):
            return Fate((self._rng.uniform(0.01, 0.2),))
        return ON_TIME
