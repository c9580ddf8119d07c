"""The application service: the one way in which intents become events.

authorise → load what the rules rely on → decide → append on the condition that all of it is still
so → answer, once it is on disk. A lost race is decided again on fresh state. All interfaces (HTTP,
NATS, the system's own reconcilers) call `IntentService.submit`, and none can do more.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Final, final
from weakref import WeakValueDictionary

import msgspec

from bus import codec
from bus.context import LoadedContext, NotLoaded, Supplied
from bus.log import IdempotencyKey, Log, LogUnavailable, NewEvent, VersionConflict
from bus.manifests import SecretManifest
from bus.secret_values import SecretValues
from bus.secrets import SecretStore
from bus.states import States
from domain import state
from domain.access import Actor, authorise, may
from domain.events import AppEvent, Fact, SecretDeleted
from domain.intents import Apply, Intent, SecretContent
from domain.names import Ref
from domain.refusals import BadValue, Frozen, Refusal
from domain.rules import decide

_encode = msgspec.json.Encoder().encode

MAX_RACES: Final = 50  # lost in a row by one intent before it is told to come back


class Change(msgspec.Struct, gc=False, frozen=True, omit_defaults=True):
    """What became of one resource: `created`, `configured`, `deleted` or `unchanged`."""

    resource: str
    result: str
    generation: int
    events: tuple[str, ...] = ()


class Answer(msgspec.Struct, gc=False, frozen=True):
    """The acknowledgement of one submission: on disk, up to `position`."""

    position: int
    changes: tuple[Change, ...]
    repeated: bool = False


class RecordedRefusal(Refusal):
    """A refusal that was given before under the same idempotency key."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.recorded_code = code


class _Outcome(msgspec.Struct, gc=False, omit_defaults=True):
    """What is stored under an idempotency key. The positions of `changes` come from the log."""

    changes: tuple[Change, ...] = ()
    code: str = ""
    message: str = ""


class Plan(msgspec.Struct, gc=False, frozen=True):
    """What a submission would append: the facts, and the version each stream must be at."""

    facts: Sequence[Fact]
    expect: dict[str, int]
    before: dict[str, state.State]


type Asked = Intent | SecretManifest
_ONE: Final = (Intent, SecretManifest)
type Condition = Callable[[datetime], None]


