"""What becomes of a submission, as its producer hears it: one message, accepted or refused.

Each is a CloudEvent that carries the idempotency key and the submission's place in its stream.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final, final

import msgspec

from bus.envelopes import Submission
from bus.intents import Answer
from bus.problems import Problem

ACCEPTED: Final = "stateward.intent.accepted.v1"


class AcceptedData(msgspec.Struct, frozen=True, kw_only=True):
    """`answer` is what a request would have got; without events when nothing had to change."""

    key: str
    sequence: int
    answer: Answer


class RefusedData(msgspec.Struct, frozen=True, kw_only=True):
    """`key` is null if the submission could not be read and had no `Nats-Msg-Id`."""

    key: str | None
    sequence: int
    problem: Problem


class Kind(msgspec.Struct, frozen=True):
    """What tells an outcome of one kind from one of the other."""

    type: str


class _Outcome(msgspec.Struct, frozen=True, kw_only=True):
    specversion: str = "1.0"
    source: str
    id: str
    subject: str
    time: datetime
    datacontenttype: str = "application/json"


class Accepted(_Outcome, frozen=True, kw_only=True):
    """A CloudEvent that tells that a submission is decided, and on disk."""

    type: str = ACCEPTED
    data: AcceptedData


class Refused(_Outcome, frozen=True, kw_only=True):
    """A CloudEvent that tells why a submission was refused."""

    type: str = "stateward.intent.refused.v1"
    data: RefusedData


@final
class Outcomes:
    """Writes the outcomes of one installation."""

    def __init__(self, installation: str, now: Callable[[], datetime]) -> None:
        self._source = f"/stateward/{installation}"
        self._now = now

    def accepted(self, sequence: int, submission: Submission, answer: Answer) -> bytes:
        told = Accepted(
            source=self._source,
            id=f"accepted-{sequence}",
            subject=str(submission.ref),
            time=self._now(),
            data=AcceptedData(key=submission.key, sequence=sequence, answer=answer),
        )
        return msgspec.json.encode(told)

    def refused(self, sequence: int, subject: str, key: str | None, why: Problem) -> bytes:
        """`subject` is the resource, or the NATS subject of what could not be read."""
        told = Refused(
            source=self._source,
            id=f"refused-{sequence}",
            subject=subject,
            time=self._now(),
            data=RefusedData(key=key, sequence=sequence, problem=why),
        )
        return msgspec.json.encode(told)
