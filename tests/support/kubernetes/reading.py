"""Lists in pages of one snapshot, and watches: what is there, then each change behind it."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from tests.support.kubernetes.answers import Refused, cause
from tests.support.kubernetes.kinds import Kind
from tests.support.kubernetes.requests import Request
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.selectors import Selects, by_fields, by_labels
from tests.support.kubernetes.store import Change, Store, Stored

_SNAPSHOTS = 200  # lists under way whose next pages are known
_BOOKMARKS = 60.0  # seconds between bookmarks while a watch is quiet
_INITIAL_END = "k8s.io/initial-events-end"

type Lines = tuple[bytes, ...]
type EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    version: int
    items: tuple[Stored, ...]


def gone(said: str) -> Refused:
    return Refused(410, said, reason="Expired")


@dataclass(slots=True)
class Reading:
    store: Store
    bookmarks: float = _BOOKMARKS
    _snapshots: dict[str, Snapshot] = field(default_factory=dict)
    _tokens: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def expire_pages(self) -> None:
        """Let every list under way end in 410, as after a compaction."""
        self._snapshots.clear()

    # --- lists --------------------------------------------------------------------------------

    def list(self, request: Request) -> bytes:
        """A page, encoded.

        Raises:
            Refused: 400, a selector or token makes no sense; 410, the token is too old; 504, the
                version asked for has not come yet.
        """
        token = request.query.get("continue", "")
        limit = int(request.query.get("limit") or 0)
        snapshot, start = self._resumed(token) if token else (self._snapshot(request), 0)
        end = start + limit if limit else len(snapshot.items)
        metadata: Object = {"resourceVersion": str(snapshot.version)}
        if end < len(snapshot.items):
            metadata["continue"] = self._remembered(snapshot, end)
            if not request.query.get("labelSelector") and not request.query.get("fieldSelector"):
                metadata["remainingItemCount"] = len(snapshot.items) - end
        return _page(request, metadata, snapshot.items[start:end])

    def _snapshot(self, request: Request) -> Snapshot:
        asked = int(request.query.get("resourceVersion") or 0)
        if asked > self.store.version:
            raise Refused(
                504,
                f"Timeout: Too large resource version: {asked}, current: {self.store.version}",
                causes=[cause("ResourceVersionTooLarge", "", "Too large resource version")],
                details={"retryAfterSeconds": 1},
            )
        selects = selection(request)
        kind = request.kind
        found = self.store.all(kind.group, kind.plural, request.namespace)
        items = tuple(stored for _, stored in found if selects(stored.object))
        return Snapshot(self.store.version, items)

    def _remembered(self, snapshot: Snapshot, end: int) -> str:
        token = f"page-{next(self._tokens)}"
        if len(self._snapshots) >= _SNAPSHOTS:
            del self._snapshots[next(iter(self._snapshots))]
        self._snapshots[token] = snapshot
        return f"{token}.{end}"

    def _resumed(self, token: str) -> tuple[Snapshot, int]:
        name, _, start = token.partition(".")
        if not name.startswith("page-") or not start.isdigit():
            raise Refused(400, "continue key is not valid")
        if name not in self._snapshots:
            raise gone("The provided continue parameter is too old for a consistent list")
        return self._snapshots[name], int(start)

    # --- watches ------------------------------------------------------------------------------

    async def watch(self, request: Request) -> AsyncGenerator[Lines]:
        """Lines of events, those together that came together. Raises like `list`.

        It has no end: the caller ends it, or drops it.
        """
        selects = selection(request)
        asked = request.query.get("resourceVersion", "")
        initial = request.query.get("sendInitialEvents") == "true"
        bookmarks = request.query.get("allowWatchBookmarks") in {"true", "1"}
        version = self.store.version
        if asked in {"", "0"} or initial:
            for _, stored in self._there(request):
                if selects(stored.object):
                    yield (_event("ADDED", _shown(request, stored)),)
            if initial and bookmarks:
                yield (_bookmark(request.kind, version, {_INITIAL_END: "true"}),)
        else:
            version = int(asked)
        changes = self._changes(request, version, selects, bookmarks=bookmarks)
        async with aclosing(changes):
            async for lines in changes:
                yield lines

    async def _changes(
        self, request: Request, version: int, selects: Selects, *, bookmarks: bool
    ) -> AsyncGenerator[Lines]:
        with self.store.feed(request.kind.group, request.kind.plural) as feed:
            if version < self.store.oldest:
                said = f"too old resource version: {version} ({self.store.oldest})"
                yield (_event("ERROR", msgspec.json.encode(gone(said).body)),)
                return
            history = self.store.after(version)
            if lines := _lines(request, history, selects):
                yield lines
            while True:
                with suppress(TimeoutError):  # at its very end something may come all the same
                    async with asyncio.timeout(self.bookmarks if bookmarks else None):
                        await feed.come()
                changes = feed.take()
                if not changes:
                    yield (_bookmark(request.kind, self.store.version, {}),)
                elif lines := _lines(request, changes, selects):
                    yield lines

    def _there(self, request: Request) -> Iterable[tuple[object, Stored]]:
        return self.store.all(request.kind.group, request.kind.plural, request.namespace)


def selection(request: Request) -> Selects:
    by_label = by_labels(request.query.get("labelSelector", ""))
    by_field = by_fields(request.kind.name, request.query.get("fieldSelector", ""))
    if request.name:
        return lambda written: written["metadata"]["name"] == request.name
    return lambda written: by_label(written) and by_field(written)


def _page(request: Request, metadata: Object, items: Iterable[Stored]) -> bytes:
    if request.wants_metadata_only:
        head = ("PartialObjectMetadataList", "meta.k8s.io/v1")
        encoded = [msgspec.json.encode(metadata_only(stored.object)) for stored in items]
    else:
        head = (f"{request.kind.name}List", request.kind.api_version)
        encoded = [stored.as_item for stored in items]
    start = msgspec.json.encode({"kind": head[0], "apiVersion": head[1], "metadata": metadata})
    return start[:-1] + b',"items":[' + b",".join(encoded) + b"]}"


def metadata_only(written: Object) -> Object:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": written["metadata"],
    }


def _shown(request: Request, stored: Stored) -> bytes:
    if request.wants_metadata_only:
        return msgspec.json.encode(metadata_only(stored.object))
    return stored.encoded


def _lines(request: Request, changes: Iterable[Change], selects: Selects) -> Lines:
    return tuple(line for one in changes if (line := _told(request, one, selects)))


def _told(request: Request, change: Change, selects: Selects) -> bytes | None:
    """The event of a change, as one who selects sees it: what leaves a selection is deleted."""
    group, plural, namespace, _ = change.place
    if (group, plural) != (request.kind.group, request.kind.plural):
        return None
    if request.namespace and namespace != request.namespace:
        return None
    before = change.before is not None and selects(change.before.object)
    after = change.after is not None and selects(change.after.object)
    if not before and not after:
        return None
    if after:
        return _event("MODIFIED" if before else "ADDED", _shown(request, change.last))
    last = change.last
    if change.after is not None and change.before is not None:
        written = change.before.copied()
        written["metadata"]["resourceVersion"] = str(change.version)
        last = Stored(written)
    return _event("DELETED", _shown(request, last))


def _event(kind: EventType, encoded: bytes) -> bytes:
    return b'{"type":"' + kind.encode() + b'","object":' + encoded + b"}\n"


def _bookmark(kind: Kind, version: int, annotations: Object) -> bytes:
    metadata: Object = {"resourceVersion": str(version), "creationTimestamp": None}
    if annotations:
        metadata["annotations"] = annotations
    written = {"kind": kind.name, "apiVersion": kind.api_version, "metadata": metadata}
    return _event("BOOKMARK", msgspec.json.encode(written))
