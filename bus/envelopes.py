"""CloudEvents 1.0 in JSON: how intents come in as messages, and how events go out.

The envelope's `id` is the idempotency key of an intent and the position of an event; its `subject`
is the resource (`App/shop/web`), its `type` says what is asked or what happened. Whatever is
unknown is refused by its path: a misspelt `expires` must not be taken for its absence.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import msgspec

from bus import codec, manifests
from bus.actions import OFFERED, PARAMETERS, read_action, unknown_field
from bus.intents import Asked
from bus.log import StoredEvent
from domain.access import Actor
from domain.intents import Apply
from domain.names import KINDS, Ref
from domain.refusals import BadValue, Forbidden

__all__ = [
    "PARAMETERS",
    "Envelope",
    "EventEnvelope",
    "GapEnvelope",
    "Submission",
    "check_actor",
    "event_envelope",
    "gap_envelope",
    "intent_envelope",
    "intent_from",
    "read_action",
    "resource_of",
]

MAX_KEY: Final = 256  # characters of an idempotency key
MAX_SET: Final = 1_000  # manifests in one submission
EXTENSIONS: Final = (
    *("traceparent", "tracestate", "baggage", "correlationid", "causationid"),
    *("partitionkey", "sequence", "recordedtime", "dataschema"),
)
"""Attributes of others that may ride along: tracing and brokers add them. They mean nothing."""

_TYPE = re.compile(r"stateward\.([a-z]+)\.([a-z-]+)\.v1")
_KINDS: Final = {kind.lower(): kind for kind in KINDS}


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """What one message asks: `IntentService.submit` takes its parts.

    `actor` is who the envelope says it comes from, which is worth nothing until compared.
    """

    ref: Ref
    verb: str
    asked: tuple[Asked, ...]
    key: str
    digest: bytes
    expires: datetime | None = None
    actor: str | None = None


class Envelope(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An intent as a CloudEvent.

    `id` is the idempotency key, `subject` the resource. `data` is the manifest of an `apply` (or a
    list of them, on the Project that holds them), for other verbs their parameters. After
    `expires` it is refused; with `generation` it is, unless the resource is still at that.
    """

    specversion: str
    type: str
    id: str
    source: str
    subject: str
    data: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))
    expires: datetime | None = None
    generation: int | None = None
    actor: str | None = None
    time: str | None = None
    datacontenttype: str = "application/json"


_ENVELOPE = msgspec.json.Decoder(Envelope)
_NAMES = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ATTRIBUTES: Final = tuple(field.name for field in msgspec.structs.fields(Envelope))


def intent_from(envelope: bytes) -> Submission:
    """Read a message that asks for something.

    Raises:
        Refusal: names what in the envelope or its data cannot be used.
    """
    read = _envelope(envelope)
    kind, verb = _type(read.type)
    ref = Ref.parse(read.subject)
    if ref.kind != kind:
        raise BadValue("type", read.type, f"the subject {read.subject} is of kind {ref.kind}")
    if not 1 <= len(read.id) <= MAX_KEY:
        raise BadValue("id", read.id, f"it is the idempotency key: 1 to {MAX_KEY} characters")
    if read.expires is not None and read.expires.tzinfo is None:
        raise BadValue("expires", read.expires.isoformat(), "a time needs its zone: add Z")
    return Submission(
        ref=ref,
        verb=verb,
        asked=_asked(verb, ref, bytes(read.data), read.generation),
        key=read.id,
        digest=_digest(read),
        expires=read.expires,
        actor=read.actor,
    )


def intent_envelope(
    verb: str,
    ref: Ref,
    data: object,
    *,
    key: str,
    source: str,
    generation: int | None = None,
    expires: datetime | None = None,
) -> bytes:
    """A message that asks for something, as `intent_from` reads it."""
    return msgspec.json.encode(
        Envelope(
            specversion="1.0",
            type=f"stateward.{ref.kind.lower()}.{verb}.v1",
            id=key,
            source=source,
            subject=str(ref),
            data=msgspec.Raw(msgspec.json.encode({} if data is None else data)),
            expires=expires,
            generation=generation,
        )
    )


def check_actor(submission: Submission, actor: Actor) -> None:
    """Raises `Forbidden` if the envelope names another actor than the one who is known to send."""
    if submission.actor is not None and submission.actor != actor.name:
        raise Forbidden(
            f"the envelope names actor {submission.actor!r}, but {actor.name!r} sent it; "
            "leave `actor` out, or send it with that actor's credentials",
            actor=submission.actor,
        )


