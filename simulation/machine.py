"""A simulated machine that replicas of any installation run on, and the mischief done to it.

It holds the truth; `simulation.engine` shows it to installations through the engine ports, with
the machine's faults on the way. Time passes only by `asyncio.sleep` and the loop's timers, so a
loop with virtual time runs it in no time.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import msgspec

from domain.app import Volume
from domain.names import Ref
from reconcilers.ports import Address, EngineEvent, LogLine, Replica, ReplicaName, ReplicaState
from reconcilers.ports import StartReplica as Order
from simulation.faults import Faults
from simulation.program import ImpossibleWorld, Program, program_of

KILLED = 137  # 128 + SIGKILL, as shells and Docker count
STOPPED = 143  # 128 + SIGTERM
LOG_LINES = 200  # kept per replica
EVENTS = 256  # kept per watcher, as a Docker daemon does


@dataclass(slots=True, eq=False)
class Running:
    """One replica on the machine. `seen` is what a list shows of it.

    `begun` is when its program began, by `steady`, a clock that never jumps.
    """

    installation: str
    order: Order
    program: Program
    host: str
    seen: Replica
    steady: Callable[[], float]
    lines: list[LogLine] = field(default_factory=list)
    dropped: int = 0  # lines that are no longer kept
    changed: asyncio.Event | None = None
    end: asyncio.TimerHandle | None = None
    begun: float | None = None

    @property
    def age(self) -> float:
        """For how many seconds its program has run; 0 if it never did."""
        return self.steady() - self.begun if self.begun is not None else 0.0

    @property
    def key(self) -> tuple[str, str, str]:
        return self.installation, self.order.name.project, self.order.name.app


class Deed(NamedTuple):
    """What an installation is about to do to the machine, for whoever watches.

    `about` is the replica that it is done to, where it is there; `project` and `app` name whom it
    concerns, as far as the verb does; `sent` is when (of the loop) somebody asked for it.
    """

    installation: str
    verb: str
    project: str
    app: str
    about: Running | None
    sent: float


@dataclass(slots=True)
class Ground:
    """What an installation's project has here."""

    volumes: dict[tuple[str, str, int], dict[str, str]] = field(default_factory=dict)
    is_prepared: bool = False


