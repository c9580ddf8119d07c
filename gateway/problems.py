"""Every error as an RFC 9457 problem, whoever found it: the rules, the log, an engine, the edge.

`bus.problems` says what an error is; here it becomes an answer, with the statuses that only HTTP
knows: 412 for a condition in a header, 404 only for what the path itself names.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.responses import Response

from bus import problems
from bus.intents import RecordedRefusal
from bus.log import LogError
from domain.refusals import Refusal
from reconcilers.ports import EngineError, EngineUnavailable

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 1


class Trouble(Exception):
    """A problem that the edge itself found."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.headers = status, code, dict(headers or {})
        self.details = details or {}


def answer(
    status: int,
    code: str,
    detail: str,
    details: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
    title: str = "",
) -> Response:
    """A problem as a response. `details` never overrides the members that every problem has."""
    body: dict[str, Any] = {
        **(details or {}),
        "type": f"{problems.TYPE}{code}",
        "title": title or code,
        "status": status,
        "code": code,
        "detail": detail,
    }
    return Response(
        msgspec.json.encode(body), status_code=status, media_type=MEDIA_TYPE, headers=headers
    )


def of_trouble(trouble: Trouble) -> Response:
    return answer(
        trouble.status, trouble.code, str(trouble), trouble.details, headers=trouble.headers
    )


def of_error(
    error: Refusal | LogError, *, resource: str | None = None, conditional: bool = False
) -> Response:
    """The answer to a refused or failed submission.

    Args:
        error: why.
        resource: what the request's path names; only when that is missing is it a 404.
        conditional: the request's headers made a condition, so a stale generation is a 412.
    """
    found = problems.problem(error)
    status = found.status
    if found.code == "Stale" and conditional:
        status = 412
    elif found.code == "NotFound" and not _names(error, resource):
        status = 422
    elif found.code == "LogFull":
        status = 503  # for HTTP clients, retrying is what matters
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if found.retry else None
    return answer(status, found.code, found.detail, found.details, headers, found.title)


def of_engine(error: EngineError) -> Response:
    code = "EngineUnavailable" if isinstance(error, EngineUnavailable) else "EngineError"
    return answer(502, code, str(error))


def _names(error: Refusal | LogError, resource: str | None) -> bool:
    if resource is None:
        return False
    if isinstance(error, RecordedRefusal):  # its details were not kept, its sentence was
        return str(error).startswith(f"{resource} does not exist")
    return isinstance(error, Refusal) and error.details.get("resource") == resource
