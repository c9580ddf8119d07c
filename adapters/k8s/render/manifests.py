"""Making a manifest: an object in its stored form, with its place, its labels and its digest.

The digest covers all that is sent but itself and the position, so an object whose digest stands in
the cluster's labels was sent like this before.
"""

import base64
from collections.abc import Mapping
from hashlib import blake2b
from types import NoneType
from typing import Any, Final

import msgspec

from adapters.k8s.render.labels import Labels, Owner
from reconcilers.object_labels import DIGEST, PART_OF, POSITION
from reconcilers.object_ports import Json, Manifest, Stage

# where nothing inside means something: everything, or the default way
_MEANT: Final = frozenset({"podSelector", "namespaceSelector", "emptyDir"})
_SIMPLE: Final = (str, int, float, NoneType)  # a bool is an int
_PLAIN: Final = frozenset({*_SIMPLE, bool})
_encode = msgspec.json.Encoder(order="deterministic").encode


def manifest(
    stage: Stage,
    owner: Owner,
    kind: str,
    name: str,
    content: Mapping[str, Any],
    *,
    labels: Labels | None = None,
    annotations: Labels | None = None,
    in_set: bool = True,
) -> Manifest:
    """One object in the owner's namespace. `kind` is written `apps/v1 Deployment`, or `v1 Secret`.

    `labels` replace those of the owner. `content` is all but `apiVersion`, `kind`, `metadata`.
    """
    api_version, _, named = kind.rpartition(" ")
    marked = {**(owner.labels if labels is None else labels)}
    if in_set:
        marked[PART_OF] = owner.set_id
    metadata: dict[str, Any] = {"name": name}
    if named != "Namespace":
        metadata["namespace"] = owner.namespace
    metadata |= {"labels": marked, "annotations": annotations or {}}
    body = stored({"apiVersion": api_version, "kind": named, "metadata": metadata, **content})
    digest = content_hash(body)
    body["metadata"]["labels"] = dict(sorted({**marked, DIGEST: digest}.items()))
    return Manifest(stage=stage, body=body, digest=digest)


def sent(manifest: Manifest, position: int) -> dict[str, Any]:
    """The body that goes to the server, with secrets revealed: never log it."""
    metadata = manifest.body["metadata"]
    body = {**manifest.body}
    if "labels" in metadata:
        labels = {**metadata["labels"], POSITION: str(position)}
        body["metadata"] = {**metadata, "labels": labels}
    if manifest.confidential:
        # `stringData` would never take a key away again
        body["data"] = {
            name: base64.b64encode(value.reveal().encode()).decode()
            for name, value in manifest.confidential.items()
        }
    return body


def content_hash(content: object) -> str:
    """16 hexadecimal digits that are equal for equal JSON, whatever the order of its keys."""
    return blake2b(_encode(content), digest_size=8).hexdigest()


def given(**fields: object) -> dict[str, Any]:
    """The fields that have a value; those that are None are left out."""
    return {name: value for name, value in fields.items() if value is not None}


def stored(body: Json) -> dict[str, Any]:
    """A body without what a server would not store: lists and maps with nothing in them.

    What is None stays: it says that a field shall not be there, though a server may have set it.
    """
    slim = dict[str, Any]()
    for name, value in body.items():
        if type(value) in _PLAIN:  # nearly always, and cheap
            slim[name] = value
            continue
        kept = _stored(value)
        if kept or isinstance(kept, _SIMPLE) or name in _MEANT:
            slim[name] = kept
    return slim


def _stored(value: Any) -> Any:
    if isinstance(value, dict):
        return stored(value)
    if isinstance(value, list | tuple):
        return [one if type(one) in _PLAIN else _stored(one) for one in value]
    return value if isinstance(value, _SIMPLE) else stored(value)