class Machine:
    """The truth about one machine, for tests and for `simulation.engine`.

    Args:
        now: seconds since the epoch.
        faults: what goes wrong with calls.
        name: stands in the ids of its replicas, so that no two machines have the same.
        steady: what programs age by; without it, the time of the running loop.

    While `is_believed`, whoever clears a ground under replicas is at fault, for its lists tell the
    truth; else it is refused, as a real engine does.
    """

    def __init__(
        self,
        now: Callable[[], float],
        faults: Faults | None = None,
        name: str = "sim",
        steady: Callable[[], float] | None = None,
    ) -> None:
        self.now, self._name, self._steady = now, name, steady or _time
        self.faults = faults or Faults()
        self.calls: Counter[str] = Counter()  # by verb
        self.writes: Counter[str] = Counter()  # those that may change the machine
        self.written: Counter[str] = (
            Counter()
        )  # the same by what they are about, as `whom` names it
        self.named: dict[str, Running | None] = {}  # by name on the engine; None is foreign
        self.apps: dict[tuple[str, str, str], dict[ReplicaName, Running]] = {}
        self.hosts: dict[str, Running] = {}
        self.grounds: dict[tuple[str, str], Ground] = {}
        self.missing_images: set[str] = set()  # in no registry
        self.present_images: dict[str, str] = {}  # tag or id to id
        self.watchers: dict[asyncio.Queue[EngineEvent], str] = {}
        self.witness: Callable[[Deed], None] = lambda _deed: None
        self.is_believed = True
        self.gap_seconds = 0.0  # from the making of a replica to its beginning
        self._made = 0

    # What engines do.

    def create(self, installation: str, order: Order) -> Running:
        """Make what `start` makes before the program runs."""
        name = order.name.of(installation)
        if name in self.named:
            raise ImpossibleWorld(f"{name!r} is created twice")
        ports = [port.name for port in order.ports]
        if len(set(ports)) < len(ports) or min(order.name.revision, order.uid) < 0:
            raise ImpossibleWorld(f"{name!r} is an order that no valid spec makes: {order}")
        self._made += 1
        host = f"10.{self._made >> 16 & 255}.{self._made >> 8 & 255}.{self._made & 255}"
        seen = Replica(
            id=f"{self._name}-{self._made}",
            name=order.name,
            uid=order.uid,
            digest=order.digest,
            position=order.position,
            state=ReplicaState.CREATED,
            addresses=tuple(Address(port.name, host, port.port) for port in order.ports),
        )
        made = Running(installation, order, program_of(order), host, seen, self._steady)
        self.named[name] = self.hosts[host] = made
        self.apps.setdefault(made.key, {})[order.name] = made
        for volume in order.volumes:
            self.volume(made, volume)
        return made

    def begin(self, running: Running) -> None:
        """Run its program."""
        running.begun = running.steady()
        running.seen = msgspec.structs.replace(
            running.seen, state=ReplicaState.RUNNING, started_at=self.now()
        )
        self.write_line(running, "stdout", "serving")
        self.write_line(running, "stderr", "listening")
        self.tell(running)
        lives, code = running.program.lives, running.program.exit_code
        if lives <= 0:
            self.finish(running, code)
        elif lives < math.inf:
            loop = asyncio.get_running_loop()
            running.end = loop.call_later(lives, self.finish, running, code)

    def finish(self, running: Running, exit_code: int, reason: str = "") -> None:
        """End its program. One that does not run is left as it is."""
        if running.seen.state is not ReplicaState.RUNNING:
            return
        running.seen = msgspec.structs.replace(
            running.seen,
            state=ReplicaState.EXITED,
            finished_at=self.now(),
            exit_code=exit_code,
            reason=reason,
        )
        self._forget_timer(running)
        self.tell(running)

    def keep(self, running: Running) -> None:
        """Mark one that has ended as kept."""
        if running.seen.state is ReplicaState.EXITED:
            running.seen = msgspec.structs.replace(running.seen, state=ReplicaState.KEPT)
            self.tell(running)

    def rename(self, kept: Running, order: Order) -> None:
        """Make of a kept one the ordered one, which does not run yet; its handle stays."""
        before, name = kept.order.name, order.name.of(kept.installation)
        if name in self.named or kept.seen.state is not ReplicaState.KEPT:
            raise ImpossibleWorld(f"{before} cannot become {name!r}")
        del self.apps[kept.key][before], self.named[before.of(kept.installation)]
        kept.order, kept.program = order, program_of(order)
        kept.seen = msgspec.structs.replace(
            kept.seen,
            name=order.name,
            state=ReplicaState.CREATED,
            started_at=None,
            finished_at=None,
            exit_code=None,
            reason="",
        )
        self.named[name] = self.apps[kept.key][order.name] = kept

    def discard(self, running: Running) -> None:
        """Take it away, whatever it does. One that is gone stays gone."""
        name = running.order.name
        app = self.apps.get(running.key, {})
        if app.get(name) is not running:
            return
        self.finish(running, KILLED)
        del app[name], self.named[name.of(running.installation)]
        self.hosts.pop(running.host, None)
        if not app:
            del self.apps[running.key]
        self._forget_timer(running)
        self.tell(running)

    def volume(self, running: Running, volume: Volume) -> dict[str, str]:
        """The files on one of its volumes, made when missing."""
        name = running.order.name
        ground = self.ground(running.installation, name.project)
        slot = -1 if volume.scope == "app" else name.slot
        return ground.volumes.setdefault((name.app, volume.name, slot), {})

    def ground(self, installation: str, project: str) -> Ground:
        return self.grounds.setdefault((installation, project), Ground())

    def owned(self, installation: str, app: tuple[str, str] | None) -> Iterator[Running]:
        """The replicas of an installation; those of one app cost no more than they are."""
        if app is not None:
            return iter(self.apps.get((installation, *app), {}).values())
        owned = (all_ for (owner, _, _), all_ in self.apps.items() if owner == installation)
        return chain.from_iterable(replicas.values() for replicas in owned)

    def find(self, installation: str, name: ReplicaName) -> Running | None:
        return self.apps.get((installation, name.project, name.app), {}).get(name)

    def tell_witness(
        self, installation: str, verb: str, name: ReplicaName, about: Running | None, sent: float
    ) -> None:
        """Something is about to be done to one replica."""
        self.witness(Deed(installation, verb, name.project, name.app, about, sent))

    def write_line(self, running: Running, stream: str, text: str) -> None:
        if len(running.lines) >= LOG_LINES:
            del running.lines[: LOG_LINES // 2]
            running.dropped += LOG_LINES // 2
        running.lines.append(LogLine(self.now(), stream, text.encode()))
        if running.changed:
            running.changed.set()

    def tell(self, running: Running) -> None:
        """Let the watchers of its installation know; followers of its log too."""
        if running.changed:
            running.changed.set()
        event = EngineEvent((running.order.name.project, running.order.name.app))
        for queue, installation in self.watchers.items():
            if installation != running.installation or self.faults.unavailable:
                continue
            if self.faults.loses(event):
                continue
            if queue.full():  # The watcher missed something: it must list again.
                _empty(queue)
                queue.put_nowait(EngineEvent(None))
            else:
                queue.put_nowait(event)

    @staticmethod
    def _forget_timer(running: Running) -> None:
        if running.end:
            running.end.cancel()
            running.end = None


def _time() -> float:
    return asyncio.get_running_loop().time()


def whom(verb: str, about: ReplicaName | str | tuple[str, str] | None) -> str:
    """What a call is about: the stream of an app or a project, or an image."""
    match about:
        case ReplicaName(project=project, app=app) | (project, app):
            return Ref("App", project, app).stream
        case str() if verb == "resolve":
            return f"image {about}"
        case _:
            return f"Project/{about}"


def _empty(queue: asyncio.Queue[EngineEvent]) -> None:
    while not queue.empty():
        queue.get_nowait()
