"""A world that begins with an exported log: somebody's own history, under faults.

What ran on Docker or as processes runs on simulated machines, one for each target, behind a router
where it had one. Images are there, and secrets have values that stand in for the real ones. Nothing
runs yet: the world begins as after a host that was started anew, and has to become what its log
says.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

import msgspec

from bus import codec
from bus.exports import Export
from bus.log import StoredEvent
from bus.redaction import respecified
from domain import app as app_spec
from domain import events as e
from domain import target as target_spec
from domain.app import AppSpec, FromSecret
from domain.names import Ref
from domain.secret import SecretText
from projections.desired import DesiredState
from simulation import seeds
from simulation.asking import SECRET_MARK, People
from simulation.disk import Disk
from simulation.knobs import Fault
from simulation.program import ImpossibleWorld, program_of_words
from simulation.secrets import SimulatedSecrets
from simulation.seeds import Outcome
from simulation.world import EPOCH, World

ASKED: Final = frozenset(
    {
        Fault.REPLICA_DIES_AT_START,
        Fault.REPLICA_FLAPS,
        Fault.REPLICA_NEVER_READY,
        Fault.INTENT_CONTRADICTORY,
        Fault.INTENT_ABA,
    }
)
"""The faults that are intents: they come only where intents are asked for."""
NEEDS_APPS: Final = ASKED | {Fault.POISON_EVENT}
SPARE: Final = "spare"  # a machine for a history without targets

type Keys = Mapping[tuple[Ref, str], frozenset[str]]
"""The keys of each Secret under each of its tokens."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a world begins with. `apps` are those that exist at its end, `begins` is its last time.

    `events` are the log's own, but that targets are simulated, and that no app of somebody else's
    speaks the words of simulated programs by chance.
    """

    events: Sequence[StoredEvent]
    targets: Sequence[str]
    apps: Sequence[Ref]
    images: Sequence[str]
    secrets: Keys
    begins: float


def of(export: Export) -> History:
    """The history that was exported."""
    events = [_adapted(row) for row in export.events]
    facts = list(_readable(events))
    desired = DesiredState(codec.decode)
    desired.fold(events)
    targets = {Ref.parse(s).name for s, event in facts if isinstance(event, e.TargetDefined)}
    apps = [stream for stream in sorted(desired.streams("App")) if desired.app(stream)]
    times = [event.at.timestamp() for _, event in facts]
    return History(
        events=events,
        targets=sorted(targets) or [SPARE],
        apps=[Ref.parse(stream) for stream in apps],
        images=sorted(_images(facts)),
        secrets=_keys(facts),
        begins=max(times, default=EPOCH),
    )


def run(
    history: History,
    seed: int,
    rates: Mapping[Fault, float] | None = None,
    *,
    minutes: float = 20.0,
    asks: bool = False,
    told: Callable[[str], None] | None = None,
) -> Outcome:
    """Live through one world that begins with a history.

    Args:
        history: what happened before.
        seed: decides everything else.
        rates: the faults; by default those that the seed gives itself.
        minutes: how long chaos lasts, in virtual time.
        asks: whether people go on asking for things.
        told: gets every line of the trace.
    """
    chosen = seeds.rates_of(seed, rates)
    for fault in () if asks and history.apps else NEEDS_APPS if not history.apps else ASKED:
        chosen.pop(fault, None)

    async def live() -> Outcome:
        world, people = _begun(history, seed, told)
        asking = asks and bool(history.apps)
        return await seeds.lived(world, people, chosen, minutes=minutes, asks=asking)

    return seeds.alone(live)


def _begun(history: History, seed: int, told: Callable[[str], None] | None) -> tuple[World, People]:
    rng = random.Random(f"{seed}:shape")
    disk, secrets = Disk(), SimulatedSecrets()
    disk.fill(history.events)
    for number, ((ref, token), keys) in enumerate(sorted(history.secrets.items())):
        values = {key: SecretText(f"{SECRET_MARK}-{number}-{key}") for key in sorted(keys)}
        secrets.stand_in(ref, token, values)
    world = World(
        seed,
        targets=history.targets,
        propagation=seeds.PROPAGATIONS[0],
        settings=seeds.settings_of(rng),
        direct=rng.random() < 0.7,
        told=told,
        disk=disk,
        secrets=secrets,
        epoch=history.begins,
    )
    for machine in world.machines.values():
        machine.present_images |= {image: image for image in history.images}
    world.reread()
    people = People(world.rng("people"), history.apps, history.targets, history.images)
    return world, people


def _readable(events: Sequence[StoredEvent]) -> Iterator[tuple[str, e.Event]]:
    for row in events:
        try:
            yield row.stream, codec.decode(row.type, row.data)
        except codec.Undecodable:
            continue  # its stream is frozen, here as there


def _adapted(row: StoredEvent) -> StoredEvent:
    """The same event in a world where everything is simulated."""
    try:
        event = codec.decode(row.type, row.data)
        match event:
            case e.TargetDefined(spec=raw):
                spec = replace(target_spec.decode(bytes(raw)), engine="simulated", docker=None)
                raw = msgspec.Raw(target_spec.encode(spec))
                return row._replace(data=codec.encode(msgspec.structs.replace(event, spec=raw)))
            case e.AppEvent(spec=raw, secrets=tokens):
                stored, digest = respecified(bytes(raw), tokens, _harmless)
                app = msgspec.structs.replace(event, spec=msgspec.Raw(stored), digest=digest)
                return row._replace(data=codec.encode(app))
            case _:
                return row
    except (codec.Undecodable, ValueError):
        return row


def _harmless(spec: AppSpec) -> AppSpec:
    """The spec of a program that runs well, unless it was written for a simulated machine."""
    chosen = spec.env.get("SIMULATED")
    if isinstance(chosen, str) and _is_program(chosen):
        return spec
    speaks = chosen is not None or spec.args[:1] in (("serve",), ("exit",))
    return replace(spec, env=app_spec.in_order({**spec.env, "SIMULATED": ""})) if speaks else spec


def _is_program(words: str) -> bool:
    try:
        program_of_words(words)
    except (ImpossibleWorld, ValueError):
        return False
    return True


def _images(facts: Sequence[tuple[str, e.Event]]) -> set[str]:
    """The images that somebody named, or that a tag was resolved to."""
    found: set[str | None] = set()
    for _, event in facts:
        if isinstance(event, e.AppEvent):
            found |= {event.image, event.paused.image if event.paused else None}
            found.add(_spec(event).image)
    return {image for image in found if image}


def _keys(facts: Sequence[tuple[str, e.Event]]) -> Keys:
    found: dict[tuple[Ref, str], frozenset[str]] = {}
    for stream, event in facts:
        match event:
            case e.SecretSet(token=token, keys=keys):
                found[Ref.parse(stream), token] = frozenset(keys)
            case e.AppEvent(secrets=tokens):
                used = _used(_spec(event))
                for name, token in tokens.items():
                    ref = Ref("Secret", Ref.parse(stream).project, name)
                    found.setdefault((ref, token), used.get(name, frozenset()))
            case _:
                pass
    return found


def _used(spec: AppSpec) -> dict[str, frozenset[str]]:
    """The keys of each Secret that a spec refers to."""
    used: dict[str, frozenset[str]] = {}
    for value in spec.env.values():
        if isinstance(value, FromSecret):
            name, key = value.secret_ref.name, value.secret_ref.key
            used[name] = used.get(name, frozenset()) | {key}
    return used


def _spec(event: e.AppEvent) -> AppSpec:
    try:
        return app_spec.decode(bytes(event.spec))
    except ValueError:
        return AppSpec()
