"""What a producer gets back: an answer, or a refusal whose class says what to do about it.

Exception
├── Refused         understood and declined; nothing changed
│   ├── Invalid     422: correct it, and send it under a new key
│   ├── NotAllowed  403: the actor may not; ask an admin
│   ├── NotThere    404: it, or what it needs, does not exist
│   └── Conflict    409: the present is another; read it again, and ask anew
└── Unanswered      nobody knows whether it was done; ask again under the same key
"""

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple, final

import msgspec

from bus.intents import Answer
from bus.nats import outcomes
from bus.problems import Problem


class Refused(Exception):
    """The intent was declined. `problem` says why: `code` for programs, `detail` for people."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.code}: {problem.detail}")
        self.problem = problem


class Invalid(Refused):
    """It cannot be read, or its key belongs to another intent."""


class NotAllowed(Refused):
    """The actor may not do this."""


class NotThere(Refused):
    """The resource, or one that it needs, does not exist."""


class Conflict(Refused):
    """It does not fit the present: stale, superseded, expired, in use, not possible."""


class Unanswered(Exception):
    """There was no answer. The intent may be done, or be done later."""

    def __init__(self, key: str, patience: float, why: str) -> None:
        super().__init__(
            f"the intent {key!r} got no answer within {patience:g} s ({why}); "
            "send it again under the same key: it is done once"
        )
        self.key = key


@final
class Submitted:
    """What was handed in. `sequence` is its place in the submit stream."""

    def __init__(self, key: str, subject: str, envelope: bytes) -> None:
        self.key = key
        self.subject = subject
        self.envelope = envelope
        self.sequence = 0
        self.decided: asyncio.Future[Answer | Problem] = asyncio.Future()


class Decided(NamedTuple):
    """What became of the submission with a key."""

    key: str | None
    outcome: Answer | Problem


_BY_STATUS: Final[Mapping[int, type[Refused]]] = {
    403: NotAllowed,
    404: NotThere,
    409: Conflict,
    422: Invalid,
}
_PROBLEM = msgspec.json.Decoder(Problem)
_ANSWER = msgspec.json.Decoder(Answer)
_TYPE = msgspec.json.Decoder(outcomes.Kind)
_ACCEPTED = msgspec.json.Decoder(outcomes.Accepted)
_REFUSED = msgspec.json.Decoder(outcomes.Refused)


def answered(reply: bytes) -> Answer:
    """The answer to a request.

    Raises:
        Refused: it is a problem, or nothing that a control plane would say.
    """
    try:
        return _ANSWER.decode(reply)
    except (
        msgspec.MsgspecError,
        UnicodeDecodeError,
    ):  # then it is the other thing that may be said
        return accepted(_problem(reply))


def decided(message: bytes) -> Decided | None:
    """What an outcome tells; None if that cannot be read."""
    try:
        if _TYPE.decode(message).type == outcomes.ACCEPTED:
            told = _ACCEPTED.decode(message).data
            return Decided(told.key, told.answer)
        declined = _REFUSED.decode(message).data
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return Decided(declined.key, declined.problem)


def accepted(outcome: Answer | Problem) -> Answer:
    """Raises `Refused` if the outcome is a problem."""
    if isinstance(outcome, Answer):
        return outcome
    raise _BY_STATUS.get(outcome.status, Refused)(outcome)


def _problem(reply: bytes) -> Problem:
    try:
        return _PROBLEM.decode(reply)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Problem(
            type="about:blank",
            title="The reply cannot be read",
            status=500,
            detail=f"what was said is neither an answer nor a problem: {error}; "
            "look who answers on this subject",
            code="Unreadable",
        )
