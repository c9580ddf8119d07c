"""Seeded bugs, and the proof that worlds catch them.

Each mutant breaks one thing that the real code or a real engine does right, as a tired person
might; a hunt runs worlds until an invariant breaks. `python -m tests.simulation.mutants` prints
the table of what caught each, and fails if one gets away.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple
from unittest.mock import patch

import msgspec
import structlog
from rich.console import Console
from rich.table import Table

from bus.log import Appended, IdempotencyKey, NewEvent
from domain.secret import SecretText
from projections.desired import DesiredState
from reconcilers import health, orders, replica_facts, replicas
from reconcilers.following import Following
from reconcilers.ports import EngineError, Replica
from reconcilers.projecting import Snapshot
from reconcilers.queue import KeyQueue, Priority
from reconcilers.removal import Remover
from reconcilers.replicas import Remove, Stop
from reconcilers.surroundings import Gate
from reconcilers.targets import TargetView
from reconcilers.worker import Worker
from simulation import seeds
from simulation.disk import Disk, Request, Snapshots
from simulation.engine import SimulatedGrounds
from simulation.guarded import GuardedLog
from simulation.invariants.violations import Invariant, Violation
from simulation.knobs import MOST, Fault
from simulation.log import SimulatedLog
from simulation.machine import Machine, Running
from simulation.secrets import SimulatedSecrets
from tests.simulation import adoption_mutants as adopted
from tests.simulation import cluster_mutants as bugs
from tests.simulation import meeting, replacing, starving, taking
from tests.simulation import router_mutants as routed
from tests.simulation import serving_mutants as served

BUDGET: Final = 15
"""Seeds within which each must be caught."""

type Patched = AbstractContextManager[object]


class Catch(NamedTuple):
    """By which invariant a mutant was caught, after how many seeds, and in which words."""

    invariant: Invariant
    seeds: int
    what: str


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A bug, in force while `patched` lasts, and the faults that it is hunted with."""

    name: str
    patched: Callable[[], Patched]
    faults: Sequence[Fault] = ()
    rates: Mapping[Fault, float] = field(default_factory=dict)
    minutes: float = 10.0
    clusters: bool = False
    routes: bool = False
    keeps: bool = False
    caught: "Callable[[Mutant], Catch | None] | None" = None
    """Looks for it in another way than by seeds."""


def _starved(_mutant: Mutant) -> Catch | None:
    waited = starving.wait_of_a_fresh_intent()
    if waited <= starving.PROMPT_SECONDS:
        return None
    return Catch(Invariant.PROMPT, 1, f"a fresh intent waited for {waited:.1f} s")


def _by_story(broken: Callable[[], Sequence[Violation]]) -> Callable[[Mutant], Catch | None]:
    """Looks for a mutant in one story, where no luck is needed."""

    def caught(_mutant: Mutant) -> Catch | None:
        found = broken()
        return Catch(found[0].invariant, 1, found[0].what) if found else None

    return caught


def _told_otherwise(mutant: Mutant) -> Catch | None:
    """One seed in two processes that order sets differently."""
    for number in range(1, BUDGET + 1):
        digests = {_digest_elsewhere(mutant, number, hash_seed) for hash_seed in ("1", "2")}
        if len(digests) > 1:
            return Catch(Invariant.SAME, number, "one seed told two stories")
    return None


