"""Manifests: resources as people write them, read into intents or refused field by field.

A manifest is JSON here; YAML is turned into it by whoever reads files. Every refusal names the
path of the field, the value, the rule and, for an unknown field, the nearest known name.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final, get_args

import msgspec
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from bus import remedies
from domain import app, project, target, wish
from domain.intents import Apply
from domain.names import KINDS, KINDS_WITHOUT_PROJECT, Ref, check_name
from domain.refusals import BadValue, Refusal, UnknownField
from domain.schema import written
from domain.secret import SecretText

API_VERSION: Final = "stateward/v1"
MAX_BYTES: Final = 1 << 20  # of one manifest; a spec near this size is a mistake
MAX_DEPTH: Final = 32

ALIASES: Final[Mapping[str, str]] = {
    "periodSeconds": "interval",
    "period": "interval",
    "timeoutSeconds": "timeout",
    "failureThreshold": "failures",
    "successThreshold": "successes",
    "retries": "failures",
    "httpGet": "http",
    "tcpSocket": "tcp",
    "environment": "env",
    "instances": "replicas",
    "scale": "replicas",
    "count": "replicas",
    "entrypoint": "command",
    "cmd": "args",
    "workingDir": "workdir",
    "working_dir": "workdir",
    "containerPort": "port",
    "healthcheck": "health",
    "probes": "health",
    "limits": "resources",
    "mem": "memory",
    "terminationGracePeriodSeconds": "stopGrace",
    "stop_grace_period": "stopGrace",
    "strategy": "rollout",
    "updateStrategy": "rollout",
    "autoscaling": "autoscale",
    "hpa": "autoscale",
    "minReplicas": "min",
    "maxReplicas": "max",
    "mounts": "volumes",
    "mountPath": "path",
    "imagePullPolicy": "imagePull",
    "namespace": "project",
    "ingress": "routes",
    "hostname": "host",
    "fqdn": "host",
    "pathPrefix": "path",
    "path_prefix": "path",
    "httpPort": "port",
    "targetPort": "port",
    "authentication": "auth",
    "internetPort": "hostPort",
    "published": "hostPort",
    "nodePort": "hostPort",
    "portPublications": "publish",
    "https": "tls",
    "availableDomains": "domains",
}
"""What other systems call it, to what it is called here."""

_SPECS: Final[Mapping[str, TypeAdapter[Any]]] = {
    "App": app.SPEC_ADAPTER,
    "Project": project.SPEC_ADAPTER,
    "Target": target.SPEC_ADAPTER,
}
_MISSING: Final = re.compile(r"Object missing required field `(\w+)`(?: - at `\$\.([\w.]+)`)?")
_METADATA: Final = ("name", "project", "labels", "generation")


class _Metadata(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    name: str
    project: str = ""
    labels: dict[str, str] = {}
    generation: int | None = None


class _Manifest(msgspec.Struct, gc=False, rename="camel", forbid_unknown_fields=True):
    api_version: str
    kind: str
    metadata: _Metadata
    spec: msgspec.Raw = msgspec.Raw(b"{}")


_decoder = msgspec.json.Decoder(_Manifest)


class SecretManifest(msgspec.Struct, frozen=True):
    """A Secret with its values, on the way from the edge to the secret store."""

    ref: Ref
    values: dict[str, SecretText]
    labels: dict[str, str]
    generation: int | None = None


def read(data: bytes, *, default_project: str = "") -> Apply | SecretManifest:
    """Read one manifest.

    Args:
        data: its JSON.
        default_project: for a manifest that names none.

    Raises:
        Refusal: it is not a manifest of a known kind, or a field cannot be used.
    """
    if len(data) > MAX_BYTES:
        rule = f"a manifest has at most {MAX_BYTES} bytes; move data out of the spec"
        raise BadValue("manifest", f"{len(data)} bytes", rule)
    try:
        manifest = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _shape_refusal(data, error) from error
    ref = _ref(manifest, default_project)
    labels = _labels(manifest.metadata.labels)
    if ref.kind == "Secret":
        values = _secret_values(bytes(manifest.spec))
        return SecretManifest(ref, values, labels, manifest.metadata.generation)
    return Apply(
        ref=ref,
        spec=read_spec(ref.kind, bytes(manifest.spec)),
        labels=labels,
        generation=manifest.metadata.generation,
    )


def read_spec(kind: str, data: bytes) -> Any:
    """Read the spec of a kind, which is not `Secret`.

    Raises:
        Refusal: names the first field that cannot be used.
    """
    try:
        return wish.read(data) if kind == "App" else _SPECS[kind].validate_json(data)
    except ValidationError as error:
        raise _spec_refusal(_SPECS[kind], error) from None


def write(ref: Ref, spec: bytes, labels: Mapping[str, str], generation: int) -> dict[str, Any]:
    """The manifest of a stored resource, as `read` takes it, with its generation."""
    metadata: dict[str, Any] = {"name": ref.name}
    if ref.project:
        metadata["project"] = ref.project
    if labels:
        metadata["labels"] = dict(labels)
    metadata["generation"] = generation
    return {
        "apiVersion": API_VERSION,
        "kind": ref.kind,
        "metadata": metadata,
        "spec": msgspec.json.decode(spec),
    }


def _ref(manifest: _Manifest, default_project: str) -> Ref:
    if manifest.api_version != API_VERSION:
        raise BadValue("apiVersion", manifest.api_version, f"this server knows {API_VERSION}")
    kind = manifest.kind
    if kind not in KINDS:
        near = nearest(kind, KINDS)
        hint = f"did you mean {near!r}?" if near else f"kinds are {', '.join(KINDS)}"
        raise BadValue("kind", kind, hint)
    owner = manifest.metadata.project or ("" if kind in KINDS_WITHOUT_PROJECT else default_project)
    return _checked_ref(kind, owner, manifest.metadata.name)


@lru_cache(maxsize=16_384)  # a fleet is applied again and again
def _checked_ref(kind: str, owner: str, name: str) -> Ref:
    check_name(name, "metadata.name")
    if kind in KINDS_WITHOUT_PROJECT:
        if owner:
            raise BadValue("metadata.project", owner, f"a {kind} belongs to no project")
        return Ref(kind, "", name)
    if not owner:
        raise BadValue("metadata.project", "", f"a {kind} belongs to a project; name it")
    return Ref(kind, check_name(owner, "metadata.project"), name)


def _labels(labels: dict[str, str]) -> dict[str, str]:
    if not labels:
        return labels
    if len(labels) > 64:
        raise BadValue("metadata.labels", f"{len(labels)} labels", "there may be at most 64")
    for key, value in labels.items():
        if not key or len(key) > 128 or len(value) > 256:
            rule = "a label has a name of 1 to 128 and a value of up to 256 characters"
            raise BadValue(f"metadata.labels.{key}", value, rule)
    return dict(sorted(labels.items()))


def _secret_values(spec: bytes) -> dict[str, SecretText]:
    """Read `{data: {key: text}}`; refusals never show a value."""
    raw = msgspec.json.decode(spec)
    if not isinstance(raw, dict) or not isinstance(raw.get("data"), dict):
        raise BadValue("spec", "***", "a Secret is `data:` with one text for each key")
    for name in raw:
        if name != "data":
            raise UnknownField(f"spec.{name}", nearest(name, ("data",)), ("data",))
    values: dict[str, SecretText] = {}
    for key, value in raw["data"].items():
        too_long = not isinstance(value, str) or len(value) > 65_536 or len(key) > 256
        if too_long or not key or "\x00" in key or "\x00" in value:
            rule = "keys and values are texts without NUL, a value of at most 64 KiB; quote numbers"
            raise BadValue(f"spec.data.{key[:256]}", "***", rule)
        values[key] = SecretText(value)
    return values


def _shape_refusal(data: bytes, error: Exception) -> Refusal:
    """Why the outer part is not a manifest, naming the unknown field if that is the reason."""
    try:
        raw = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return BadValue("manifest", "text", f"it is no JSON: {error}")
    if not isinstance(raw, dict):
        return BadValue("manifest", type(raw).__name__, "a manifest has apiVersion, kind, metadata")
    top = ("apiVersion", "kind", "metadata", "spec")
    for known, given, prefix in ((top, raw, ""), (_METADATA, raw.get("metadata"), "metadata.")):
        for name in given if isinstance(given, dict) else ():
            if name not in known:
                return UnknownField(f"{prefix}{name}", nearest(name, known), known)
    missing = _MISSING.match(str(error))
    if missing:
        inside = f"{missing[2]}." if missing[2] else ""
        return BadValue(f"{inside}{missing[1]}", None, "this field is required; add it")
    return BadValue("manifest", "value", str(error))


def _spec_refusal(adapter: TypeAdapter[Any], error: ValidationError) -> Refusal:
    """The refusal of the first fault: unknown fields first, for they explain the missing ones.

    What was written with fields is no text, so a fault of the fields says more.
    """
    faults = error.errors(include_url=False)

    def rank(fault: ErrorDetails) -> int:
        if fault["type"] == "unexpected_keyword_argument":
            return 0
        return 2 if fault["type"] == "string_type" and isinstance(fault["input"], dict) else 1

    return _refusal(adapter, min(faults, key=rank))


def _refusal(adapter: TypeAdapter[Any], fault: ErrorDetails) -> Refusal:
    path, place = _path(fault["loc"])
    if fault["type"] == "unexpected_keyword_argument":
        known = tuple(_fields_at(adapter, place[:-1]))
        return UnknownField(path, nearest(str(place[-1]), known), known)
    if fault["type"] == "recursion_loop" or len(place) > MAX_DEPTH:
        return BadValue(path, "...", f"it nests deeper than {MAX_DEPTH} levels")
    given = None if fault["type"] == "missing" else fault["input"]
    return BadValue(path, given, remedies.explained(fault, path, nearest))


def _path(location: tuple[int | str, ...]) -> tuple[str, list[int | str]]:
    """`spec.ports[0].name` of pydantic's location, without its notes on unions and functions."""
    place = [part for part in location if isinstance(part, int) or not _is_note(part)]
    path = "spec"
    for part in place:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path, place


