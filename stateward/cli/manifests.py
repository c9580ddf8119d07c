"""Manifests from files, directories and standard input, each knowing where it stands."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from domain.names import KINDS, KINDS_WITHOUT_PROJECT, Ref
from gateway.documents import MAX_BYTES, BadDocument, Document, read_bytes, read_file
from stateward.cli.trouble import BadUse, Refused, Trouble

SUFFIXES: Final = (".yaml", ".yml", ".json")


def gather(paths: Sequence[Path], *, recursive: bool = False) -> list[Document]:
    """Read every manifest, in the order of the paths; of a directory by name.

    Raises:
        BadUse: nothing was named, or it holds no manifest.
        Trouble: a file cannot be read; names the place.
    """
    if not paths:
        raise BadUse("name what to read: -f FILE, -f DIRECTORY, or -f - for standard input")
    documents = [d for path in paths for d in _documents(path, recursive=recursive)]
    if not documents:
        raise BadUse(f"no manifest in {', '.join(map(str, paths))}")
    for document in documents:
        if not isinstance(document.value, dict):
            raise Trouble(f"{document.place()}: a manifest has apiVersion, kind, metadata and spec")
    return documents


def _documents(path: Path, *, recursive: bool) -> Iterator[Document]:
    try:
        if str(path) == "-":
            found = read_bytes(sys.stdin.buffer.read(MAX_BYTES + 1), "standard input")
        elif path.is_dir():
            found = [d for file in _files(path, recursive=recursive) for d in read_file(file)]
        else:
            found = read_file(path)
    except BadDocument as error:
        raise Trouble(str(error)) from None
    except OSError as error:
        raise Trouble(f"{error.filename or path} cannot be read: {error.strerror}") from error
    for document in found:
        yield from _flattened(document)


def _files(directory: Path, *, recursive: bool) -> list[Path]:
    found = directory.rglob("*") if recursive else directory.glob("*")
    return sorted(path for path in found if path.suffix in SUFFIXES and path.is_file())


def _flattened(document: Document) -> Iterator[Document]:
    """The items of a list, which is how `get -o json` writes several resources."""
    value: Any = document.value
    if isinstance(value, dict) and isinstance(value.get("items"), list):
        value = value["items"]
    if not isinstance(value, list):
        yield document
        return
    for item in value:
        yield Document(document.file, document.number, document.line, item)


def body(document: Document) -> Mapping[str, Any]:
    """What is sent: the manifest without what only a server says, so that a read one fits."""
    manifest = {key: value for key, value in document.value.items() if key != "status"}
    metadata = manifest.get("metadata")
    if isinstance(metadata, dict):
        said_by_server = ("uid", "revision", "deleting")
        manifest["metadata"] = {k: v for k, v in metadata.items() if k not in said_by_server}
    return manifest


def ref(document: Document, project: str) -> Ref:
    """What a manifest names; its spec is not looked at.

    Raises:
        Trouble: it names nothing.
    """
    kind, metadata = document.value.get("kind"), document.value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if kind not in KINDS or not isinstance(name, str):
        raise Trouble(
            f"{document.place()}: a manifest needs a kind ({', '.join(KINDS)}) and a name"
        )
    if kind in KINDS_WITHOUT_PROJECT:
        return Ref(kind, "", name)
    owner = metadata.get("project") or project
    if not owner:
        raise BadUse(f"{document.place()}: {kind} {name} belongs to a project; name it by -n")
    return Ref(kind, str(owner), name)


def refs(paths: Sequence[Path], project: str, *, recursive: bool = False) -> list[Ref]:
    """What the manifests name. Raises as `gather` and `ref`."""
    return [ref(document, project) for document in gather(paths, recursive=recursive)]


def located(refused: Refused, documents: Sequence[Document]) -> Trouble:
    """A refusal of a set, with the place of the field it is about."""
    number = refused.problem.get("document")
    if number is None and len(documents) == 1:
        number = 1
    if not isinstance(number, int) or not 1 <= number <= len(documents):
        return refused
    document = documents[number - 1]
    place = document.place(_way(str(refused.problem.get("path") or "")))
    reason = str(refused).removeprefix(f"manifest {number}: ")
    return Refused(f"{place}: {reason}", status=refused.status, problem=refused.problem)


def _way(path: str) -> tuple[str | int, ...]:
    """The keys of `spec.ports[0].name`."""
    words = path.replace("[", ".").replace("]", "").split(".")
    return tuple(int(word) if word.isdecimal() else word for word in words if word)
