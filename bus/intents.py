"""The application service: the one way in which intents become events.

authorise → load what the rules rely on → decide → append on the condition that all of it is still
so → answer, once it is on disk. A lost race is decided again on fresh state. All interfaces (HTTP,
NATS, the system's own reconcilers) call `IntentService.submit`, and none can do more.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from hashlib import sha256
from typing import Final, final
from weakref import WeakValueDictionary

import msgspec
import structlog

from bus import codec
from bus.context import LoadedContext, NotLoaded
from bus.log import IdempotencyKey, Log, LogError, LogUnavailable, NewEvent, VersionConflict
from bus.manifests import SecretManifest
from bus.secrets import SecretStore, SecretUnavailable
from bus.states import States
from domain import state
from domain.access import Actor, authorise
from domain.events import AppEvent, Fact, SecretDeleted
from domain.intents import Apply, Intent, SecretContent
from domain.names import Ref
from domain.refusals import BadValue, Frozen, Refusal
from domain.rules import decide

_log = structlog.get_logger("intents")

MAX_RACES: Final = 50  # lost in a row by one intent before it is told to come back


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one resource: `created`, `configured`, `deleted` or `unchanged`."""

    resource: str
    result: str
    generation: int
    events: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """The acknowledgement of one submission: on disk, up to `position`."""

    position: int
    changes: tuple[Change, ...]
    repeated: bool = False