def _is_note(part: str) -> bool:
    return "[" in part or part in {"FromSecret", "constrained-str", "str", "int", "json"}


def _fields_at(adapter: TypeAdapter[Any], place: Iterable[int | str]) -> Iterable[str]:
    """The names known at a place, found by walking the dataclasses of the spec."""
    at: Any = adapter._type  # noqa: SLF001 -- pydantic offers no public way back to the type
    for part in place:
        at = _dataclass_in(at)
        if at is None or isinstance(part, int):
            continue
        found = {written(field.name): field.type for field in fields(at)}
        at = found.get(part, at)
    at = _dataclass_in(at)
    return (written(field.name) for field in fields(at)) if at else ()


def _dataclass_in(annotation: Any) -> Any:
    """The dataclass inside an annotation such as `Annotated[tuple[Port, ...], ...] | None`."""
    if isinstance(annotation, type) and is_dataclass(annotation):
        return annotation
    for inner in get_args(getattr(annotation, "__value__", annotation)):
        found = _dataclass_in(inner)
        if found is not None:
            return found
    return None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant: another system's word for it, or a typing error."""
    names = list(known)
    alias = ALIASES.get(name)
    if alias in names:
        return alias
    lowered = {candidate.lower(): candidate for candidate in names}
    close = get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return lowered[close[0]] if close else None