def _digest_elsewhere(mutant: Mutant, number: int, hash_seed: str) -> str:
    command = [sys.executable, "-m", "tests.simulation.mutants", mutant.name, str(number)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def hunt(mutant: Mutant, budget: int = BUDGET) -> Catch | None:
    """Run worlds until one catches it; None if it gets away."""
    if mutant.caught is not None:
        with mutant.patched():
            return mutant.caught(mutant)
    rates = {fault: MOST[fault] for fault in mutant.faults} | dict(mutant.rates)
    with mutant.patched():
        for number in range(1, budget + 1):
            outcome = seeds.run(
                number,
                rates,
                minutes=mutant.minutes,
                clusters=mutant.clusters,
                routes=mutant.routes,
                keeps=mutant.keeps,
                workers=1,
            )
            if outcome.violations:
                first = outcome.violations[0]
                return Catch(first.invariant, number, first.what)
    return None


# -- the log -----------------------------------------------------------------------------------


def _acknowledged_too_early() -> Patched:
    """The answer goes out before the fsync."""
    return patch.object(SimulatedLog, "ANSWERS_FIRST", new=True)


def _key_ignored() -> Patched:
    """Every attempt of a client is a new intent."""
    original = GuardedLog.append

    async def append(
        self: GuardedLog,
        events: Sequence[NewEvent],
        *,
        expect: Mapping[str, int],
        key: IdempotencyKey | None = None,
        outcome: bytes = b"",
    ) -> Appended:
        if key is not None:
            _attempts[key.key] = number = _attempts.get(key.key, 0) + 1
            key = key._replace(key=f"{key.key}-{number}")
        return await original(self, events, expect=expect, key=key, outcome=outcome)

    _attempts: dict[str, int] = {}
    return patch.object(GuardedLog, "append", append)


def _keys_forgotten() -> Patched:
    """The log does again what it has done under a key."""
    original = Disk.add

    def add(self: Disk, group: Any, request: Request) -> Appended:
        if request.key is not None:
            name = (request.key.actor, request.key.key)
            group.keys.pop(name, None)
            self.keys.pop(name, None)
        return original(self, group, request)

    return patch.object(Disk, "add", add)


def _seals_unchained() -> Patched:
    """A seal is over its own event alone."""
    original = Disk._keep

    def keep(self: Disk, event: Any) -> None:
        original(self, event)
        self._seals[-1] = b"its own"

    return patch.object(Disk, "_keep", keep)


def _versions_not_expected() -> Patched:
    """An intent is appended, whatever happened since it was decided."""
    original = Disk.add

    def add(self: Disk, group: Any, request: Request) -> Appended:
        return original(self, group, request._replace(expect={}))

    return patch.object(Disk, "add", add)


def _snapshot_believed() -> Patched:
    """A snapshot is taken for whole, and of this history, without a look."""

    @contextmanager
    def patched() -> Any:
        original = Snapshots.save

        def save(self: Snapshots, name: str, position: int, seal: bytes, data: bytes) -> None:
            state = DesiredState(lambda _kind, _data: None)
            state.load(data)
            state.position += 1  # it was torn: it claims more than it holds
            original(self, name, position + 1, seal, state.dump())

        async def restored(self: Any) -> DesiredState | None:
            found: Sequence[Snapshot] = list(self._snapshots.found("desired"))
            return None if not found else await self._decoded(found[0])

        with ExitStack() as stack:
            stack.enter_context(patch.object(Snapshots, "save", save))
            stack.enter_context(
                patch("reconcilers.projecting.Projecting._decoded", _decoded_unseen)
            )
            yield

    return patched()


async def _decoded_unseen(_self: object, snapshot: Snapshot) -> DesiredState:
    from bus import codec  # noqa: PLC0415

    desired = DesiredState(codec.decode)
    desired.load(snapshot.data)
    return desired


# -- projections -------------------------------------------------------------------------------


def _last_event_dropped() -> Patched:
    """The last event of a page is taken for read, and is not."""
    original = DesiredState.fold

    def fold(self: DesiredState, rows: Sequence[Any]) -> None:
        rows = list(rows)
        original(self, rows[:-1] if len(rows) > 1 else rows)
        self.position = rows[-1][0] if rows else self.position

    return patch("reconcilers.reading.DesiredState.fold", fold)


def _hint_believed() -> Patched:
    """A hint is taken for the state that it only points to."""

    def hint(self: Any, position: int) -> None:
        self._desired.position = max(self._desired.position, position)

    return patch.object(Following, "hint", hint)


def _unknown_skipped() -> Patched:
    """What cannot be read is passed over instead of freezing its stream."""
    original = DesiredState._fold_rarely

    def fold_rarely(self: DesiredState, row: Any) -> None:
        original(self, row)
        self._frozen.clear()

    return patch.object(DesiredState, "_fold_rarely", fold_rarely)


# -- reconcilers -------------------------------------------------------------------------------


def _old_view() -> Patched:
    """Passes act on what was listed two minutes ago."""
    original = TargetView.look
    kept: dict[tuple[int, object], tuple[float, Sequence[Replica]]] = {}

    async def look(self: Any, key: tuple[str, str]) -> Sequence[Replica]:
        now = self._now()
        known = kept.get((id(self), key))
        if known is not None and known[0] <= now < known[0] + 120.0:
            return known[1]
        found = await original(self, key)
        kept[id(self), key] = (now, found)
        return found

    return patch.object(TargetView, "look", look)


def _old_ones_first() -> Patched:
    """The old revision ends before the new one is there."""
    original = replicas._stops

    def stops(want: Any, view: Any) -> list[Stop]:
        early = [Stop(one.replica, keep=False, reason="replaced") for one in view.old]
        return early or original(want, view)

    return patch.object(replicas, "_stops", stops)


def _entry_lost() -> Patched:
    """A key whose pass failed is said to wait, and nobody wakes it."""
    original = KeyQueue.failed

    def failed(self: Any, key: str) -> float:
        delay = original(self, key)
        self._later = [entry for entry in self._later if entry[2] != key]
        return delay

    return patch.object(KeyQueue, "failed", failed)


def _gives_up() -> Patched:
    """After three attempts at a slot nobody tries again."""
    original = replicas._starts

    def starts(want: Any, view: Any, memory: Any) -> Any:
        return [start for start in original(want, view, memory) if start.attempt <= 3]

    return patch.object(replicas, "_starts", starts)


def _failure_passes() -> Patched:
    """A check that failed counts as one that passed."""
    original = health.record

    def record(book: Any, name: str, check: Any, *, passed: bool, message: str, now: float) -> None:
        original(book, name, check, passed=passed or True, message=message, now=now)

    return patch.object(health, "record", record)


def _halt_ignored() -> Patched:
    """A log that went backwards stops nothing."""
    original = Gate.__new__

    def new(cls: type[Gate], *, halted: Any, log_answers: Any, position: Any) -> Gate:
        return original(cls, lambda: None, log_answers, position)

    return patch("reconcilers.assembling.Gate", lambda **parts: new(Gate, **parts))


def _network_left() -> Patched:
    """Nobody clears a project's network."""
    machine_clear = "simulation.engine.SimulatedGrounds.clear"

    async def clear(_self: object, _project: str) -> None:
        return

    return patch(machine_clear, clear)


def _volumes_taken() -> Patched:
    """A deleted app's volumes always go."""
    original = Remover.remove

    async def remove(self: Any, removal: Any, *rest: Any) -> Any:
        return await original(self, msgspec.structs.replace(removal, volumes=True), *rest)

    return patch.object(Remover, "remove", remove)


def _never_converged() -> Patched:
    """The first slot is never as ordered."""
    original = replica_facts._is_new

    def is_new(one: Any, want: Any) -> bool:
        return bool(original(one, want)) and one.slot.number > 0

    return patch.object(replica_facts, "_is_new", is_new)


def _prepared_again() -> Patched:
    """Every replay tick makes the network of every project anew."""
    original = Worker._sweep

    async def sweep(self: Any, view: Any) -> None:
        await original(self, view)
        for stream in self._desired.streams("Project"):
            with suppress(EngineError):
                await view.engine.grounds.prepare(stream.partition("/")[2])

    return patch.object(Worker, "_sweep", sweep)


def _probes_unbounded() -> Patched:
    """All replicas of a revision that cannot run go on trying."""
    return patch.object(replicas, "_probes_too_many", lambda _want, _view: [])


def _dead_not_removed() -> Patched:
    """The dead stay where they are."""
    original = replicas._removals

    def removals(want: Any, view: Any, starting: Any) -> list[Remove]:
        strangers = {one.replica.id for one in view.strangers}
        return [r for r in original(want, view, starting) if r.replica.id in strangers]

    return patch.object(replicas, "_removals", removals)


def _kept_for_ever() -> Patched:
    """Nothing that is kept goes when something newer takes its place."""
    every = lambda _want, view: {one.replica.id for one in view.kept}  # noqa: E731
    return patch.object(replicas, "_staying", every)


def _secret_logged() -> Patched:
    """Somebody wanted to see the order that failed."""
    log = structlog.get_logger("orders")
    original = orders.order

    def order(*args: Any, env: Mapping[str, str | SecretText], **rest: Any) -> Any:
        shown = {k: v.reveal() if isinstance(v, SecretText) else v for k, v in env.items()}
        log.debug("an order", env=shown)
        return original(*args, env=env, **rest)

    return patch.object(orders, "order", order)


def _token_in_clear() -> Patched:
    """What the log holds instead of a secret's values tells them."""

    def token(_self: SimulatedSecrets, values: Mapping[str, SecretText]) -> str:
        return "+".join(value.reveal() for value in values.values())

    return patch.object(SimulatedSecrets, "token", token)


# -- engines -----------------------------------------------------------------------------------


def _owner_forgotten() -> Patched:
    """An engine lists what others own, too, and ends it when it is asked."""
    original_owned, original_find = Machine.owned, Machine.find

    def owned(self: Machine, installation: str, app: Any) -> Any:
        yield from original_owned(self, installation, app)
        if installation == seeds.INSTALLATION:
            yield from original_owned(self, seeds.NEIGHBOUR, app)

    def find(self: Machine, installation: str, name: Any) -> Running | None:
        found = original_find(self, installation, name)
        return found or original_find(self, seeds.NEIGHBOUR, name)

    @contextmanager
    def patched() -> Any:
        with (
            patch.object(Machine, "owned", owned),
            patch.object(Machine, "find", find),
        ):
            yield

    return patched()


def _others_network_cleared() -> Patched:
    """A project's network goes by its name, whoever made it, and volumes with it."""
    original = SimulatedGrounds.clear

    async def clear(self: Any, project: str) -> None:
        await original(self, project)
        for (_, named), ground in self._machine.grounds.items():
            if named == project:
                ground.is_prepared = False
                ground.volumes.clear()

    return patch.object(SimulatedGrounds, "clear", clear)


def _tick_first() -> Patched:
    """A replay tick is as urgent as an intent."""
    original = KeyQueue.add

    def add(self: KeyQueue, key: str, _priority: Priority) -> None:
        original(self, key, Priority.INTENT)

    return patch.object(KeyQueue, "add", add)


def _order_by_chance() -> Patched:
    """Replicas are started in the order in which a set has them."""
    original = replicas._starts

    def starts(want: Any, view: Any, memory: Any) -> Any:
        return sorted(original(want, view, memory), key=lambda s: hash(f"{s.slot} {s.attempt}"))

    return patch.object(replicas, "_starts", starts)


LOST: Final = (Fault.LOG_POWER_CUT, Fault.LOG_TORN_RECORD)
MUTANTS: Final = (
    Mutant(name="ack before fsync", patched=_acknowledged_too_early, faults=LOST),
    Mutant(name="idempotency key ignored", patched=_key_ignored, faults=(Fault.LOG_LOST_REPLY,)),
    Mutant(name="keys forgotten", patched=_keys_forgotten, faults=(Fault.LOG_LOST_REPLY,)),
    Mutant(name="seals not chained", patched=_seals_unchained),
    Mutant(
        name="no expected version",
        patched=_versions_not_expected,
        faults=(Fault.INTENT_CONTRADICTORY, Fault.INTENT_ABA, Fault.LOG_SLOW_SYNC),
    ),
    Mutant(name="snapshot not verified", patched=_snapshot_believed, faults=(Fault.CRASH_AFTER,)),
    Mutant(name="last event of a batch dropped", patched=_last_event_dropped),
    Mutant(name="hint carries state", patched=_hint_believed),
    Mutant(
        name="unknown event skipped",
        patched=_unknown_skipped,
        rates={Fault.POISON_EVENT: 2.0, Fault.REPLICA_KILLED: 10.0},
    ),
    Mutant(name="acts on a stale list", patched=_old_view),
    Mutant(name="delete before create", patched=_old_ones_first),
    Mutant(
        name="queue entry lost on error",
        patched=_entry_lost,
        faults=(Fault.ENGINE_ERROR_BEFORE, Fault.ENGINE_ERROR_AFTER),
    ),
    Mutant(name="retry gives up", patched=_gives_up, faults=(Fault.REPLICA_KILLED,), minutes=20.0),
    Mutant(
        name="failed probe counted as success",
        patched=_failure_passes,
        faults=(Fault.REPLICA_NEVER_READY,),
    ),
    Mutant(
        name="rewound log ignored",
        patched=_halt_ignored,
        rates={Fault.LOG_FLIPPED_BIT: 1.0, Fault.REPLICA_KILLED: 10.0},
        minutes=20.0,
    ),
    Mutant(name="network leaked", patched=_network_left),
    Mutant(name="volumes taken unasked", patched=_volumes_taken),
    Mutant(name="never converged", patched=_never_converged, faults=(Fault.REPLICA_KILLED,)),
    Mutant(name="network made anew at rest", patched=_prepared_again),
    Mutant(
        name="probes without bound",
        patched=_probes_unbounded,
        rates={Fault.REPLICA_NEVER_READY: 1.0},
    ),
    Mutant(name="dead replicas left", patched=_dead_not_removed, faults=(Fault.REPLICA_KILLED,)),
    Mutant(name="secret in a log line", patched=_secret_logged),
    Mutant(name="secret in a token", patched=_token_in_clear),
    Mutant(name="owner forgotten", patched=_owner_forgotten),
    Mutant(name="network of others cleared", patched=_others_network_cleared),
    Mutant(name="replay tick at high priority", patched=_tick_first, caught=_starved),
    Mutant(name="unordered iteration", patched=_order_by_chance, caught=_told_otherwise),
    Mutant(
        name="objects pruned by name",
        patched=bugs.pruned_by_name,
        clusters=True,
        caught=_by_story(replacing.broken_by_a_removal),
    ),
    Mutant(
        name="stale objects believed",
        patched=bugs.stale_objects,
        minutes=3.0,
        faults=(Fault.CLUSTER_EDITED, Fault.CLUSTER_DELETED),
        clusters=True,
    ),
    Mutant(name="installation label ignored", patched=bugs.installation_ignored, clusters=True),
    Mutant(
        name="name of others applied over",
        patched=bugs.name_taken_over,
        rates={Fault.CLUSTER_SQUATTED: 2.0},
        clusters=True,
    ),
    Mutant(
        name="refused objects retried hot",
        patched=bugs.refusal_retried_hot,
        rates={Fault.CLUSTER_REFUSES: 0.5},
        minutes=3.0,
        clusters=True,
    ),
    Mutant(name="all pods down in a rollout", patched=bugs.all_pods_at_once, clusters=True),
    Mutant(name="objects applied at every look", patched=bugs.always_applied, clusters=True),
    Mutant(name="secret in a config map", patched=bugs.secret_in_a_config_map, clusters=True),
    Mutant(
        name="stray objects left",
        patched=bugs.strays_left,
        rates={Fault.INTENT_ABA: 6.0},  # specs change often
        minutes=4.0,
        clusters=True,
    ),
    Mutant(name="kept for ever", patched=_kept_for_ever, keeps=True),
    Mutant(name="ended before it is withdrawn", patched=routed.ended_before_withdrawn, routes=True),
    Mutant(name="propagation not waited for", patched=routed.propagation_forgotten, routes=True),
    Mutant(name="published before it is ready", patched=routed.published_before_ready, routes=True),
    Mutant(
        name="edited router believed",
        patched=routed.never_looked_again,
        rates={Fault.ROUTER_EDITED: 2.0},
        minutes=3.0,
        routes=True,
    ),
    Mutant(
        name="router told all the time",
        patched=routed.told_all_the_time,
        minutes=1.0,
        routes=True,
    ),
    Mutant(
        name="pod signalled at once",
        patched=served.signalled_at_once,
        caught=_by_story(partial(meeting.told, meeting.there_and_back)),
    ),
    Mutant(
        name="URL moves before its app",
        patched=served.followed_at_once,
        caught=_by_story(partial(meeting.told, meeting.there_and_back)),
    ),
    Mutant(
        name="claims not looked at",
        patched=served.claims_not_looked_at,
        clusters=True,
        routes=True,
        minutes=5.0,
    ),
    Mutant(
        name="longer paths forgotten",
        patched=served.longer_paths_forgotten,
        caught=_by_story(partial(meeting.told, meeting.with_a_context)),
    ),
    Mutant(
        name="uid not compared",
        patched=adopted.uid_not_compared,
        rates={Fault.CLUSTER_OCCUPIED: 2.0, Fault.CLUSTER_REMADE: 2.0, Fault.INTENT_ADOPTS: 6.0},
        minutes=5.0,
        clusters=True,
    ),
    Mutant(
        name="data taken over unasked",
        patched=adopted.data_taken_unasked,
        caught=_by_story(partial(taking.told, taking.taken_without_a_word_of_data)),
    ),
    Mutant(
        name="takeover never over",
        patched=adopted.never_concluded,
        caught=_by_story(partial(taking.told, taking.all_taken_over)),
    ),
    Mutant(
        name="namespace ended under others",
        patched=adopted.namespaces_end_unseen,
        caught=_by_story(partial(taking.told, taking.beside_somebody)),
    ),
)


def _digest(name: str, number: int) -> str:
    """The hash of one seed's story, with a mutant about."""
    (mutant,) = [one for one in MUTANTS if one.name == name]
    with mutant.patched():
        world = seeds.run(
            number, {}, minutes=3.0, clusters=False, routes=False, keeps=False, workers=1
        )
        return world.digest


def main() -> int:
    """Hunt all mutants and print what caught each."""
    if len(sys.argv) == 3:
        print(_digest(sys.argv[1], int(sys.argv[2])))
        return 0
    table = Table("Bug", "Caught by", "Seeds", "In words")
    escaped = 0
    for mutant in MUTANTS:
        catch = hunt(mutant)
        escaped += catch is None
        if catch is None:
            table.add_row(mutant.name, "NOTHING", f"> {BUDGET}", "")
        else:
            table.add_row(mutant.name, catch.invariant.value, str(catch.seeds), catch.what[:80])
    Console().print(table)
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main())
