"""Refusals of the API server, with the `Status` body that goes with each."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.kubernetes.schema import Object

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class Refused(Exception):  # as domain refusals are called
    """The server answers with an error. `reason=""` leaves it out, as for schema errors."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str | None = None,
        causes: Sequence[Mapping[str, str]] = (),
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.headers = dict(headers or {})
        self.body: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "code": code,
        }
        if said := REASONS[code] if reason is None else reason:
            self.body["reason"] = said
        told = {**(details or {}), **({"causes": list(causes)} if causes else {})}
        if told:
            self.body["details"] = told


def cause(reason: str, field: str, message: str) -> dict[str, str]:
    return {"reason": reason, "field": field, "message": message}


def not_found(resource: str, group: str, name: str) -> Refused:
    qualified = f"{resource}.{group}" if group else resource
    details = {"name": name, "group": group, "kind": resource}
    return Refused(404, f'{qualified} "{name}" not found', details=details)


def invalid(kind: str, name: str, causes: Sequence[Mapping[str, str]]) -> Refused:
    said = ", ".join(f"{one['field']}: {one['message']}" for one in causes)
    return Refused(
        422,
        f'{kind} "{name}" is invalid: {said}',
        causes=causes,
        details={"name": name, "kind": kind},
    )


def changed(resource: str, name: str, why: str = "") -> Refused:
    said = why or (
        "the object has been modified; "
        "please apply your changes to the latest version and try again"
    )
    details = {"name": name, "kind": resource}
    return Refused(
        409, f'Operation cannot be fulfilled on {resource} "{name}": {said}', details=details
    )
