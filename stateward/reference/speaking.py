"""What is spoken on the wire: subjects and AsyncAPI of NATS, paths and OpenAPI of HTTP."""

import json
from dataclasses import fields
from typing import Any, cast

import yaml

from bus.nats import subjects
from bus.nats.asyncapi import asyncapi
from bus.nats.config import example_users
from bus.nats.permissions import ROLES
from domain.names import Ref
from gateway import openapi
from gateway.api import build
from gateway.ports import Services
from stateward.reference.markdown import code, page, sentence, table

WEB = Ref("App", "shop", "web")
PRODUCER = "ci"


def subject_page() -> str:
    """Every subject, who may use it, and an example."""
    described = asyncapi()["channels"]
    rows = [
        (code(one["address"]), ", ".join(sorted(one["messages"])[:3]), one["description"])
        for name, one in described.items()
        if one["address"] and name != "event"
    ]
    event = described["event"]
    rows.append(
        (code(event["address"]), "one message for each type of event", event["description"])
    )
    return page(
        "Subjects",
        "Messages and their schemas: [asyncapi.yaml](asyncapi.yaml).",
        table(("subject", "messages", "what"), sorted(rows)),
        f"JetStream streams: {code(subjects.SUBMIT_STREAM)} holds what is submitted, "
        f"{code(subjects.ACCEPTED_STREAM)} and {code(subjects.REFUSED_STREAM)} what became of it. "
        f"{code(subjects.NO_PROJECT)} stands for the project of kinds without one.",
        "## Examples",
        table(
            ("what", "subject"),
            [
                (f"ask something of `{WEB}` as `{PRODUCER}`", _shown(subjects.intent_subject)),
                ("the same without waiting", _shown(subjects.submit_subject)),
                ("it was scaled", code(subjects.event_subject(WEB.stream, "app.scaled"))),
                (
                    "its rollout started",
                    code(subjects.event_subject(f"{WEB.stream}#status", "rollout.started")),
                ),
            ],
        ),
        "## Who may do what",
        "Users of a server, by role; the same as its configuration: "
        "[nats-users.conf](nats-users.conf). "
        f"{code(PRODUCER)} stands for any producer: it acts as {code(f'program:{PRODUCER}')}. "
        "Answers come to an inbox of the user's name, such as "
        f"{code(subjects.own_inbox(PRODUCER))}: tell the client, it is the only one allowed.",
        table(
            ("user", "what it is", "publishes", "subscribes to"),
            [
                (
                    code(user),
                    sentence(role),
                    ", ".join(map(code, role(user).publish)) or "nothing",
                    ", ".join(map(code, role(user).subscribe)),
                )
                for user, role in ROLES.items()
            ],
        ),
    )


def users_file() -> str:
    """The users of a NATS server of somebody else, for its configuration."""
    return example_users()


def _shown(subject: Any) -> str:
    return code(subject(PRODUCER, WEB))


def asyncapi_file() -> str:
    """AsyncAPI 3.0 as YAML."""
    plain = json.loads(json.dumps(asyncapi()))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)


def openapi_file() -> str:
    """OpenAPI 3.1 as JSON: what `GET /api/openapi.json` answers."""
    return json.dumps(_openapi(), indent=1, ensure_ascii=False) + "\n"


def path_page() -> str:
    """Every path of the HTTP API."""
    rows = [
        (code(f"{method.upper()} {path}"), operation["summary"])
        for path, item in _openapi()["paths"].items()
        for method, operation in item.items()
    ]
    return page(
        "HTTP paths",
        "What goes in and out: [the HTTP API](../http-api.md). For machines: "
        "[openapi.json](openapi.json).",
        table(("path", "what"), sorted(rows, key=lambda row: row[0].split(" ")[::-1])),
    )


def _openapi() -> dict[str, Any]:
    """The description of an application that serves nothing: routes need no services to be told."""
    nothing: dict[str, Any] = {field.name: None for field in fields(Services)}
    app = build(cast(Any, Services)(**nothing | {"version": "1"}))
    return openapi.complete(app.openapi())