def event_envelope(stored: StoredEvent, installation: str) -> bytes:
    """An event of the log, for those outside.

    Raises:
        Undecodable: it has no time; its stream is damaged or from another version.
    """
    try:
        core = _CORE.decode(stored.data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise codec.Undecodable(f"{stored.type!r} cannot be read: {error}") from error
    return msgspec.json.encode(
        EventEnvelope(
            type=f"stateward.{stored.type}.v{core.v}",
            source=f"/stateward/{installation}",
            id=str(stored.position),
            subject=resource_of(stored.stream),
            time=core.at,
            data=msgspec.Raw(stored.data),
        )
    )


def resource_of(stream: str) -> str:
    """The resource that a stream tells of: that of `App/shop/web#status` is `App/shop/web`."""
    return stream.partition("#")[0]


class _Core(msgspec.Struct):
    at: datetime
    v: int = 1


class EventEnvelope(msgspec.Struct, kw_only=True):
    """An event of the log as a CloudEvent: `id` is its position, `subject` the resource."""

    specversion: str = "1.0"
    type: str
    source: str
    id: str
    subject: str
    time: datetime
    datacontenttype: str = "application/json"
    data: msgspec.Raw


class GapData(msgspec.Struct, frozen=True, kw_only=True):
    """Of events whose position is lower than `before`, some may never have been told."""

    before: int


class GapEnvelope(msgspec.Struct, kw_only=True):
    """A CloudEvent that tells those who follow events that some may be missing: read the log."""

    specversion: str = "1.0"
    type: str = "stateward.events.gap.v1"
    source: str
    id: str
    datacontenttype: str = "application/json"
    data: GapData


def gap_envelope(before: int, installation: str) -> bytes:
    """Tells that events before a position may not have been told."""
    source = f"/stateward/{installation}"
    told = GapEnvelope(source=source, id=f"gap-{before}", data=GapData(before=before))
    return msgspec.json.encode(told)


_CORE = msgspec.json.Decoder(_Core)


def _envelope(data: bytes) -> Envelope:
    try:
        read = _ENVELOPE.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        read = _lenient(data)
    if read.specversion != "1.0":
        raise BadValue("specversion", read.specversion, "this is CloudEvents 1.0")
    if not read.datacontenttype.startswith("application/json"):
        raise BadValue("datacontenttype", read.datacontenttype, "data is application/json")
    return read


def _lenient(data: bytes) -> Envelope:
    """Read an envelope with attributes of others, which are left out, or say what is wrong."""
    try:
        given = _NAMES.decode(data)
        for name in given:
            if name not in _ATTRIBUTES and name not in EXTENSIONS:
                raise unknown_field(name, name, _ATTRIBUTES)
        own = {name: value for name, value in given.items() if name in _ATTRIBUTES}
        return _ENVELOPE.decode(msgspec.json.encode(own))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadValue("envelope", "bytes", f"it is no CloudEvent in JSON: {error}") from error


def _type(text: str) -> tuple[str, str]:
    match = _TYPE.fullmatch(text)
    kind = _KINDS.get(match[1]) if match else None
    if match is None or kind is None or match[2] not in OFFERED:
        rule = f"write stateward.<kind>.<verb>.v1, with the verb one of {', '.join(OFFERED)}"
        raise BadValue("type", text, rule)
    return kind, match[2]


def _asked(verb: str, ref: Ref, data: bytes, generation: int | None) -> tuple[Asked, ...]:
    if verb != Apply.verb:
        try:
            given = msgspec.json.decode(data, type=dict[str, Any])
        except (msgspec.ValidationError, RecursionError) as error:
            raise BadValue("data", "value", f"it holds parameters by name: {error}") from error
        return (read_action(verb, ref, given, generation, path="data."),)
    if not data.lstrip().startswith(b"["):
        return (_applied(ref, data, generation),)
    if generation is not None:
        rule = "a set has no generation of its own; write metadata.generation in its manifests"
        raise BadValue("generation", generation, rule)
    items = msgspec.json.decode(data, type=list[msgspec.Raw])
    if not 1 <= len(items) <= MAX_SET:
        raise BadValue("data", f"{len(items)} manifests", f"a set has 1 to {MAX_SET} manifests")
    return tuple(_applied(ref, bytes(item), None) for item in items)


def _applied(ref: Ref, data: bytes, generation: int | None) -> Asked:
    """A manifest, which must be of what the subject names, or in the project that it names."""
    project = ref.name if ref.kind == "Project" else ref.project
    asked = manifests.read(data, default_project=project)
    if asked.ref != ref and (ref.kind != "Project" or asked.ref.project != ref.name):
        rule = f"the envelope's subject is {ref}; a set is sent on the Project that holds it"
        raise BadValue("data.metadata", str(asked.ref), rule)
    if generation is None:
        return asked
    if asked.generation not in (None, generation):
        rule = f"metadata.generation is {asked.generation}; give one of them"
        raise BadValue("generation", generation, rule)
    return msgspec.structs.replace(asked, generation=generation)


def _digest(read: Envelope) -> bytes:
    """Over what the message asks; the time it was sent and who traced it change nothing."""
    parts: Sequence[object] = (read.type, read.subject, read.generation)
    return sha256(msgspec.json.encode(parts) + bytes(read.data)).digest()
