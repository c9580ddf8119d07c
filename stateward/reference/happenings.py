"""The pages of events, of intents and of refusals, from `domain`."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec

from bus.actions import OFFERED
from bus.log import LogError, LogFull, LogUnavailable
from bus.problems import STATUS, Overloaded, problem
from domain import refusals
from domain.events import REGISTRY, REVISING, AppEvent, Event, Pause, Transition
from domain.intents import VERBS, Apply, Intent
from domain.refusals import Refusal
from stateward.reference.markdown import code, page, prose, sentence, table
from stateward.reference.types import typed

NAMED: Final = ((datetime, "time"), (msgspec.Raw, "JSON"), (Pause, "pause"))


def events() -> str:
    """Every event that a log may hold."""
    shaping = [e for e in REGISTRY.values() if not issubclass(e, Transition)]
    seen = [e for e in REGISTRY.values() if issubclass(e, Transition)]
    return page(
        "Events",
        "Members are camelCase in JSON and left out where they are at their default.",
        "## Members of every event",
        prose(Event),
        _members(Event, Event),
        "## Members of every event of an App",
        prose(AppEvent),
        _members(AppEvent, Event),
        f"A *pause*: {prose(Pause)}",
        _members(Pause, None),
        "## What was wanted",
        "The stream is the resource's (`App/shop/web`), or its `#members`. *Revises*: each makes "
        "the stream's next revision.",
        *(_event(event, AppEvent if issubclass(event, AppEvent) else Event) for event in shaping),
        "## What was seen and done",
        f"{prose(Transition)} The stream is the resource's `#status`; `cause` is the position of "
        "the intent that it serves.",
        *(_event(event, Event) for event in seen),
    )


def _event(event: type[Event], shared: type[Event]) -> str:
    revises = " Revises." if event.type in REVISING else ""
    head = f"### {event.type}\n\n{code(event.__name__)}.{revises} {sentence(event)}".rstrip()
    return f"{head}\n\n{members}" if (members := _members(event, shared)) else head


def _members(struct: type[msgspec.Struct], shared: type[msgspec.Struct] | None) -> str:
    """A table of the members that `shared` has not; nothing when there are none."""
    known = {f.name for f in msgspec.structs.fields(shared)} if shared else set[str]()
    rows = [
        (code(f.encode_name), typed(f.type, NAMED), _default(f))
        for f in msgspec.structs.fields(struct)
        if f.name not in known or struct is shared
    ]
    return table(("member", "type", "default"), rows) if rows else ""


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default is msgspec.NODEFAULT:
        empty = field.default_factory is not msgspec.NODEFAULT
        return "" if empty else "required"
    return "" if field.default is None else code(msgspec.json.encode(field.default).decode())


def intents() -> str:
    """What may be asked, with its parameters, and why it may be refused."""
    asked = [intent for intent in VERBS.values() if intent.verb in OFFERED]
    inside = [intent for intent in VERBS.values() if intent.verb not in OFFERED]
    return page(
        "Intents and refusals",
        f"{prose(Intent)} All ways in (HTTP, NATS, CLI) offer the same verbs.",
        table(("verb", "parameters", "asks"), map(_intent, asked)),
        "Asked by parts of Stateward itself, as `system:`:",
        table(("verb", "parameters", "asks"), map(_intent, inside)),
        "## Refusals and other problems",
        "Answers are problems (RFC 9457) with a stable `code`. A refusal changed nothing: correct "
        "the intent and send it again with a new key. *Retry* means that the same submission may "
        "succeed later, under the same key.",
        "Over HTTP, `Stale` is 412 when `If-Match` asked, and `LogFull` is 503: docs/http-api.md.",
        table(("code", "status", "retry", "when"), _problems()),
    )


def _intent(intent: type[Intent]) -> tuple[str, str, str]:
    own = [f for f in msgspec.structs.fields(intent) if f.name not in {"ref", "generation"}]
    told = [
        f"{code(f.name)}{'' if f.required else ' (optional)'}: " + typed(f.type, NAMED) for f in own
    ]
    if intent is Apply:
        told = ["the manifest"]
    return code(intent.verb), ", ".join(told), sentence(intent)


def _problems() -> Iterator[tuple[str, ...]]:
    drawn = dict(_drawn())
    codes = {one.code: drawn.get(one.__name__, "") for one in _refusals()}
    for name, status in sorted(STATUS.items()):
        yield code(name), str(status), _retry(name), codes.get(name, "") or _OTHERS.get(name, "")


def _refusals() -> list[type[Refusal]]:
    return [
        one
        for one in vars(refusals).values()
        if isinstance(one, type) and issubclass(one, Refusal) and one is not Refusal
    ]


def _drawn() -> Iterator[tuple[str, str]]:
    """The names and meanings in the tree that the docstring of `domain.refusals` draws."""
    for line in (refusals.__doc__ or "").splitlines():
        if line.startswith(("├── ", "└── ")):
            name, _, meaning = line[4:].partition(" ")
            yield name, meaning.strip()


def _retry(name: str) -> str:
    """Whether the same may succeed later: asked of the code that says so."""
    troubles: tuple[LogError | Overloaded, ...] = (LogFull(), LogUnavailable(), Overloaded())
    return "yes" if any(p.code == name and p.retry for p in map(problem, troubles)) else ""


_OTHERS = {
    "KeyReused": "the idempotency key belongs to another submission",
    "LogFull": "the log has no space left; it takes events again once there is",
    "LogRewound": "the log is older than what it acknowledged; an operator must accept that",
    "LogUnavailable": "the log cannot be written now",
    "Overloaded": "too many intents wait to be decided (NATS)",
}
