"""The JetStream streams: what producers submitted until it is decided, and what became of it."""

from typing import Any, Final

from bus.nats.session import JetStreamRefused, Session
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
MOST_UNACKNOWLEDGED: Final = 4_096  # so that one slow resource does not hold up the others
_NAME_IN_USE: Final = 400  # the stream exists with other settings
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


async def ensure_stream(session: Session, config: dict[str, Any], replicas: int) -> None:
    """Make a stream, or bring it to these settings. Raises `NatsUnavailable`."""
    wanted = {**config, "num_replicas": replicas}
    try:
        await session.ask_api(f"STREAM.CREATE.{config['name']}", wanted)
    except JetStreamRefused as refused:
        if refused.code != _NAME_IN_USE:
            raise
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


def sequence(reply: str) -> int | None:
    """The place in its stream of a delivered message, by where its acknowledgement goes."""
    tokens = reply.split(".")
    if reply.startswith("$JS.ACK.") and len(tokens) >= 9:
        # Nine tokens, or with a domain and an account in front of the stream at least eleven.
        token = tokens[5] if len(tokens) == 9 else tokens[7]
        return int(token) if token.isdigit() else None
    return None
