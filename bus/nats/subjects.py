"""Every subject that Stateward uses, and how a resource is written in one.

`<project>.<kind>.<name>` has exactly three tokens: names are DNS labels, and `_` stands for the
project of kinds without one. Whoever publishes can be told by the `<actor>` token alone, because
the server lets a user publish on its own token only.
"""

import re
from typing import Final, NamedTuple

from bus.envelopes import resource_of
from bus.leases import Partition
from domain.names import Ref
from domain.refusals import BadValue

PREFIX: Final = "stateward.v1"
INTENTS: Final = f"{PREFIX}.intent.*.*.*.*"
SUBMITS: Final = f"{PREFIX}.submit.*.*.*.*"
REFUSALS: Final = f"{PREFIX}.refused.*.*.*.*"
ACCEPTANCES: Final = f"{PREFIX}.accepted.*.*.*.*"
EVENTS: Final = f"{PREFIX}.event.*.*.*.*"
GAPS: Final = f"{PREFIX}.gap"
HINTS: Final = f"{PREFIX}.hint.*"
STATUSES: Final = f"{PREFIX}.status.>"
"""Reserved: `….status.<target>.…` is published by the workers of a target, and read by gateways."""
IO: Final = f"{PREFIX}.io.>"
"""`….io.<target>.<partition>` is asked by gateways, and answered by the worker that holds it."""
DISCOVERY: Final = "$SRV"
INBOX: Final = "_INBOX"
SUBMIT_STREAM: Final = "STATEWARD_SUBMIT"
REFUSED_STREAM: Final = "STATEWARD_REFUSED"
ACCEPTED_STREAM: Final = "STATEWARD_ACCEPTED"
LEASE_NEWS: Final = f"{PREFIX}.leases"
"""Says that there is something to see in the bucket of leases."""
LEASES: Final = "stateward-leases"
"""The KV bucket of the leases of partitions; its stream is `KV_stateward-leases`."""
NO_PROJECT: Final = "_"
HOST: Final = "Host/"

_ACTOR = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Sender(NamedTuple):
    """The actor token of a subject, and the tokens of the resource after it."""

    actor: str
    resource: str


def sender(subject: str) -> Sender:
    """Who sent what came on the subject of an intent, a submission or a refusal.

    Raises:
        BadValue: it names no actor.
    """
    tokens = subject.split(".", 4)
    if len(tokens) != 5 or not _ACTOR.fullmatch(tokens[3]):
        raise BadValue("subject", subject, "it ends in <actor>.<project>.<kind>.<name>")
    return Sender(tokens[3], tokens[4])


def resource_tokens(ref: Ref) -> str:
    """`shop.App.web`, `_.Project.shop`."""
    return f"{ref.project or NO_PROJECT}.{ref.kind}.{ref.name}"


def intent_subject(actor: str, ref: Ref) -> str:
    return f"{PREFIX}.intent.{actor}.{resource_tokens(ref)}"


def submit_subject(actor: str, ref: Ref) -> str:
    return f"{PREFIX}.submit.{actor}.{resource_tokens(ref)}"


def message_id(actor: str, rest: str) -> str:
    """A `Nats-Msg-Id` of an actor's own: all share the window in which a repeat is dropped."""
    return f"{actor}:{rest}"


def refused_subject(submitted: str) -> str:
    """Where the refusal of what came on a subject of the submit stream is kept."""
    return submitted.replace(f"{PREFIX}.submit.", f"{PREFIX}.refused.", 1)


def accepted_subject(submitted: str) -> str:
    """Where the answer to what came on a subject of the submit stream is kept."""
    return submitted.replace(f"{PREFIX}.submit.", f"{PREFIX}.accepted.", 1)


def hint_subject(partition: int) -> str:
    return f"{PREFIX}.hint.{partition}"


def io_subject(partition: Partition) -> str:
    return f"{PREFIX}.io.{partition.target}.{partition.number}"


def event_subject(stream: str, event_type: str) -> str:
    """`….event.shop.App.web.scaled` of `app.scaled`; `….rollout-started` of `rollout.started`.

    A host is no resource, but has events: `….event._.Host.shop_example_org.claims-taken`.
    """
    resource = resource_of(stream)
    if resource.startswith(HOST):  # whose dots would part the subject
        host = resource.removeprefix(HOST).replace(".", "_")
        return f"{PREFIX}.event.{NO_PROJECT}.Host.{host}.{event_type.replace('.', '-')}"
    ref = Ref.parse(resource)
    family, _, happened = event_type.partition(".")
    token = happened if family == ref.kind.lower() else f"{family}-{happened}"
    return f"{PREFIX}.event.{resource_tokens(ref)}.{token}"


def own_inbox(actor: str) -> str:
    """The inbox prefix of an actor, the only one on which its user may subscribe."""
    return f"{INBOX}.{actor}"


def may_answer(reply: str) -> bool:
    """Whether an answer may go there: to inboxes alone.

    The sender chooses where its answer goes, and the server lets us publish anywhere: without
    this rule anybody could make us speak on any subject, JetStream's API included.
    """
    return reply.startswith(INBOX)
