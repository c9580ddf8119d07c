"""What each kind of user of a NATS server may publish and subscribe to: the least that it needs.

The server enforces it, and two promises rest on that: the `<actor>` token of a subject tells who
asks, and nobody hears the answers of another. Everything else is told from the user's name, which
is also that of its inbox.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from bus.nats.credentials import CONTROL_PLANE
from bus.nats.subjects import (
    ACCEPTED_STREAM,
    DISCOVERY,
    GAPS,
    HINTS,
    INBOX,
    IO,
    LEASE_NEWS,
    LEASES,
    PREFIX,
    REFUSED_STREAM,
    STATUSES,
    SUBMIT_STREAM,
    own_inbox,
)

GATEWAY: Final = "gateway"
WORKER: Final = "worker"
VIEWER: Final = "viewer"
_API: Final = "$JS.API"


class Permissions(NamedTuple):
    """What a user may publish and subscribe to; no publishing at all when that is empty."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def producer(user: str) -> Permissions:
    """A program that hands in intents: its own token, its own inbox, what happened."""
    return Permissions(
        publish=(
            f"{PREFIX}.intent.{user}.>",
            f"{PREFIX}.submit.{user}.>",
            f"{DISCOVERY}.>",
        ),
        subscribe=(
            f"{own_inbox(user)}.>",
            f"{PREFIX}.accepted.{user}.>",
            f"{PREFIX}.refused.{user}.>",
            f"{PREFIX}.event.>",
            GAPS,
        ),
    )


def viewer(_user: str) -> Permissions:
    """Somebody who watches: what happens, and what became of whose submissions."""
    return Permissions(
        publish=(),
        subscribe=(f"{PREFIX}.event.>", GAPS, f"{PREFIX}.accepted.>", f"{PREFIX}.refused.>"),
    )


def gateway(user: str) -> Permissions:
    """A process that decides intents: both ways in, outcomes, events, hints; asks workers."""
    streams = (SUBMIT_STREAM, ACCEPTED_STREAM, REFUSED_STREAM)
    return Permissions(
        publish=(
            f"{INBOX}.>",  # who asks may have any
            f"{PREFIX}.event.>",
            GAPS,
            f"{PREFIX}.accepted.>",
            f"{PREFIX}.refused.>",
            HINTS,
            IO,
            *_made(*streams),
            f"{_API}.CONSUMER.*.{SUBMIT_STREAM}.>",
            f"{_API}.INFO",
            f"$JS.ACK.{SUBMIT_STREAM}.>",
        ),
        subscribe=(
            f"{own_inbox(user)}.>",
            f"{PREFIX}.intent.>",
            f"{DISCOVERY}.>",
            STATUSES,
            HINTS,
        ),
    )


def worker(user: str) -> Permissions:
    """A process that makes things so: leases, transitions as events, hints, status; answers I/O."""
    leases = f"KV_{LEASES}"
    return Permissions(
        publish=(
            f"{own_inbox(GATEWAY)}.>",
            f"{own_inbox(CONTROL_PLANE)}.>",
            f"{PREFIX}.event.>",
            GAPS,
            STATUSES,
            HINTS,
            f"$KV.{LEASES}.>",
            LEASE_NEWS,
            f"{_API}.STREAM.PURGE.{leases}",
            *_made(leases),
            f"{_API}.STREAM.MSG.GET.{leases}",
            f"{_API}.DIRECT.GET.{leases}",
            f"{_API}.DIRECT.GET.{leases}.>",
            f"{_API}.CONSUMER.*.{leases}.>",
            f"{_API}.INFO",
            f"$JS.FC.{leases}.>",
        ),
        subscribe=(f"{own_inbox(user)}.>", HINTS, IO, LEASE_NEWS),
    )


def control_plane(user: str) -> Permissions:
    """One process that is gateway and worker: what both may."""
    one, other = gateway(user), worker(user)
    return Permissions(
        publish=tuple(dict.fromkeys((*one.publish, *other.publish))),
        subscribe=tuple(dict.fromkeys((*one.subscribe, *other.subscribe))),
    )


ROLES: Final[Mapping[str, Callable[[str], Permissions]]] = {
    CONTROL_PLANE: control_plane,
    GATEWAY: gateway,
    WORKER: worker,
    VIEWER: viewer,
    "ci": producer,
}
"""An example of each, by the name of the user; `ci` stands for any producer."""


def _made(*streams: str) -> tuple[str, ...]:
    """To make streams and keep them as they should be, but never to delete one."""
    return tuple(
        f"{_API}.STREAM.{verb}.{stream}"
        for stream in streams
        for verb in ("CREATE", "UPDATE", "INFO")
    )
