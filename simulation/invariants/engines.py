"""Invariants of what is done to machines: each deed is judged by the truth at its moment."""

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Final, final

from domain import events as e
from domain.names import Ref
from domain.quantities import seconds
from projections.desired import DesiredApp
from reconcilers.ports import Replica, ReplicaName, ReplicaState
from simulation.cluster.nodes import STRANGER
from simulation.invariants.truth import PROBES_LAG, Truth
from simulation.invariants.violations import Invariant, Report
from simulation.machine import Deed, Running

BEGUN: Final = 5.0  # seconds in which what was begun before may still arrive
ON_THE_WAY: Final = 0.5  # seconds from a decision to its deed: what is lost meanwhile nobody knew
ROUTED: Final = 10.0  # seconds that a router may take to let go of a replica that drains then
MOST_ASKED: Final = 5  # replicas that anybody asks for in a world
EVERYTHING: Final = ""  # instead of the stream of an app
KNOWS_AFTER: Final = 20.0  # seconds after which a life that reads the log knows what is in it

type _Ground = tuple[bool, tuple[tuple[str, str, int], ...]]
"""Of a project on a machine: whether it has a network, and its volumes, in order of making."""


@final
class EngineInvariants:
    """Told of every deed right before it happens.

    `rewound_since` says since when (of the clock) all lives know that the log went backwards. While
    several control planes act, one wakes up, or a call is late, what is done to the apps that it
    touches may be confused: that is judged by how the world ends. Nothing excuses who knows that
    the log went backwards, or that a stream cannot be read, when it asks for something.
    """

    def __init__(self, truth: Truth, report: Report, clock: Callable[[], float]) -> None:
        self._truth, self._report, self._clock = truth, report, clock
        self._foreign: dict[tuple[str, str], str] = {}
        self._theirs: list[Running | None] = []
        self._shown: list[Replica | None] = []
        self._grounds: dict[tuple[str, str, str], _Ground] = {}
        self._named: dict[str, dict[str, Running | None]] = {}
        self._spoken: dict[str, float] = {}
        self._ended_by_us: set[ReplicaName] = set()
        self._agreed: dict[str, deque[tuple[float, int]]] = defaultdict(lambda: deque(maxlen=8))
        self.rewound_since: Callable[[], float | None] = lambda: None
        self.frozen_since: dict[str, float] = {}
        self.lost_at = -1.0  # when the log last lost something: what was asked for before, maybe
        self._confused: dict[str, float] = {}  # until when, by stream; all of them under EVERYTHING
        self._stood_until = 0.0
        self._unread_until = 0.0

    def deed(self, deed: Deed) -> None:
        truth = self._truth
        if deed.installation != truth.installation:
            return
        stream = Ref("App", deed.project, deed.app).stream
        words = f"{deed.verb} of {_named(deed)}"
        if deed.verb == "remove_volumes" and deed.sent > self.lost_at:
            self._check_volumes(stream, words)
        if deed.verb == "start":
            self._check_surge(deed)
        if deed.verb == "signal":  # which follows an eviction
            return
        if deed.verb == "evict":  # by the cluster itself, which goes on with what was begun
            if not self.is_confused(stream):
                self._check_needed(deed, words)
            return
        since = self.rewound_since()
        if since is not None and deed.sent > max(since, self._stood_until) + BEGUN:
            self._report(Invariant.REWOUND, words)
        frozen = self.frozen_since.get(stream)
        if frozen is not None and deed.sent > max(frozen, self._unread_until) + KNOWS_AFTER:
            self._report(Invariant.FROZEN, f"{words}, although {stream} cannot be read")
        if deed.verb in ("stop", "remove") and not self.is_confused(stream):
            self._check_needed(deed, words)

    def foreign(self) -> None:
        """What belongs to others is as it was."""
        grounds = self._others_grounds()
        if grounds != self._grounds:
            for place in sorted(self._grounds):
                if grounds.get(place) != self._grounds[place]:
                    was, now = _written(self._grounds[place]), _written(grounds.get(place))
                    words = f"network and volumes of {place}: it was {was}, and is {now}"
                    self._report(Invariant.OWNED, words)
            self._grounds = grounds
        machines = self._truth.machines
        if _shown(self._theirs) == self._shown and all(
            self._named.get(target) == machine.named for target, machine in machines.items()
        ):
            return
        theirs = {
            (target, name): running
            for target, machine in machines.items()
            for name, running in machine.named.items()
            if running is None or running.installation not in (self._truth.installation, STRANGER)
        }
        present = {key: _state(running) for key, running in theirs.items()}
        for key, state in self._foreign.items():
            if present.get(key) != state:
                self._report(Invariant.OWNED, f"{key} was {state}, and is {present.get(key)}")
        self._foreign, self._theirs = present, list(theirs.values())
        self._shown = _shown(self._theirs)
        self._named = {target: dict(machine.named) for target, machine in machines.items()}

    def _others_grounds(self) -> dict[tuple[str, str, str], _Ground]:
        """Whether others have networks, and their volumes, by target, owner and project."""
        return {
            (target, owner, project): (ground.is_prepared, tuple(ground.volumes))
            for target, machine in self._truth.machines.items()
            for (owner, project), ground in machine.grounds.items()
            if owner != self._truth.installation
        }

    def foreign_changed(self) -> None:
        """The world itself did something to what belongs to others."""
        self._foreign, self._theirs, self._shown, self._named = {}, [], [], {}

    def confused(self, seconds: float, stream: str = EVERYTHING) -> None:
        """For so long, what is done to an app may rest on what was true a moment ago."""
        until = self._confused.get(stream, 0.0)
        self._confused[stream] = max(until, self._clock() + seconds)

    def is_confused(self, stream: str = EVERYTHING) -> bool:
        """Whether what is done to an app may rest on what was true a moment ago."""
        untils = (self._confused.get(key, 0.0) for key in (stream, EVERYTHING))
        return self._clock() < max(untils)

    def stands(self, seconds: float) -> None:
        """For so long, somebody who acts does nothing at all, and then goes on where it was."""
        self._stood_until = max(self._stood_until, self._clock() + seconds)
        self.unread(seconds)

    def unread(self, seconds: float) -> None:
        """For so long, somebody who acts cannot read the log."""
        self._unread_until = max(self._unread_until, self._clock() + seconds)

    def _check_surge(self, deed: Deed) -> None:
        """No app has many more replicas than two revisions with their surge may have."""
        truth = self._truth
        app = truth.desired.app(Ref("App", deed.project, deed.app).stream)
        if app is None:
            return
        allowed = 2 * (MOST_ASKED + app.wanted + app.spec.rollout.max_surge)
        running = len(truth.running(deed.project, deed.app))
        if running > allowed:
            self._report(Invariant.SURGE, f"{app.ref} runs {running} replicas, of {app.wanted}")

    def _check_needed(self, deed: Deed, words: str) -> None:
        """Nobody ends a healthy replica that is needed now."""
        truth, one = self._truth, deed.about
        app = truth.desired.app(Ref("App", deed.project, deed.app).stream)
        if one is None or app is None or one.order.uid != app.uid or not app.wanted:
            return
        if not truth.is_well(one):
            return
        disturbed = truth.disturbed.get(app.ref.stream, -PROBES_LAG)
        if self._clock() < disturbed + PROBES_LAG or one.seen.edited:
            return
        present = truth.running(app.ref.project, app.ref.name)
        well = [r for target, r in present if truth.is_well(r) and not truth.is_doomed(target, r)]
        well += self.lost_lately(app)
        self._ended_by_us.add(one.order.name)
        if app.spec.rollout.strategy == "stopFirst" or app.paused is not None:
            return
        if self.is_settled(app) and self._is_wanted(app, one) and not _doubled(one, well):
            self._report(Invariant.NEEDED, f"{words}, which is of the present revision")
        least = self.least(app)
        slots = {r.order.name.slot for r in well if r is not one}
        if len(well) - 1 < least and len(slots) < least and app.stable:
            self._report(
                Invariant.HEALTHY, f"{words} leaves {len(well) - 1} of at least {least} healthy"
            )

    def lost_lately(self, app: DesiredApp) -> list[Running]:
        """Those that served until they ended by themselves, when another end was decided maybe."""
        rollout = app.spec.rollout
        drain = seconds(rollout.drain) if rollout.drain is not None else 0.0
        ago = ON_THE_WAY + drain + (ROUTED if app.spec.routes else 0.0)
        lately = self._truth.served_lately(app.ref.project, app.ref.name, ago)
        return [one for one in lately if one.order.name not in self._ended_by_us]

    def is_settled(self, app: DesiredApp) -> bool:
        """Whether the last intent is long enough ago for everybody to know it."""
        return self._clock() > self._spoken.get(app.ref.stream, -KNOWS_AFTER) + KNOWS_AFTER

    def least(self, app: DesiredApp) -> int:
        """How many have to serve, as whoever acts may know it: an intent takes time to be read."""
        agreed = app.wanted - app.spec.rollout.max_unavailable
        earlier = [
            least for at, least in self._agreed[app.ref.stream] if at > self._clock() - BEGUN
        ]
        return min([agreed, *earlier])

    def spoken(self, stream: str) -> None:
        """There is a new intent for an app, which is not folded yet."""
        self._spoken[stream] = self._clock()
        app = self._truth.desired.app(stream)
        if app is not None:
            rollout = app.spec.rollout
            at_once = rollout.strategy == "stopFirst"
            least = 0 if at_once else app.wanted - rollout.max_unavailable
            self._agreed[stream].append((self._clock(), least))

    @staticmethod
    def _is_wanted(app: DesiredApp, one: Running) -> bool:
        name = one.order.name
        return (
            name.revision == app.revision
            and one.order.digest == app.digest
            and name.slot < app.wanted
        )

    def _check_volumes(self, stream: str, words: str) -> None:
        asked = any(
            row.type == e.AppDeleted.type and b'"volumes":true' in row.data
            for row in self._truth.disk.stream(stream)
        )
        if not asked:
            self._report(Invariant.VOLUMES, words)


def _doubled(one: Running, well: list[Running]) -> bool:
    slot = (one.order.name.revision, one.order.name.slot)
    return any(r is not one and (r.order.name.revision, r.order.name.slot) == slot for r in well)


def _written(ground: _Ground | None) -> str:
    return str(ground and (ground[0], sorted(map(str, ground[1]))))


def _named(deed: Deed) -> str:
    if deed.about is None:
        return f"{deed.project}/{deed.app}"
    name = deed.about.order.name
    return f"{name.project}/{name.app} r{name.revision}.{name.slot}.{name.attempt}"


def _shown(all_: list[Running | None]) -> list[Replica | None]:
    """What lists show of them: another object whenever anything of it changes."""
    return [one.seen if one is not None else None for one in all_]


def _state(running: Running | None) -> str:
    if running is None:
        return "foreign"
    return "running" if running.seen.state is ReplicaState.RUNNING else "ended"
