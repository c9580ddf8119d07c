"""Troubles of calls: what a seed does to each call of an engine, append of a log and effect.

Faults are asked at the very moment when the real thing could fail; each that takes effect is
counted.
"""

from collections import defaultdict, deque
from collections.abc import Sequence
from functools import partial
from typing import Final, final

from bus.log import LogError, LogFull, LogUnavailable, StoredEvent
from reconcilers.object_ports import EngineBusy, ObjectChanged, ObjectKey
from reconcilers.ports import EngineError, EngineUnavailable, NameTaken, Replica
from simulation.cluster.store import Change
from simulation.faults import Call, Trouble
from simulation.knobs import Fault
from simulation.lives import Life
from simulation.machine import whom
from simulation.world import World

LATE_SECONDS: Final = 130.0  # longer than any caller waits
STALE_SECONDS: Final = 20.0  # how old a list may be
LISTS: Final = 16  # kept of each question, to show them again


@final
class Troubles:
    """Wires the call faults of one world. `rates` may change at any time."""

    def __init__(self, world: World, rates: dict[Fault, float]) -> None:
        self._world, self.rates = world, rates
        self._rng = world.rng("troubles")
        self._listed: dict[object, deque[tuple[float, Sequence[Replica]]]] = defaultdict(
            lambda: deque(maxlen=LISTS)
        )
        self._unmet: dict[Fault, None] = {}
        self.log_away = False
        self.disk_full = False
        self._second = 0  # the effect at which a second crash follows a first

    def wire(self) -> None:
        world = self._world
        for name, machine in world.machines.items():
            machine.faults.plan = partial(self._engine, name)
            machine.is_believed = not self.rates and world.workers == 1  # lists of others are old
            machine.faults.loses = lambda _event: self.hits(Fault.ENGINE_EVENT_LOSS, "an event")
        for cluster in world.clusters.values():
            cluster.watching.loses = self._misses
            cluster.watching.lags = lambda: self._rng.uniform(0.01, 0.3)
            cluster.lingers = self._lingers
        faults = world.site.log_faults
        faults.refuses, faults.hides = self._refuses, self._hides
        faults.sync_seconds, faults.swallows = self._sync_seconds, self._swallows
        world.site.syncing = self._syncing
        world.effects.asked = self._effect
        world.keeps = lambda: self._rng.random() < 0.5

    def hits(self, fault: Fault, what: str) -> bool:
        """Whether a fault befalls this; counted if so."""
        is_hit = self.befalls(fault)
        if is_hit:
            self._world.trace.fire(fault, what)
        return is_hit

    def befalls(self, fault: Fault) -> bool:
        """Whether a fault befalls something; whoever makes it so counts it."""
        rate = self.rates.get(fault)
        return bool(rate) and self._rng.random() < (rate or 0.0)

    # -- engines ------------------------------------------------------------------------------

    def _engine(self, target: str, call: Call) -> Trouble:
        words = f"{target} {call.verb} {call.about}"
        delay = self._rng.uniform(0.0, 0.1)
        if call.verb == "list":
            return self._list(target, call, words, delay)
        if call.verb == "resolve" and call.about in self._world.machines[target].missing_images:
            self._meet(Fault.IMAGE_MISSING, words)
        if call.verb in ("logs", "run", "projects"):
            return Trouble(delay_seconds=delay)
        before, after = self._before(call, words), None
        if before is None and self.hits(Fault.ENGINE_ERROR_AFTER, words):
            after = EngineUnavailable("the answer never came")
        if before is None and self.hits(Fault.ENGINE_LATE_SUCCESS, words):
            self._world.engines.confused(2 * LATE_SECONDS, whom(call.verb, call.about))
            delay = 2 * LATE_SECONDS
        return Trouble(delay_seconds=delay, before=before, after=after)

    def _before(self, call: Call, words: str) -> EngineError | None:
        """What the engine says instead of doing it."""
        if self.hits(Fault.ENGINE_ERROR_BEFORE, words):
            return EngineUnavailable("the connection was refused")
        if call.verb in ("apply", "delete"):
            return self._of_cluster(words)
        if self.hits(Fault.ENGINE_THROTTLED, words):
            return EngineUnavailable("429: too many requests")
        if self.hits(Fault.ENGINE_CONFLICT, words):
            error = NameTaken if call.verb == "start" else EngineUnavailable
            return error("409: a conflict")
        return None

    def _of_cluster(self, words: str) -> EngineError | None:
        if self.hits(Fault.CLUSTER_THROTTLED, words):
            return EngineBusy("429: too many requests", self._rng.uniform(1.0, 10.0))
        if self.hits(Fault.CLUSTER_CONFLICT, words):
            return ObjectChanged("409: the object has been modified")
        return None

    def _misses(self, change: Change) -> bool:
        return self.hits(Fault.CLUSTER_EVENT_LOSS, f"of {change.key}")

    def _lingers(self, key: ObjectKey) -> float:
        """How long a finalizer of somebody else holds back what is deleted."""
        is_held = self.hits(Fault.CLUSTER_LINGERS, str(key))
        return self._rng.uniform(1.0, 60.0) if is_held else 0.0

    def _list(self, target: str, call: Call, words: str, delay: float) -> Trouble:
        if self.hits(Fault.ENGINE_ERROR_BEFORE, words):
            return Trouble(delay_seconds=delay, before=EngineUnavailable("no list now"))
        now = self._world.clock()
        known = self._listed[target, call.about]
        old = next((seen for at, seen in known if at >= now - STALE_SECONDS), None)
        stale = old is not None and self.befalls(Fault.ENGINE_STALE_LIST)
        partial_list = not stale and self.befalls(Fault.ENGINE_PARTIAL_LIST)
        fault = Fault.ENGINE_STALE_LIST if stale else Fault.ENGINE_PARTIAL_LIST

        def distort(seen: Sequence[Replica]) -> Sequence[Replica]:
            known.append((now, list(seen)))
            shown = seen
            if stale and old is not None:
                shown = old
            elif partial_list:
                shown = [one for one in seen if self._rng.random() < 0.7]
            if list(shown) != list(seen):
                self._world.trace.fire(fault, words)
            return shown

        return Trouble(delay_seconds=delay, distort=distort)

    # -- the log ------------------------------------------------------------------------------

    def _refuses(self) -> LogError | None:
        if self.log_away:
            return self._hides()
        if self.disk_full:
            self._meet(Fault.LOG_DISK_FULL, "an append")
            return LogFull("no space is left on the disk")
        return None

    def _hides(self) -> LogError | None:
        if not self.log_away:
            return None
        self._meet(Fault.LOG_AWAY, "somebody")
        return LogUnavailable("the log is away")

    def await_meeting(self, fault: Fault) -> None:
        """A fault lasts from now on; it is counted when something meets it first."""
        self._unmet[fault] = None

    def _meet(self, fault: Fault, who: str) -> None:
        if fault in self._unmet:
            del self._unmet[fault]
            self._world.trace.fire(fault, f"{who} meets it")

    def _sync_seconds(self) -> float:
        if self.hits(Fault.LOG_SLOW_SYNC, "a commit"):
            return self._rng.uniform(0.1, 5.0)
        return 0.001

    def _swallows(self) -> LogError | None:
        if self.hits(Fault.LOG_LOST_REPLY, "an append"):
            return LogUnavailable("the reply was lost")
        return None

    async def _syncing(self, life: Life, events: Sequence[StoredEvent]) -> None:
        """Between the writing of a group and its fsync: a power cut takes or tears it."""
        if self.hits(Fault.LOG_POWER_CUT, f"{len(events)} events"):
            self._cut(life, "the power is cut")
        elif self.befalls(Fault.LOG_TORN_RECORD):  # counted when it is found
            life.tears = True
            self._cut(life, "a record is torn")
        await life.present()

    def _cut(self, life: Life, cause: str) -> None:
        life.loses_unsynced = True
        life.end(cause)

    # -- effects ------------------------------------------------------------------------------

    def _effect(self, words: str) -> str:
        if self.hits(Fault.CRASH_BEFORE, words):
            return "before"
        if self.hits(Fault.CRASH_AFTER, words):
            return "after"
        if self._second:
            return self._again(words)
        if self.befalls(Fault.CRASH_TWICE):  # counted when the second one happens
            self._second = self._world.effects.done + self._rng.randrange(1, 12)
            return self._rng.choice(["before", "after"])
        return ""

    def _again(self, words: str) -> str:
        """The second crash, when its effect has come; it is left out when faults have ended."""
        if self._world.effects.done < self._second:
            return ""
        self._second = 0
        if Fault.CRASH_TWICE not in self.rates:
            return ""
        self._world.trace.fire(Fault.CRASH_TWICE, words)
        return "after"
