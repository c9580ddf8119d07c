"""How objects come to be and change: create, replace, patch, apply; for all kinds alike.

The flow of each: check what was sent, work out the new object, fill in defaults, judge it against
the old one, settle who owns what, store it if anything changed.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from tests.support.kubernetes import managers, merging, requests
from tests.support.kubernetes.answers import Refused, cause, changed, invalid, not_found
from tests.support.kubernetes.incoming import applied_body, checked_body
from tests.support.kubernetes.managers import Fields, Managers, Writer
from tests.support.kubernetes.preparing import Preparing
from tests.support.kubernetes.requests import Request
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.store import Store, Stored, without

_UNCOUNTED = ("apiVersion", "kind", "metadata", "status")  # changes that make no new generation


@dataclass(frozen=True, slots=True)
class Written:
    """An answer to a write. `warnings` go out as headers."""

    object: Object
    code: int = 200
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class Writing:
    """Writes of one server. `now` gives the time as objects carry it."""

    store: Store
    preparing: Preparing
    now: Callable[[], str]
    _names: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    # --- the requests -------------------------------------------------------------------------

    def create(self, request: Request) -> Written:
        sent, warnings = checked_body(request, request.body)
        metadata = sent.setdefault("metadata", {})
        if metadata.get("resourceVersion"):
            raise Refused(400, "resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and (prefix := metadata.get("generateName")):
            metadata["name"] = f"{prefix}{self._suffix()}"
        metadata.pop("managedFields", None)
        request = replace(request, name=metadata.get("name", ""))
        if self.store.get(request.place) is not None:
            raise self._exists(request)
        new = self.preparing.prepared(request, sent, None)
        writer = Writer(request.manager, managers.UPDATE, request.kind.api_version)
        owners = self._fields(request).updated(_nothing(request), new, writer)
        return Written(self._stored(request, new, None, owners), 201, warnings)

    def replace(self, request: Request) -> Written:
        live = self._live(request)
        sent, warnings = checked_body(request, request.body)
        if sent.get("metadata", {}).get("name") != request.name:
            raise Refused(
                400, f"the name of the object does not match the name on the URL ({request.name})"
            )
        version = sent["metadata"].get("resourceVersion")
        if request.kind.custom and not version:
            field, said = (
                "metadata.resourceVersion",
                "Invalid value: 0x0: must be specified for an update",
            )
            why = cause("FieldValueInvalid", field, said)
            raise invalid(request.kind.name, request.name, [why])
        return Written(self.update(request, live, sent), 200, warnings)

    def patch(self, request: Request) -> Written:
        if request.content_type == requests.APPLY:
            return self._apply(request)
        live = self._live(request)
        patched = self._patched(request, live)
        sent, warnings = checked_body(request, patched)
        return Written(self.update(request, live, sent), 200, warnings)

    # --- patches ------------------------------------------------------------------------------

    def _patched(self, request: Request, live: Stored) -> Object:
        body: Any = request.body
        match request.content_type:
            case requests.JSON_PATCH:
                return merging.json_patched(live.copied(), body)
            case requests.STRATEGIC if not request.kind.custom:
                patched: Object = merging.strategically_patched(
                    request.kind.schema, live.copied(), body
                )
                return patched
            case requests.MERGE:
                merged: Object = merging.merge_patched(live.copied(), body)
                return merged
            case other:
                supported = ", ".join(requests.PATCHES)
                said = f"the body of the request was in an unknown format ({other})"
                raise Refused(415, f"{said} - accepted media types include: {supported}")

    def _apply(self, request: Request) -> Written:
        sent = applied_body(request)
        live = self.store.get(request.place)
        if live is None and sent["metadata"].get("uid"):
            raise changed(
                request.kind.qualified, request.name, "uid mismatch: there is no such object"
            )
        base = _nothing(request) if live is None else live.copied()
        writer = Writer(
            request.manager, managers.APPLY, request.kind.api_version, request.subresource
        )
        metadata = without(sent["metadata"], "uid", "resourceVersion", "creationTimestamp")
        new, owners = self._fields(request).applied(
            base,
            {**sent, "metadata": {**metadata, "name": request.name}},
            writer,
            force=request.force,
        )
        new["metadata"] = {**new.get("metadata", {}), **_conditions(sent["metadata"])}
        if live is not None:
            return Written(self._settled(request, live, new, lambda _: owners), 200)
        new = self.preparing.prepared(request, new, None)
        return Written(self._stored(request, new, None, owners), 201)

    # --- what all share -----------------------------------------------------------------------

    def _live(self, request: Request) -> Stored:
        live = self.store.get(request.place)
        if live is None:
            raise not_found(request.kind.plural, request.kind.group, request.name)
        return live

    def _fields(self, request: Request) -> Fields:
        return Fields(request.kind.schema, self.now)

    def update(self, request: Request, live: Stored, sent: Object) -> Object:
        writer = Writer(
            request.manager, managers.UPDATE, request.kind.api_version, request.subresource
        )
        new = {**sent, "metadata": dict(sent.get("metadata") or {})}

        def owners(final: Object) -> Managers:
            return self._fields(request).updated(live.copied(), final, writer)

        return self._settled(request, live, new, owners)

    def _settled(
        self, request: Request, live: Stored, new: Object, owners: Callable[[Object], Managers]
    ) -> Object:
        """Check a change of `live` to `new` against it, and store what comes of it."""
        self._expected(request, live, new["metadata"])
        if request.subresource == "status":
            kept = {**live.metadata, "annotations": new["metadata"].get("annotations", {})}
            new = {**live.copied(), "metadata": kept, "status": new.get("status", {})}
        elif request.kind.has_status:
            status = live.copied().get("status")
            new = {**without(new, "status"), **({} if status is None else {"status": status})}
        new = self.preparing.prepared(request, new, live)
        return self._stored(request, new, live, owners(new))

    def _expected(self, request: Request, live: Stored, metadata: Object) -> None:
        uid, version = metadata.get("uid"), metadata.get("resourceVersion")
        if uid and uid != live.metadata["uid"]:
            if request.verb == "update":
                raise changed(request.kind.qualified, request.name, "Precondition failed: UID")
            said = f'Invalid value: "{uid}": field is immutable'
            raise invalid(
                request.kind.name, request.name, [cause("FieldValueInvalid", "metadata.uid", said)]
            )
        if version and version != live.metadata["resourceVersion"]:
            raise changed(request.kind.qualified, request.name)

    def _stored(
        self, request: Request, new: Object, live: Stored | None, owners: Managers
    ) -> Object:
        new["metadata"]["managedFields"] = managers.write(owners)
        if live is not None and new == live.object:
            return new
        if request.kind.has_generation:
            new["metadata"]["generation"] = self._generation(request, new, live)
        if request.dry:
            return new
        metadata = new["metadata"]
        ending = live is not None and "deletionTimestamp" in metadata
        if ending and not metadata.get("finalizers") and _is_free(request, new):
            return self.store.remove(request.place).object
        return self.store.put(request.place, new).object

    def _generation(self, request: Request, new: Object, live: Stored | None) -> int:
        if live is None:
            return 1
        before: int = live.metadata["generation"]
        if request.subresource == "status":
            return before
        counted = without(new, *_UNCOUNTED) != without(live.object, *_UNCOUNTED)
        if request.kind.annotations_count:
            now, then = (one.get("annotations") for one in (new["metadata"], live.metadata))
            counted = counted or now != then
        return before + counted

    def _suffix(self) -> str:
        alphabet = "bcdfghjklmnpqrstvwxz2456789"
        number, said = next(self._names) * 7919 + 1_000_003, ""
        for _ in range(5):
            number, at = divmod(number, len(alphabet))
            said += alphabet[at]
        return said

    def _exists(self, request: Request) -> Refused:
        said = f'{request.kind.qualified} "{request.name}" already exists'
        details = {"name": request.name, "kind": request.kind.plural}
        return Refused(409, said, reason="AlreadyExists", details=details)


def _nothing(request: Request) -> Object:
    return {"apiVersion": request.kind.api_version, "kind": request.kind.name, "metadata": {}}


def _conditions(metadata: Object) -> Object:
    """On what an apply relies: the object that it means, in the version that it has seen."""
    return {key: metadata[key] for key in ("uid", "resourceVersion") if metadata.get(key)}


def _is_free(request: Request, new: Object) -> bool:
    """A namespace also waits for what is in it, a pod for its node."""
    if request.kind.name == "Namespace":
        return not new["spec"].get("finalizers")
    return request.kind.name != "Pod" or not new["metadata"].get("deletionGracePeriodSeconds")
