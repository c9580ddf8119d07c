"""What a cluster refuses, and which of it can be helped by waiting.

KubernetesError (an `EngineError`: its message is fit for a status)
├── ClusterUnavailable      no answer, or none in time: retry later (also an `EngineUnavailable`)
│   ├── Disconnected        ... there is no connection, or it broke off
│   └── Throttled           ... not before `retry_after` seconds
├── Unauthorized            the cluster does not know our credentials
├── Forbidden               our account lacks a verb, which it names
├── NotFound                the object is not there
│   └── KindMissing         the cluster serves no such kind
├── Gone                    the version or page asked for has expired: list again
├── Conflict                somebody else changed or owns it: look again
│   └── NameInUse           an object of this name is there already
├── NamespaceTerminating    nothing can be created there any more
└── Rejected                it can never be as it is asked for: do not retry, change it
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from reconcilers.ports import EngineError, EngineUnavailable

_DEFAULT_RETRY: Final = 1.0  # seconds, when a throttling server does not say
_LONGEST: Final = 600  # characters of a server's own words that a message repeats
_CANNOT: Final = re.compile(r"cannot (\w+) resource")
_MANAGER: Final = re.compile(r'conflict with "([^"]+)"')


class Asked(NamedTuple):
    """A request in the words of RBAC, for messages."""

    verb: str
    resource: str  # `deployments.apps`
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        where = f" in namespace {self.namespace!r}" if self.namespace else ""
        name = f" {self.name!r}" if self.name else ""
        return f"{self.verb} {self.resource}{name}{where}"


class FieldConflict(NamedTuple):
    """A field of an object, and the manager who owns it."""

    field: str
    manager: str


class KubernetesError(EngineError):
    """A cluster did not do what was asked."""

    def __init__(self, message: str, *, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class ClusterUnavailable(KubernetesError, EngineUnavailable):
    """No answer, or one that a later try may better. It may have been carried out."""


class Disconnected(ClusterUnavailable):
    """There is no connection, or it broke off."""


class Throttled(ClusterUnavailable):
    """The cluster asks for patience."""

    def __init__(self, message: str, *, code: int, retry_after: float) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class Unauthorized(KubernetesError):
    """The cluster does not accept our credentials."""


class Forbidden(KubernetesError):
    """Our account may not do this. `verb` and `resource` say what a Role has to grant."""

    def __init__(self, message: str, *, verb: str, resource: str, namespace: str) -> None:
        super().__init__(message, code=403)
        self.verb, self.resource, self.namespace = verb, resource, namespace


class NotFound(KubernetesError):
    """The object, or the namespace it would be in, is not there."""


class KindMissing(NotFound):
    """The cluster serves no such kind: a definition is not installed."""


class Gone(KubernetesError):
    """What was to be continued is no longer remembered: list again from the start."""


class Conflict(KubernetesError):
    """The object is not as it was seen, or fields of it belong to others."""

    def __init__(self, message: str, *, fields: tuple[FieldConflict, ...] = ()) -> None:
        super().__init__(message, code=409)
        self.fields = fields


class NameInUse(Conflict):
    """An object of this name is there already."""


class NamespaceTerminating(KubernetesError):
    """The namespace is on its way out; when it is gone it can be made anew."""


class Rejected(KubernetesError):
    """Invalid, immutable, unknown fields, too large: the same request will be refused again.

    `fields` are the paths that the server named.
    """

    def __init__(self, message: str, *, code: int, fields: tuple[str, ...] = ()) -> None:
        super().__init__(message, code=code)
        self.fields = fields


class _Cause(msgspec.Struct, frozen=True):
    reason: str = ""
    message: str = ""
    field: str = ""


class _Details(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    causes: tuple[_Cause, ...] | None = ()
    retry_after_seconds: float = 0.0


class Status(msgspec.Struct, frozen=True):
    """The body of a refusal, as far as it is read."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: _Details | None = None

    @property
    def causes(self) -> tuple[_Cause, ...]:
        return (self.details.causes or ()) if self.details is not None else ()


