"""Errors as RFC 9457 problems: one form, whichever way an intent came in.

`status` is HTTP's, `code` names the case for programs, `retry` says whether the same submission,
under the same idempotency key, may succeed later.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from bus.intents import RecordedRefusal
from bus.log import KeyReused, LogError, LogFull, LogRewound, LogUnavailable
from domain.refusals import Refusal

TYPE: Final = "urn:stateward:problem:"
STATUS: Final[Mapping[str, int]] = {
    "BadValue": 422,
    "UnknownField": 422,
    "Forbidden": 403,
    "NotFound": 404,
    "InUse": 409,
    "Taken": 409,
    "Stale": 409,
    "Superseded": 409,
    "NotPossible": 409,
    "Frozen": 409,
    "Expired": 409,
    "KeyReused": 422,
    "Overloaded": 429,
    "LogUnavailable": 503,
    "LogRewound": 503,
    "LogFull": 507,
}
"""Of the codes; a refusal with another one is a 409: the intent and the present do not fit."""


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to tell who asked. `details` holds the facts of the sentence by name."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retry: bool = False
    details: Mapping[str, Any] = {}


class Overloaded(Exception):
    """Too many intents are waiting to be decided; nothing was done with this one."""


def problem(error: Refusal | LogError | Overloaded) -> Problem:
    """The problem that an error of a submission is."""
    code = _code(error)
    return Problem(
        type=f"{TYPE}{code}",
        title=_TITLES.get(code, "The intent was refused"),
        status=STATUS.get(code, 409),
        detail=str(error),
        code=code,
        retry=isinstance(error, LogUnavailable | Overloaded),
        details=error.details if isinstance(error, Refusal) else {},
    )


_TITLES: Final[Mapping[str, str]] = {
    "Overloaded": "Too many intents at once",
    "KeyReused": "The idempotency key belongs to another intent",
    "LogUnavailable": "The log cannot be written now",
    "LogFull": "The log has no space left",
    "LogRewound": "The log went backwards",
    "Forbidden": "The actor may not do this",
}


def _code(error: Refusal | LogError | Overloaded) -> str:
    match error:
        case RecordedRefusal(recorded_code=code):
            return code
        case Refusal(code=code):
            return code
        case LogFull() | LogRewound() | KeyReused() | LogUnavailable() | Overloaded():
            return type(error).__name__
        case _:
            return "LogUnavailable"
