"""The JetStream streams: what producers submitted until it is decided, and what became of it.

They belong to the installation that made them, which stands in their metadata: another one would
take its submissions away and decide them over its own log.
"""

from typing import Any, Final

from bus.nats.session import JetStreamRefused, NatsUnavailable, Session
from bus.nats.subjects import (
    ACCEPTANCES,
    ACCEPTED_STREAM,
    REFUSALS,
    REFUSED_STREAM,
    SUBMIT_STREAM,
    SUBMITS,
)

SECOND: Final = 1_000_000_000  # JetStream counts in nanoseconds
CONSUMER: Final = "stateward"
ACK_SECONDS: Final = 30
OWNER: Final = "stateward-installation"  # the key in a stream's metadata
MOST_UNACKNOWLEDGED: Final = 4_096  # so that one slow resource does not hold up the others
_NAME_IN_USE: Final = 10058  # the stream exists with other settings
_NOT_FOUND: Final = 404

SUBMIT: Final[dict[str, Any]] = {
    "name": SUBMIT_STREAM,
    "description": "Intents of fire-and-forget producers, until they are decided",
    "subjects": [SUBMITS],
    "retention": "workqueue",
    "storage": "file",
    # A full stream declines new intents; it never forgets one that it took.
    "discard": "new",
    "max_bytes": 256 << 20,
    "duplicate_window": 600 * SECOND,
}
_OUTCOMES: Final[dict[str, Any]] = {
    "retention": "limits",
    "storage": "file",
    "discard": "old",
    "max_bytes": 64 << 20,
    "max_age": 7 * 86_400 * SECOND,
    "duplicate_window": 600 * SECOND,
}
REFUSED: Final[dict[str, Any]] = {
    **_OUTCOMES,
    "name": REFUSED_STREAM,
    "description": "Submitted intents that were refused, with the reason",
    "subjects": [REFUSALS],
}
ACCEPTED: Final[dict[str, Any]] = {
    **_OUTCOMES,
    "name": ACCEPTED_STREAM,
    "description": "Submitted intents that were accepted, with the answer",
    "subjects": [ACCEPTANCES],
}


class ForeignStream(NatsUnavailable):
    """The streams of this NATS are another installation's."""

    def __init__(self, stream: str, owner: str, ours: str) -> None:
        super().__init__(
            f"the stream {stream} belongs to installation {owner}, and this is {ours}: a NATS "
            "account serves one installation. Give this one an account or a server of its own; or, "
            f"if {owner} is gone for ever, delete the streams STATEWARD_* there"
        )


async def check_owner(session: Session, installation: str, stream: str = SUBMIT_STREAM) -> None:
    """Raises `ForeignStream` if a stream is there and is another's; silent if nobody can tell."""
    try:
        found = await session.ask_api(f"STREAM.INFO.{stream}")
    except NatsUnavailable:  # no such stream, or no JetStream
        return
    owner = (found["config"].get("metadata") or {}).get(OWNER, installation)
    if owner != installation:
        raise ForeignStream(stream, owner, installation)


async def ensure_stream(
    session: Session, config: dict[str, Any], installation: str, replicas: int
) -> None:
    """Make a stream, or bring it to these settings; one without an owner becomes ours.

    On a cluster it is kept on as many servers as `replicas` says, from now on if that was changed.

    Raises:
        ForeignStream: it is another installation's.
        NatsUnavailable: not now.
    """
    wanted = {**config, "num_replicas": replicas, "metadata": {OWNER: installation}}
    try:
        await session.ask_api(f"STREAM.CREATE.{config['name']}", wanted)
    except JetStreamRefused as refused:
        if refused.error_code != _NAME_IN_USE:
            raise
        await check_owner(session, installation, config["name"])
        await session.ask_api(f"STREAM.UPDATE.{config['name']}", wanted)


async def renew_consumer(session: Session, deliver_to: str) -> None:
    """Have all unacknowledged submissions delivered from the first on, in stream order.

    A consumer that goes on where it was would deliver what an earlier session left unacknowledged
    only after `ACK_SECONDS`, behind newer messages of the same resource. The stream holds exactly
    what is not acknowledged, so a new consumer forgets nothing, wherever this is interrupted.
    """
    try:
        await session.ask_api(f"CONSUMER.DELETE.{SUBMIT_STREAM}.{CONSUMER}")
    except JetStreamRefused as refused:
        if refused.code != _NOT_FOUND:
            raise
    config = {
        "durable_name": CONSUMER,
        "deliver_subject": deliver_to,
        "deliver_policy": "all",
        "replay_policy": "instant",
        "ack_policy": "explicit",
        "ack_wait": ACK_SECONDS * SECOND,
        "max_ack_pending": MOST_UNACKNOWLEDGED,
        "max_deliver": -1,
    }
    await session.ask_api(
        f"CONSUMER.CREATE.{SUBMIT_STREAM}.{CONSUMER}",
        {"stream_name": SUBMIT_STREAM, "config": config},
    )


async def is_heard(session: Session) -> bool:
    """Whether somebody takes care of what is delivered of the submissions.

    Nobody does once the consumer was deleted by hand, or taken over by a process that has gone. A
    process that hangs, or was paused, still listens as far as the server knows; but who is alive
    asks for patience well within `ACK_SECONDS`, so nothing is delivered to it a second time.
    """
    try:
        found = await session.ask_api(f"CONSUMER.INFO.{SUBMIT_STREAM}.{CONSUMER}")
    except JetStreamRefused as refused:
        if refused.code != _NOT_FOUND:
            raise
        return False
    return bool(found.get("push_bound")) and not found.get("num_redelivered")


def sequence(reply: str) -> int | None:
    """The place in its stream of a delivered message, by where its acknowledgement goes."""
    tokens = reply.split(".")
    if reply.startswith("$JS.ACK.") and len(tokens) >= 9:
        # Nine tokens, or with a domain and an account in front of the stream at least eleven.
        token = tokens[5] if len(tokens) == 9 else tokens[7]
        return int(token) if token.isdigit() else None
    return None