def status_of(body: bytes) -> Status:
    """Read a refusal; what is no `Status` (a proxy's page) becomes its message."""
    try:
        return msgspec.json.decode(body, type=Status)
    except msgspec.MsgspecError:
        return Status(message=body.decode(errors="replace"))


class _Refused(NamedTuple):
    """An answer of 400 and above."""

    cluster: str
    asked: Asked
    code: int
    status: Status
    headers: Mapping[str, str]

    @property
    def told(self) -> str:
        said = self.status.message[:_LONGEST] or "it did not say why"
        return f"asked to {self.asked}, the cluster at {self.cluster} answered {self.code}: {said}"


def refusal(
    cluster: str, asked: Asked, code: int, status: Status, headers: Mapping[str, str]
) -> KubernetesError:
    """The error for an answer of 400 and above."""
    refused = _Refused(cluster, asked, code, status, headers)
    if (by_code := _BY_CODE.get(code)) is not None:
        return by_code(refused)
    if any(one.reason == "ResourceVersionTooLarge" for one in status.causes):
        return _gone(refused)  # it was restored from a backup
    if code >= 500 and not _is_schema_error(status):
        return _unavailable(refused)
    return _rejected(refused)


def _rejected(refused: _Refused) -> Rejected:
    fields = tuple(one.field for one in refused.status.causes if one.field)
    message = f"{refused.told}; change it, trying again will not help"
    return Rejected(message, code=refused.code, fields=fields)


def _is_schema_error(status: Status) -> bool:
    """Server-side apply answers 500 without a reason when an object does not fit its schema."""
    return not status.reason and "typed patch object" in status.message


def _unavailable(refused: _Refused) -> ClusterUnavailable:
    if "Retry-After" in refused.headers:
        return _throttled(refused)
    return ClusterUnavailable(refused.told, code=refused.code)


def _throttled(refused: _Refused) -> Throttled:
    """HTTP also allows a date in `Retry-After`; API servers send seconds."""
    try:
        seconds = float(refused.headers["Retry-After"])
    except (KeyError, ValueError):
        details = refused.status.details or _Details()
        seconds = details.retry_after_seconds or _DEFAULT_RETRY
    return Throttled(refused.told, code=refused.code, retry_after=seconds)


def _forbidden(refused: _Refused) -> KubernetesError:
    if any(one.reason == "NamespaceTerminating" for one in refused.status.causes):
        message = f"{refused.told}; it can be made again when the namespace is gone"
        return NamespaceTerminating(message, code=403)
    found = _CANNOT.search(refused.status.message)
    if found is None:  # a policy of the cluster: quota, Pod Security, a webhook
        return _rejected(refused)
    asked, verb = refused.asked, found[1]
    where = f"in namespace {asked.namespace!r}" if asked.namespace else "in all namespaces"
    message = (
        f"the account of this target may not {verb} {asked.resource} {where} of the cluster at "
        f"{refused.cluster}; grant it the verb {verb!r} there"
    )
    return Forbidden(message, verb=verb, resource=asked.resource, namespace=asked.namespace)


def _not_found(refused: _Refused) -> NotFound:
    details = refused.status.details
    if details is not None and details.name:
        return NotFound(refused.told, code=404)
    message = f"{refused.told}; install the definition of {refused.asked.resource}"
    return KindMissing(message, code=404)


def _conflict(refused: _Refused) -> Conflict:
    if refused.status.reason == "AlreadyExists":
        return NameInUse(refused.told)
    fields = tuple(
        FieldConflict(one.field, found[1])
        for one in refused.status.causes
        if one.reason == "FieldManagerConflict" and (found := _MANAGER.search(one.message))
    )
    return Conflict(refused.told, fields=fields)


def _unauthorized(refused: _Refused) -> Unauthorized:
    message = f"{refused.told}; check the credentials of this target"
    return Unauthorized(message, code=refused.code)


def _gone(refused: _Refused) -> Gone:
    return Gone(f"{refused.told}; it is listed anew", code=refused.code)


_BY_CODE: Final[Mapping[int, Callable[[_Refused], KubernetesError]]] = MappingProxyType(
    {
        401: _unauthorized,
        403: _forbidden,
        404: _not_found,
        409: _conflict,
        410: _gone,
        429: _throttled,
    }
)
