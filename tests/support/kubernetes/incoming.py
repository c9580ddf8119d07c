"""What was sent, before anything is done: is it meant for this URL, does it fit its kind?"""

from typing import Any

import yaml

from tests.support.kubernetes import checking
from tests.support.kubernetes.answers import Refused, cause, invalid
from tests.support.kubernetes.checking import checked, without_nulls
from tests.support.kubernetes.requests import Request
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.store import without


def checked_body(request: Request, body: Any) -> tuple[Object, tuple[str, ...]]:
    if not isinstance(body, dict):
        raise Refused(400, "the object provided is unrecognized: it is no JSON object")
    body = without_nulls(body)
    body.setdefault("apiVersion", request.kind.api_version)
    body.setdefault("kind", request.kind.name)
    _meant(request, body)
    found = checked(request.kind.schema, body)
    if found.wrong:
        if request.kind.custom:
            causes = [cause("FieldValueTypeInvalid", *fault) for fault in found.wrong]
            raise invalid(request.kind.name, request.name, causes)
        said = "; ".join(f"{path}: {why}" for path, why in found.wrong)
        raise Refused(
            400,
            f"{request.kind.name} in version {request.kind.version!r} cannot be handled: {said}",
        )
    warnings = tuple(f'unknown field "{path}"' for path in found.unknown)
    if warnings and request.strict:
        raise Refused(400, f"strict decoding error: {', '.join(warnings)}")
    return found.body, warnings


def applied_body(request: Request) -> Object:
    try:
        sent = yaml.safe_load(request.body) if isinstance(request.body, bytes) else request.body
    except yaml.YAMLError as error:
        raise Refused(400, f"error decoding YAML: {error}") from error
    if not isinstance(sent, dict) or not sent.get("apiVersion") or not sent.get("kind"):
        raise Refused(400, "invalid object type: apiVersion and kind must be set")
    metadata = sent["metadata"] = without_nulls(sent.get("metadata") or {})
    if metadata.get("managedFields"):
        raise Refused(400, "metadata.managedFields must be nil")
    _meant(request, sent)
    found = checked(request.kind.schema, sent)
    faults = [f".{path}: field not declared in schema" for path in found.unknown]
    faults += [f".{path}: {said}" for path, said in found.wrong]
    faults += checking.double_keys(request.kind.schema, found.body)
    if request.kind.custom and not found.wrong:
        faults = [] if not request.strict else faults
    if faults:
        where = f"{request.namespace}/{request.name}; {sent['apiVersion']}, Kind={sent['kind']}"
        said = f"failed to create typed patch object ({where}): errors:\n  " + "\n  ".join(faults)
        raise Refused(500, said, reason="")
    sent = found.body
    if request.subresource == "status":
        return without(sent, "spec")
    return without(sent, "status") if request.kind.has_status else dict(sent)


def _meant(request: Request, sent: Object) -> None:
    """Refuse an object that is not the one the URL names."""
    kind = request.kind
    if (sent.get("apiVersion"), sent.get("kind")) != (kind.api_version, kind.name):
        said = f"{sent.get('kind')} of {sent.get('apiVersion')} does not match {kind.name}"
        raise Refused(400, f"the object provided is unrecognized: {said}")
    metadata = sent.get("metadata") or {}
    if metadata.get("namespace", request.namespace) != request.namespace:
        said = (
            "the namespace of the provided object does not match the namespace sent on the request"
        )
        raise Refused(400, said)
    if request.name and metadata.get("name", request.name) != request.name:
        said = "the name of the object does not match the name on the URL"
        raise Refused(400, f"{said} ({request.name})")