@final
class IntentService:
    """Decides intents of one installation.

    Args:
        log: where facts go, and where states are folded from.
        secrets: where a Secret's values go before the event that names them.
        now: aware UTC time.
        installation: whose log it is; empty where nobody asks to adopt from another.
        appended: told of every commit with its last position and the streams it wrote; must not
            block. A lost call only delays what follows from the intent.
    """

    def __init__(
        self,
        log: Log,
        secrets: SecretStore,
        *,
        now: Callable[[], datetime],
        installation: str = "",
        appended: Callable[[int, Sequence[str]], None] = lambda _position, _streams: None,
    ) -> None:
        self._log = log
        self._secrets = secrets
        self._now = now
        self._installation = installation
        self._appended = appended
        self._states = States(log)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.values = SecretValues(log, secrets)
        self.acknowledged = 0
        """The highest position that anybody was told of: a reader here must have seen it."""

    async def submit(
        self,
        asked: Sequence[Asked] | Asked,
        *,
        actor: Actor,
        key: str,
        digest: bytes = b"",
        check: Condition | None = None,
    ) -> Answer:
        """Decide and append all of `asked`, or nothing.

        Args:
            asked: one intent or several; several are decided in order, each on what those before
                it bring about.
            actor: who asks; authenticated by the caller.
            key: the idempotency key. The same key and `digest` give the same answer, once.
            digest: over the whole submission as it was sent; of `asked` when empty.
            check: a condition of the sender's beside the rules, such as an expiry: raises a
                `Refusal`. A repeat gets its first answer whatever the condition says now.

        Raises:
            Refusal: nothing changed.
            KeyReused: the key belongs to another submission.
            LogUnavailable: unknown for this key; ask again with the same one.
        """
        items = (asked,) if isinstance(asked, _ONE) else asked
        self._authorise(items, actor)
        token = IdempotencyKey(actor.name, key, digest or self._digest_of(items))
        intents = [item for item in items if isinstance(item, Intent)]
        if len(intents) == len(items):
            answer, gone = await self._raced(intents, actor, token, check)
        else:
            answer, gone = await self._with_values(items, actor, token, check)
        for stream in gone:
            await self.values.erase(stream)
        return answer

    async def _with_values(
        self, items: Sequence[Asked], actor: Actor, token: IdempotencyKey, check: Condition | None
    ) -> tuple[Answer, Sequence[str]]:
        """As `_raced`, with the values of Secrets put where they are kept before."""
        secrets = [item for item in items if isinstance(item, SecretManifest)]
        async with self.values.stored(secrets):
            intents = [self._preview(item) for item in items]
            answer, gone = await self._raced(intents, actor, token, check)
            if answer.repeated:
                await self.values.take_back(secrets)
        return answer, gone

    async def _raced(
        self,
        intents: Sequence[Intent],
        actor: Actor,
        token: IdempotencyKey,
        check: Condition | None,
    ) -> tuple[Answer, Sequence[str]]:
        """Attempt until no other is quicker; return the Secrets that went, too."""
        for race in range(MAX_RACES):
            try:
                return await self._attempt(intents, actor, token, check)
            except VersionConflict as conflict:
                self._states.moved(conflict.stream)
                if race:  # let those who wait for the same stream pass one by one
                    turn = self._turns.setdefault(conflict.stream, asyncio.Lock())
                    async with turn:
                        await self._states.load(conflict.stream)
        raise LogUnavailable(f"lost {MAX_RACES} races in a row; send the intent again")

    async def plan(self, asked: Sequence[Asked], *, actor: Actor) -> tuple[Change, ...]:
        """What `submit` would do now, without doing it. Raises what `submit` would."""
        return (await self.foresee(asked, actor=actor))[0]

    async def foresee(
        self, asked: Sequence[Asked], *, actor: Actor
    ) -> tuple[tuple[Change, ...], Plan]:
        """As `plan`, with the facts that would be appended and the states before them."""
        self._authorise(asked, actor)
        intents = [self._preview(item) for item in asked]
        plan = await self._decide(intents, actor, "dry-run", {})
        return _changes(plan, intents), plan

    async def present(self, stream: str) -> state.State:
        """The present state of one stream, as rules would see it; `Frozen` if unreadable."""
        return (await self._states.load(stream))[1]

    def _authorise(self, asked: Sequence[Asked], actor: Actor) -> None:
        seen: set[Ref] = set()
        for item in asked:
            authorise(actor, item.verb if isinstance(item, Intent) else "apply", item.ref)
            if item.ref in seen:
                rule = "a submission names each resource once"
                raise BadValue("metadata.name", str(item.ref), rule)
            seen.add(item.ref)

    def _digest_of(self, items: Sequence[Asked]) -> bytes:
        """A digest over intents that came without their bytes; of secrets, over their token."""
        return sha256(repr([self._preview(item) for item in items]).encode()).digest()

    def _preview(self, item: Asked) -> Intent:
        """What is decided: of a Secret, the token of its values instead of them."""
        if isinstance(item, Intent):
            return item
        content = SecretContent(
            token=self._secrets.token(item.values), keys=tuple(sorted(item.values))
        )
        return Apply(ref=item.ref, spec=content, labels=item.labels, generation=item.generation)

    async def _attempt(
        self,
        intents: Sequence[Intent],
        actor: Actor,
        token: IdempotencyKey,
        check: Condition | None,
    ) -> tuple[Answer, Sequence[str]]:
        relied: dict[str, int] = {}
        try:
            if check is not None:
                check(self._now())
            plan = await self._decide(intents, actor, token.key, relied)
        except Refusal as refusal:
            outcome = _Outcome(code=refusal.code, message=str(refusal))
            known = await self._log.append((), expect=relied, key=token, outcome=_encode(outcome))
            if known.repeated:
                return self._answered_before(known.outcome, known.positions), ()
            raise
        changes = _changes(plan, intents)
        new = [NewEvent(f.stream, f.event.type, codec.encode(f.event)) for f in plan.facts]
        appended = await self._log.append(
            new,
            expect=plan.expect,
            key=token,
            outcome=_encode(_Outcome(changes=changes)),
        )
        if appended.repeated:
            return self._answered_before(appended.outcome, appended.positions), ()
        self._states.remember(plan.facts, appended.positions, plan.expect, plan.before)
        if not appended.positions:
            return Answer(position=(await self._log.head()).position, changes=changes), ()
        position = appended.positions[-1]
        self.acknowledged = max(self.acknowledged, position)
        self._appended(position, [fact.stream for fact in plan.facts])
        gone = [fact.stream for fact in plan.facts if isinstance(fact.event, SecretDeleted)]
        answer = Answer(position=position, changes=_with_generations(changes, appended.positions))
        return answer, gone

    def _answered_before(self, outcome: bytes, positions: tuple[int, ...]) -> Answer:
        before = msgspec.json.decode(outcome, type=_Outcome)
        if before.code:
            raise RecordedRefusal(before.code, before.message)
        position = (
            positions[-1] if positions else max((c.generation for c in before.changes), default=0)
        )
        changes = before.changes
        if positions:
            changes = _with_generations(changes, positions)
        return Answer(position=position, changes=changes, repeated=True)

    async def _decide(
        self, intents: Sequence[Intent], actor: Actor, cause: str, relied: dict[str, int]
    ) -> Plan:
        """What to append; a refusal leaves in `relied` what it rests on, as old as that may be."""
        supplied = Supplied()
        for intent in intents:  # each is needed: not one by one, with a new start after each
            stream = intent.ref.stream
            if self._states.get(stream) is None:
                supplied.states[stream] = await self._states.load(stream)
        now = self._now()
        while True:
            context = LoadedContext(self._states, supplied)
            try:
                facts = self._decided(context, intents, actor, cause, now)
            except NotLoaded as missing:
                await self._supply(supplied, missing)
            except Refusal:
                relied |= context.expected
                raise
            else:
                return Plan(facts, context.expected, context.loaded)

    def _decided(
        self,
        context: LoadedContext,
        intents: Sequence[Intent],
        actor: Actor,
        cause: str,
        now: datetime,
    ) -> Sequence[Fact]:
        decided_by = partial(
            decide,
            context,
            actor=actor.name,
            cause=cause,
            now=now,
            installation=self._installation,
            may=partial(may, actor),
        )
        if len(intents) == 1:
            return decided_by(intents[0])
        facts: list[Fact] = []
        for intent in intents:
            decided = decided_by(intent, beside=intents)
            facts += decided
            for fact in decided:
                context.fold(fact)
        return facts

    async def _supply(self, supplied: Supplied, missing: NotLoaded) -> None:
        if not missing.revisions:
            supplied.states[missing.stream] = await self._states.load(missing.stream)
            return
        found: dict[int, AppEvent] = {}
        for row in await self._log.stream(missing.stream):
            try:
                event = codec.decode(row.type, row.data)
            except codec.Undecodable as error:
                raise Frozen(missing.stream, str(error)) from error
            if isinstance(event, AppEvent):
                found[event.revision] = msgspec.structs.replace(
                    event,
                    uid=event.uid or row.position,
                    generation=event.generation or row.position,
                )
        supplied.revisions[missing.stream] = found


