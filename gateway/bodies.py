"""Manifests out of request bodies: JSON or YAML, one or a set, read strictly.

What was answered can be sent back: `status` and the members of `metadata` that only the server
sets are taken off. A refusal of one manifest of a set says which one, and in YAML on which line.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from starlette.requests import Request

from bus import manifests
from bus.envelopes import MAX_SET
from bus.intents import Asked
from bus.manifests import API_VERSION, MAX_DEPTH
from domain.names import Ref
from domain.refusals import BadValue, Refusal
from gateway import documents
from gateway.problems import Trouble

YAML: Final = frozenset({"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"})
LONG_YAML: Final = 32_768  # bytes; more is parsed in a thread, for others wait meanwhile
_SERVER_SET: Final = ("uid", "revision", "deleting")
_BYTE = re.compile(r"\(byte (\d+)\)")
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)


class Draft(NamedTuple):
    """A manifest before it is read; `source` is where it stands in YAML."""

    data: bytes
    number: int = 1
    source: documents.Document | None = None


async def manifest(request: Request, ref: Ref) -> tuple[Asked, bytes]:
    """The one manifest of a body for the resource that the path names, and the body."""
    body = await request.body()
    drafts = await _drafts(request, body)
    if len(drafts) != 1:
        raise BadValue("body", f"{len(drafts)} manifests", "this path takes one; see /api/v1/apply")
    return _read(drafts[0], ref, "", alone=True), body


async def manifest_set(request: Request, default_project: str) -> tuple[list[Asked], bytes]:
    """All manifests of a body, and the body."""
    body = await request.body()
    drafts = await _drafts(request, body)
    if not 1 <= len(drafts) <= MAX_SET:
        rule = f"a set has 1 to {MAX_SET} manifests"
        raise BadValue("body", f"{len(drafts)} manifests", rule)
    asked: list[Asked] = []
    for draft in drafts:
        if draft.number % 50 == 0:
            await asyncio.sleep(0)  # reading a large set must not hold up everybody else
        asked.append(_read(draft, None, default_project, alone=len(drafts) == 1))
    return asked, body


def parameters(body: bytes) -> dict[str, object]:
    """The JSON object of a body; an empty body is an empty one."""
    if not body.strip():
        return {}
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except msgspec.ValidationError as error:
        raise BadValue("body", "value", f"it is a JSON object: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(body, error) from error


async def _drafts(request: Request, body: bytes) -> Sequence[Draft]:
    media = request.headers.get("content-type", "application/json")
    media = media.partition(";")[0].strip().lower()
    if media in YAML:
        return await _from_yaml(body)
    if media != "application/json":
        detail = f"the body is {media[:100]!r}; send application/json or application/yaml"
        raise Trouble(415, "UnsupportedMediaType", detail)
    return _from_json(body)


async def _from_yaml(body: bytes) -> Sequence[Draft]:
    try:
        if len(body) > LONG_YAML:
            found = await asyncio.to_thread(documents.read_bytes, body, "body")
        else:
            found = documents.read_bytes(body, "body")
    except documents.BadDocument as error:
        place = {"line": error.line, "column": error.column}
        raise Trouble(400, "Malformed", str(error), details=place) from error
    return [
        Draft(msgspec.json.encode(document.value), number, document)
        for number, document in enumerate(found, 1)
    ]


def _from_json(body: bytes) -> Sequence[Draft]:
    items: list[msgspec.Raw] | None = None
    try:
        if body.lstrip()[:1] == b"[":
            items = msgspec.json.decode(body, type=list[msgspec.Raw])
        elif b'"List"' in body or b'List"' in body:
            items = _listed(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(body, error) from error
    if items is None:
        return [Draft(body)]
    return [Draft(bytes(item), number) for number, item in enumerate(items, 1)]


def _listed(body: bytes) -> list[msgspec.Raw] | None:
    """The items of a list as it was read (`kind: AppList`)."""
    outer = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    if not re.fullmatch(rb'"[A-Za-z]*List"', bytes(outer.get("kind", b""))):
        return None
    return msgspec.json.decode(outer.get("items", b"[]"), type=list[msgspec.Raw])


def _read(draft: Draft, ref: Ref | None, default_project: str, *, alone: bool) -> Asked:
    try:
        try:
            asked = manifests.read(draft.data, default_project=default_project)
            if ref is None or asked.ref == ref:
                return asked
        except Refusal:
            pass
        # It may be one that was read here, or leave out what the path says.
        return manifests.read(_tidied(draft.data, ref), default_project=default_project)
    except Refusal as refusal:
        raise _placed(draft, refusal, alone=alone) from refusal


def _tidied(data: bytes, ref: Ref | None) -> bytes:
    """The manifest without what only the server says, and with what the path says."""
    if len(data) > manifests.MAX_BYTES:
        return data
    try:
        outer: dict[str, Any] = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        metadata: Any = msgspec.json.decode(outer.get("metadata", b"{}"))
    except msgspec.ValidationError:
        return data
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(data, error) from error
    outer.pop("status", None)
    if not isinstance(metadata, dict):
        return data
    for name in _SERVER_SET:
        metadata.pop(name, None)
    if ref is not None:
        outer.setdefault("apiVersion", API_VERSION)
        outer.setdefault("kind", ref.kind)
        _agree("kind", _text(outer["kind"]), ref.kind)
        _agree("metadata.name", metadata.setdefault("name", ref.name), ref.name)
        if ref.project:
            _agree("metadata.project", metadata.setdefault("project", ref.project), ref.project)
    outer["metadata"] = metadata
    return msgspec.json.encode(outer)


def _text(raw: Any) -> Any:
    return msgspec.json.decode(raw) if isinstance(raw, msgspec.Raw) else raw


def _agree(path: str, given: object, named: str) -> None:
    if given != named:
        raise BadValue(path, given, f"the path of the request names {named!r}")


def _placed(draft: Draft, refusal: Refusal, *, alone: bool) -> Refusal | Trouble:
    """The refusal with its place: the manifest's number, and the line that YAML has it on."""
    if alone and draft.source is None:
        return refusal
    details = {**refusal.details, "document": draft.number}
    where = f"manifest {draft.number}"
    if draft.source is not None:
        way = _way(str(refusal.details.get("path", "")))
        details["line"], details["column"] = draft.source.position(way)
        where += f" (line {details['line']})"
    return Trouble(422, refusal.code, f"{where}: {refusal}", details=details)


def _way(path: str) -> tuple[str | int, ...]:
    return tuple(int(index) if index else key for key, index in _STEP.findall(path))


def _malformed(data: bytes, error: Exception) -> Trouble | Refusal:
    depth = level = 0
    for byte in _STRINGS.sub(b"", data):
        level += (byte in b"[{") - (byte in b"]}")
        depth = max(depth, level)
    if isinstance(error, RecursionError) or depth > 2 * MAX_DEPTH:
        return BadValue("body", "...", f"it nests deeper than {MAX_DEPTH} levels")
    if isinstance(error, UnicodeDecodeError):
        at = error.start
    else:
        found = _BYTE.search(str(error))
        at = int(found[1]) if found else len(data)
    line = data.count(b"\n", 0, at) + 1
    column = at - data.rfind(b"\n", 0, at)
    reason = _BYTE.sub("", str(error)).strip()
    detail = f"the body is no JSON at line {line}, column {column}: {reason}"
    return Trouble(400, "Malformed", detail, details={"line": line, "column": column})


def with_generation(asked: Asked, generation: int) -> Asked:
    """The same, on the condition that the resource is at `generation`."""
    return msgspec.structs.replace(asked, generation=generation)
