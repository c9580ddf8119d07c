"""What is spoken on which subject: an AsyncAPI 3.0 document, made from the code that speaks."""

from typing import Any, Final

import msgspec

from bus.envelopes import PARAMETERS, Envelope, EventEnvelope, GapEnvelope
from bus.intents import Answer
from bus.nats.hints import Hint
from bus.nats.outcomes import Accepted, Refused
from bus.nats.subjects import ACCEPTANCES, EVENTS, GAPS, HINTS, INTENTS, REFUSALS, SUBMITS
from bus.problems import Problem
from domain.events import REGISTRY
from domain.names import KINDS

SCHEMAS: Final = "#/components/schemas/"
CLOUD_EVENT: Final = "application/cloudevents+json"

_ACTOR = {"description": "The program that sends: the name of its token, a DNS label"}
_PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "actor": _ACTOR,
    "project": {"description": "The project, or _ for a Project or a Target"},
    "kind": {"enum": list(KINDS), "description": "The kind of the resource"},
    "name": {"description": "The name of the resource"},
    "event": {"description": "What happened: scaled, image-resolved, rollout-started"},
    "partition": {"description": "A number from 0; the keys are divided among the partitions"},
}


def asyncapi(version: str = "1") -> dict[str, Any]:
    """The document, as JSON or YAML may be made of it."""
    messages = _messages()
    channels = _channels()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Stateward on NATS",
            "version": version,
            "description": (
                "Intents come in as CloudEvents and are answered when they are on disk. What goes "
                "out (events, hints) is best effort: the log is the truth, and anybody may read it."
            ),
        },
        "defaultContentType": CLOUD_EVENT,
        "channels": channels,
        "operations": _operations(),
        "components": {"messages": messages, "schemas": _schemas()},
    }


def _channel(
    pattern: str, names: tuple[str, ...], description: str, *messages: str
) -> dict[str, Any]:
    """A channel of a subject pattern, its wildcards named in order."""
    address = pattern
    for name in names:
        address = address.replace("*", f"{{{name}}}", 1)
    return {
        "address": address,
        "description": description,
        "parameters": {name: _PARAMETERS[name] for name in names},
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }


def _channels() -> dict[str, Any]:
    asking = ("actor", "project", "kind", "name")
    return {
        "intent": _channel(
            INTENTS,
            asking,
            "Request and reply (a NATS micro service). Answered when the intent is on disk.",
            "intent",
        ),
        "answers": {
            "address": None,
            "description": "The inbox of whoever asked; it must begin with _INBOX.",
            "messages": {
                name: {"$ref": f"#/components/messages/{name}"} for name in ("answer", "problem")
            },
        },
        "submit": _channel(
            SUBMITS,
            asking,
            "A JetStream stream for producers that do not wait. Its acknowledgement says that the "
            "message is kept, not that the intent is accepted: one message with its key says that, "
            "on the accepted or the refused subject. Nats-Msg-Id is <actor>:<idempotency "
            "key>, and refused if it begins with another name: all producers share the window in "
            "which a repeated one is dropped. Secrets are refused here: a message lies "
            "unencrypted while it waits.",
            "intent",
        ),
        "accepted": _channel(
            ACCEPTANCES,
            asking,
            "Every submitted intent that was accepted, also one that had nothing to change, with "
            "the answer that a request would have got; kept for 7 days.",
            "accepted",
        ),
        "refused": _channel(
            REFUSALS, asking, "Submitted intents that were refused, kept for 7 days.", "refused"
        ),
        "event": _channel(
            EVENTS,
            ("project", "kind", "name", "event"),
            "Every event after its commit, in order. Lost when nobody listens: see the log.",
            *(_event_message(kind) for kind in REGISTRY),
        ),
        "gap": _channel(
            GAPS,
            (),
            "Events before a position may not have been told: after a start, a lost connection, or "
            "when there were too many. Whoever follows events reads the log from its last one on.",
            "gap",
        ),
        "hint": _channel(
            HINTS,
            ("partition",),
            "Where to look after a group commit: keys and a position, never state.",
            "hint",
        ),
    }


def _operations() -> dict[str, Any]:
    def operation(action: str, channel: str, **more: Any) -> dict[str, Any]:
        return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, **more}

    reply = {"channel": {"$ref": "#/channels/answers"}}
    return {
        "decideIntent": operation("receive", "intent", reply=reply),
        "decideSubmission": operation("receive", "submit"),
        "tellAcceptance": operation("send", "accepted"),
        "tellRefusal": operation("send", "refused"),
        "tellEvent": operation("send", "event"),
        "tellGap": operation("send", "gap"),
        "tellHint": operation("send", "hint"),
        "followHint": operation("receive", "hint"),
    }


def _event_message(kind: str) -> str:
    return f"event-{kind.replace('.', '-')}"


def _messages() -> dict[str, Any]:
    def message(schema: str, content_type: str = CLOUD_EVENT) -> dict[str, Any]:
        return {"contentType": content_type, "payload": {"$ref": f"{SCHEMAS}{schema}"}}

    found = {
        "intent": message("Envelope"),
        "answer": message("Answer", "application/json"),
        "problem": message("Problem", "application/problem+json"),
        "accepted": message("Accepted"),
        "refused": message("Refused"),
        "gap": message("GapEnvelope"),
        "hint": message("Hint", "application/json"),
    }
    for kind, event in REGISTRY.items():
        data = {"properties": {"data": {"$ref": f"{SCHEMAS}{event.__name__}"}}}
        payload = {"allOf": [{"$ref": f"{SCHEMAS}EventEnvelope"}, data]}
        found[_event_message(kind)] = {
            "title": f"stateward.{kind}.v1",
            "contentType": CLOUD_EVENT,
            "payload": payload,
        }
    return found


def _schemas() -> dict[str, Any]:
    spoken = (Envelope, Answer, Problem, Accepted, Refused, Hint, EventEnvelope, GapEnvelope)
    _, found = msgspec.json.schema_components(
        (*spoken, *PARAMETERS.values(), *REGISTRY.values()), ref_template=f"{SCHEMAS}{{name}}"
    )
    return dict(found)