def _changes(plan: Plan, intents: Sequence[Intent]) -> tuple[Change, ...]:
    """Of what was asked, in that order; then of what changes with it, as a project's apps."""
    if len(intents) == 1 and len(plan.facts) == 1:
        stream = intents[0].ref.stream
        if plan.facts[0].stream == stream:
            return (_change(plan, stream, (0,)),)
    places: dict[str, list[int]] = {}
    for place, fact in enumerate(plan.facts):
        places.setdefault(fact.stream, []).append(place)
    streams = dict.fromkeys(intent.ref.stream for intent in intents)
    streams |= dict.fromkeys(stream for stream in places if "#" not in stream)
    return tuple([_change(plan, stream, places.get(stream, ())) for stream in streams])


def _change(plan: Plan, stream: str, places: Sequence[int]) -> Change:
    """What the facts at these places do to a resource.

    Until the positions are known, the last place in the submission stands for the generation.
    """
    before = plan.before[stream]
    if not places:
        return Change(stream, "unchanged", getattr(before, "generation", 0))
    kinds = tuple([plan.facts[place].event.type for place in places])
    if kinds[-1].endswith(".deleted"):
        result = "deleted"
    else:
        existed = not isinstance(before, state.Members | state.Claims) and before.exists
        result = "configured" if existed else "created"
    return Change(stream, result, -1 - places[-1], kinds)


def _with_generations(changes: tuple[Change, ...], positions: Sequence[int]) -> tuple[Change, ...]:
    return tuple(
        [
            Change(c.resource, c.result, positions[-1 - c.generation], c.events)
            if c.generation < 0
            else c
            for c in changes
        ]
    )