class RecordedRefusal(Refusal):
    """A refusal that was given before under the same idempotency key."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.recorded_code = code


class _Outcome(msgspec.Struct, omit_defaults=True):
    """What is stored under an idempotency key. The positions of `changes` come from the log."""

    changes: tuple[Change, ...] = ()
    code: str = ""
    message: str = ""


class Plan(msgspec.Struct, frozen=True):
    """What a submission would append: the facts, and the version each stream must be at."""

    facts: tuple[Fact, ...]
    expect: dict[str, int]
    before: dict[str, state.State]


type Asked = Intent | SecretManifest


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
        self._values: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def submit(
        self,
        asked: Sequence[Asked] | Asked,
        *,
        actor: Actor,
        key: str,
        digest: bytes = b"",
        check: Callable[[datetime], None] = lambda _now: None,
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
        items = asked if isinstance(asked, Sequence) else (asked,)
        self._authorise(items, actor)
        token = IdempotencyKey(actor.name, key, digest or self._digest_of(items))
        async with AsyncExitStack() as turns:
            for stream in sorted(i.ref.stream for i in items if isinstance(i, SecretManifest)):
                await turns.enter_async_context(self._turn_of_values(stream))
            intents = [i if isinstance(i, Intent) else await self._sealed(i) for i in items]
            answer, gone = await self._raced(intents, actor, token, check)
        for stream in gone:
            await self._erase_values(stream)
        return answer

    async def _raced(
        self,
        intents: Sequence[Intent],
        actor: Actor,
        token: IdempotencyKey,
        check: Callable[[datetime], None],
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
        plan = await self._decide(intents, actor.name, "dry-run")
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

    async def _sealed(self, item: SecretManifest) -> Intent:
        """A Secret's values go to their store; what is decided holds their token."""
        await self._secrets.put(item.ref, item.values)
        return self._preview(item)

    def _preview(self, item: Asked) -> Intent:
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
        check: Callable[[datetime], None],
    ) -> tuple[Answer, Sequence[str]]:
        try:
            check(self._now())
            plan = await self._decide(intents, actor.name, token.key)
        except Refusal as refusal:
            outcome = _Outcome(code=refusal.code, message=str(refusal))
            known = await self._log.append(
                (), expect={}, key=token, outcome=msgspec.json.encode(outcome)
            )
            if known.repeated:
                return self._answered_before(known.outcome, known.positions), ()
            raise
        changes = _changes(plan, intents)
        new = [NewEvent(f.stream, f.event.type, codec.encode(f.event)) for f in plan.facts]
        appended = await self._log.append(
            new,
            expect=plan.expect,
            key=token,
            outcome=msgspec.json.encode(_Outcome(changes=changes)),
        )
        if appended.repeated:
            return self._answered_before(appended.outcome, appended.positions), ()
        self._states.remember(plan.facts, appended.positions, plan.expect, plan.before)
        if not appended.positions:
            return Answer(position=(await self._log.head()).position, changes=changes), ()
        position = appended.positions[-1]
        self._appended(position, [fact.stream for fact in plan.facts])
        gone = [fact.stream for fact in plan.facts if isinstance(fact.event, SecretDeleted)]
        answer = Answer(position=position, changes=_with_generations(changes, appended.positions))
        return answer, gone

    def _turn_of_values(self, stream: str) -> asyncio.Lock:
        """From the storing of a Secret's values to the event that names them, nobody erases any."""
        turn = self._values.get(stream)
        if turn is None:
            turn = self._values[stream] = asyncio.Lock()
        return turn

    async def _erase_values(self, stream: str) -> None:
        """The values of a deleted Secret go, too, but for those of one made anew meanwhile."""
        async with self._turn_of_values(stream):
            try:
                present = await self.present(stream)
                keep = {present.token} if isinstance(present, state.Secret) else set[str]()
                await self._secrets.remove(Ref.parse(stream), keep=frozenset(keep))
            except (SecretUnavailable, Refusal, LogError) as error:
                _log.warning("values not erased", resource=stream, error=str(error))

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

    async def _decide(self, intents: Sequence[Intent], actor: str, cause: str) -> Plan:
        context = LoadedContext(self._states)
        for intent in intents:  # each is needed: not one by one, with a new start after each
            stream = intent.ref.stream
            if self._states.get(stream) is None:
                context.supply(stream, *await self._states.load(stream))
        now = self._now()
        while True:
            try:
                return self._decided(context, intents, actor, cause, now)
            except NotLoaded as missing:
                await self._supply(context, missing)

    def _decided(
        self,
        context: LoadedContext,
        intents: Sequence[Intent],
        actor: str,
        cause: str,
        now: datetime,
    ) -> Plan:
        context.begin()
        facts: list[Fact] = []
        for intent in intents:
            decided = decide(
                context, intent, actor=actor, cause=cause, now=now, installation=self._installation
            )
            facts += decided
            if len(intents) > 1:
                for fact in decided:
                    context.fold(fact)
        return Plan(tuple(facts), context.expected, context.loaded)

    async def _supply(self, context: LoadedContext, missing: NotLoaded) -> None:
        if missing.revision is None:
            context.supply(missing.stream, *await self._states.load(missing.stream))
            return
        found: AppEvent | None = None
        for row in await self._log.stream(missing.stream):
            try:
                event = codec.decode(row.type, row.data)
            except codec.Undecodable as error:
                raise Frozen(missing.stream, str(error)) from error
            if isinstance(event, AppEvent) and event.revision == missing.revision:
                found = event
        context.supply_revision(missing.stream, missing.revision, found)


def _changes(plan: Plan, intents: Sequence[Intent]) -> tuple[Change, ...]:
    places: dict[str, list[int]] = {}
    for place, fact in enumerate(plan.facts):
        places.setdefault(fact.stream, []).append(place)
    streams = [intent.ref.stream for intent in intents]
    return tuple(_change(plan, stream, places.get(stream, ())) for stream in streams)


def _change(plan: Plan, stream: str, places: Sequence[int]) -> Change:
    """What the facts at these places do to a resource.

    Until the positions are known, the last place in the submission stands for the generation.
    """
    before = plan.before[stream]
    if not places:
        return Change(stream, "unchanged", getattr(before, "generation", 0))
    kinds = tuple(plan.facts[place].event.type for place in places)
    if kinds[-1].endswith(".deleted"):
        result = "deleted"
    else:
        existed = not isinstance(before, state.Members) and before.exists
        result = "configured" if existed else "created"
    return Change(stream, result, -1 - places[-1], kinds)


def _with_generations(changes: tuple[Change, ...], positions: Sequence[int]) -> tuple[Change, ...]:
    return tuple(
        msgspec.structs.replace(c, generation=positions[-1 - c.generation])
        if c.generation < 0
        else c
        for c in changes
    )
