"""What is asked of a cluster: get, apply, delete, pages of a list, events of a watch. All JSON.

Thin: it builds requests and decodes answers, and decides nothing. What an object should be, and
whether it is ours, is known elsewhere.
"""

import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, Literal, NamedTuple, final

import msgspec

from adapters.k8s.errors import Asked, KindMissing, NotFound, Status, refusal
from adapters.k8s.kinds import BUILT_IN, Kind
from adapters.k8s.lines import lines
from adapters.k8s.transport import Query, Response, Sent, Transport

type Json = dict[str, Any]
type Propagation = Literal["Background", "Foreground", "Orphan"]

APPLY: Final = "application/apply-patch+yaml"  # the body is JSON, which is YAML without its traps
METADATA_ONLY: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
PAGE: Final = 500  # objects; a page of Deployments is about 2 MB
# Seconds after which a server is asked to end a watch; drawn, so that not all end at once.
WATCH_SECONDS: Final = (240, 300)
_GRACE: Final = 30.0  # seconds that a server may be late to end it


class Applied(NamedTuple):
    """An object as the cluster has it now; `warnings` are the server's, for whoever applied it."""

    body: Json
    warnings: tuple[str, ...]
    created: bool


class ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    next: str = msgspec.field(default="", name="continue")


class Page(msgspec.Struct, frozen=True):
    """Part of a list: items are still encoded, so that they can be decoded a few at a time."""

    metadata: ListMeta
    items: list[msgspec.Raw]


class WatchEvent(msgspec.Struct, frozen=True):
    """A change as the server tells it; `type` is ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."""

    type: str
    object: msgspec.Raw


_EVENTS = msgspec.json.Decoder(WatchEvent)
_PAGES = msgspec.json.Decoder(Page)


class _Resource(msgspec.Struct, frozen=True):
    name: str
    kind: str
    namespaced: bool


class _Resources(msgspec.Struct, frozen=True):
    resources: list[_Resource]


@final
class Cluster:
    def __init__(self, transport: Transport, rng: random.Random) -> None:
        self._transport = transport
        self._rng = rng
        self._discovered: dict[tuple[str, str], Kind] = {}

    @property
    def address(self) -> str:
        return self._transport.address

    async def kind(self, api_version: str, name: str) -> Kind:
        """Where a kind is served; asked once for what Kubernetes itself does not have.

        Raises:
            KindMissing: the cluster serves no such kind.
            KubernetesError: as its tree says.
        """
        key = (api_version, name)
        if (known := BUILT_IN.get(key) or self._discovered.get(key)) is not None:
            return known
        for one in await self._served(api_version):
            if one.kind == name and "/" not in one.name:
                found = Kind(api_version, name, one.name, namespaced=one.namespaced)
                self._discovered[key] = found
                return found
        raise KindMissing(
            f"the cluster at {self.address} serves no kind {name!r} of {api_version!r}; "
            f"install a definition that has it",
            code=404,
        )

    async def _served(self, api_version: str) -> Sequence[_Resource]:
        asked = Asked("discover", f"the kinds of {api_version}")
        try:
            answer = await self._transport.request(asked, Sent("GET", f"/apis/{api_version}"))
        except NotFound:
            return ()
        return msgspec.json.decode(answer.body, type=_Resources).resources

    async def get(self, kind: Kind, namespace: str, name: str) -> Json:
        """Raises: NotFound, and as `KubernetesError` says."""
        asked = Asked("get", kind.resource, namespace, name)
        return _json(await self._transport.request(asked, Sent("GET", kind.path(namespace, name))))

    async def apply(
        self, body: Json, *, manager: str, force: bool = True, dry_run: bool = False
    ) -> Applied:
        """Server-side apply, strict: fields not in `body` that `manager` applied before go.

        `metadata.uid` and `metadata.resourceVersion` in `body` are conditions. Safe to repeat.

        Raises:
            Conflict: a condition does not hold; or, without `force`, others own fields of it.
            Rejected: the object cannot be so.
            KubernetesError: as its tree says.
        """
        kind = await self.kind(body["apiVersion"], body["kind"])
        metadata = body["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        query = {"fieldManager": manager, "fieldValidation": "Strict"}
        query |= {"force": "true"} if force else {}
        query |= {"dryRun": "All"} if dry_run else {}
        sent = Sent("PATCH", kind.path(namespace, name), query, body, APPLY)
        asked = Asked("apply", kind.resource, namespace, name)
        answer = await self._transport.request(asked, sent)
        return Applied(_json(answer), answer.warnings, created=answer.code == 201)

    async def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str, propagation: Propagation
    ) -> None:
        """Ask for the end of the object that has this uid; it may take its time.

        Raises:
            NotFound: it is gone already.
            Conflict: another object has the name now.
            KubernetesError: as its tree says.
        """
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
            "preconditions": {"uid": uid},
        }
        asked = Asked("delete", kind.resource, namespace, name)
        await self._transport.request(
            asked, Sent("DELETE", kind.path(namespace, name), body=options)
        )

    async def pages(
        self,
        kind: Kind,
        *,
        selector: str = "",
        fields: str = "",
        namespace: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[Page]:
        """A list of one snapshot, page by page; each has the version of the snapshot.

        Raises:
            Gone: it took so long that the server forgot the snapshot: begin anew.
            KubernetesError: as its tree says.
        """
        asked = Asked("list", kind.resource, namespace)
        accept = METADATA_ONLY if metadata_only else "application/json"
        query: dict[str, str] = {"limit": str(PAGE), **_selected(selector, fields)}
        while True:
            sent = Sent("GET", kind.path(namespace), dict(query), accept=accept)
            page = _PAGES.decode((await self._transport.request(asked, sent)).body)
            yield page
            if not page.metadata.next:
                return
            query["continue"] = page.metadata.next

    async def watch(
        self,
        kind: Kind,
        version: str,
        *,
        selector: str = "",
        fields: str = "",
        namespace: str = "",
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[WatchEvent]:
        """Every change behind a version, and bookmarks, until the server ends the watch.

        `opened` is called when the server has begun it, which may be long before the first event.

        Raises:
            Gone: the version is too old.
            ClusterUnavailable: the connection broke off, or was silent for too long.
            KubernetesError: as its tree says.
        """
        seconds = self._rng.randint(*WATCH_SECONDS)
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
            **_selected(selector, fields),
        }
        asked = Asked("watch", kind.resource, namespace)
        sent = Sent("GET", kind.path(namespace), query)
        async with self._transport.stream(asked, sent, silence=seconds + _GRACE) as pieces:
            opened()
            async for line in lines(pieces):
                event = _EVENTS.decode(line)
                if event.type == "ERROR":
                    status = msgspec.json.decode(event.object, type=Status)
                    raise refusal(self.address, asked, status.code, status, {})
                yield event


def _selected(labels: str, fields: str) -> Query:
    asked = {"labelSelector": labels, "fieldSelector": fields}
    return {name: selector for name, selector in asked.items() if selector}


def _json(answer: Response) -> Json:
    decoded: Json = msgspec.json.decode(answer.body)
    return decoded
