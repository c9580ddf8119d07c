"""The `ObjectEngine` of one cluster: writes go to it, what is there is read from the copy.

A write is only done when the copy shows it, so whoever looks after a write sees it. Nothing that is
not ours is written to: what the copy does not have is made on the condition that there is none, and
only where that fails the cluster is asked whose it is.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, final, override

from adapters.k8s import errors
from adapters.k8s.cluster import Cluster
from adapters.k8s.copying import Copy, Owner
from adapters.k8s.kubeconfig import AccessRefused
from adapters.k8s.render.manifests import sent
from reconcilers.object_labels import INSTALLATION, TARGET
from reconcilers.object_ports import (
    MANAGER,
    Applied,
    EngineBusy,
    Json,
    KindMissing,
    Manifest,
    ObjectChanged,
    ObjectEngine,
    ObjectEvent,
    ObjectForbidden,
    ObjectKey,
    ObjectRefused,
    Propagation,
)
from reconcilers.ports import EngineError, EngineUnavailable, NameTaken

# No object was ever stored in it, so an apply that asks for it makes one, or is refused.
_OF_NONE: Final = "1"

type _Shown = Callable[[], bool]


@final
class KubernetesObjects(ObjectEngine):
    def __init__(self, cluster: Cluster, copy: Copy, *, installation: str, target: str) -> None:
        self._cluster, self._copy = cluster, copy
        self._ours = {INSTALLATION: installation, TARGET: target}
        self._written: dict[Owner, dict[ObjectKey, _Shown]] = {}  # what the copy has to show

    @override
    async def apply(
        self,
        manifest: Manifest,
        *,
        owner: Owner,
        uid: str | None,
        position: int,
        manager: str = MANAGER,
        dry_run: bool = False,
    ) -> Applied:
        key = manifest.key
        with translated():
            body = sent(manifest, position)
            try:
                sure = (
                    _only(body, resourceVersion=_OF_NONE) if uid is None else _only(body, uid=uid)
                )
                done = await self._cluster.apply(sure, manager=manager, dry_run=dry_run)
            except errors.Conflict:
                if uid is not None:
                    raise
                sure = _only(body, uid=await self._uid_of_ours(key))
                done = await self._cluster.apply(sure, manager=manager, dry_run=dry_run)
        if not dry_run:
            self._written.setdefault(owner, {})[key] = self._shows(key, done.body)
        if "deletionTimestamp" in done.body["metadata"]:
            raise ObjectChanged(f"{key} is being deleted, and what was applied goes with it")
        return Applied(done.body, done.warnings)

    async def _uid_of_ours(self, key: ObjectKey) -> str:
        """That of an object which the copy does not show yet.

        Raises:
            NameTaken: it belongs to somebody else.
            ObjectChanged: it has gone meanwhile.
        """
        kind = await self._cluster.kind(key.api_version, key.kind)
        try:
            there = await self._cluster.get(kind, key.namespace, key.name)
        except errors.KindMissing:
            raise
        except errors.NotFound as error:
            raise ObjectChanged(f"{key} was there a moment ago, and has gone") from error
        labels = there["metadata"].get("labels") or {}
        if any(labels.get(name) != value for name, value in self._ours.items()):
            raise NameTaken(
                f"{key} belongs to somebody else and was not touched; rename it, or take it away"
            )
        uid: str = there["metadata"]["uid"]
        return uid

    def _shows(self, key: ObjectKey, body: Mapping[str, Any]) -> _Shown:
        uid, version = body["metadata"]["uid"], int(body["metadata"]["resourceVersion"])

        def shows() -> bool:
            held = self._copy.held(key)
            # of another uid: it was replaced since, and that is what counts
            if held is not None and (held.uid != uid or int(held.version) >= version):
                return True
            return self._copy.has_passed(key, version)  # somebody has deleted it since

        return shows

    @override
    async def delete(
        self, key: ObjectKey, *, owner: Owner, uid: str, propagation: Propagation
    ) -> None:
        with translated():
            kind = await self._cluster.kind(key.api_version, key.kind)
            try:
                await self._cluster.delete(
                    kind, key.namespace, key.name, uid=uid, propagation=propagation
                )
            except errors.KindMissing:
                raise
            except errors.NotFound:
                pass

        def shows() -> bool:
            held = self._copy.held(key)
            if held is None or held.uid != uid:
                return True
            return "deletionTimestamp" in held.body["metadata"]

        self._written.setdefault(owner, {})[key] = shows

    @override
    async def list(self, owner: Owner | None = None) -> Sequence[Json]:
        self._copy.check()
        if owner is None:
            return [body for one in self._copy.owners() for body in self._copy.bodies(one)]
        for key, shows in list(self._written.get(owner, {}).items()):
            await self._copy.until(shows)
            written = self._written.get(owner, {})
            if written.get(key) is shows:
                del written[key]
        return self._copy.bodies(owner)

    @override
    def marks(self, owners: Iterable[Owner] | None = None) -> Mapping[Owner, int]:
        self._copy.check()
        return {
            owner: self._copy.mark(owner)
            for owner in (self._copy.owners() if owners is None else owners)
            if any(place[0] != "PersistentVolumeClaim" for place in self._copy.places(owner))
        }

    @override
    def lacks(self, api_version: str, kind: str) -> EngineError | None:
        error = self._copy.absent(api_version, kind)
        if isinstance(error, errors.Forbidden):
            return ObjectForbidden(str(error))
        return KindMissing(str(error)) if error is not None else None

    @override
    def position(self) -> int:
        return self._copy.position

    @override
    def watch(self) -> AsyncIterator[ObjectEvent]:
        return self._copy.watch()


def _only(body: Mapping[str, Any], **conditions: str) -> dict[str, Any]:
    """The body as an apply that is refused unless the conditions hold of what is there."""
    return {**body, "metadata": {**body["metadata"], **conditions}}


@contextmanager
def translated() -> Iterator[None]:
    """Errors of a cluster as those of the port."""
    try:
        yield
    except errors.Throttled as error:
        raise EngineBusy(str(error), error.retry_after) from error
    except errors.Forbidden as error:
        raise ObjectForbidden(str(error)) from error
    except (errors.Unauthorized, AccessRefused) as error:
        raise EngineUnavailable(str(error)) from error
    except errors.KindMissing as error:
        raise KindMissing(str(error)) from error
    except errors.Rejected as error:
        if "metadata.uid" in error.fields:  # the precondition
            raise ObjectChanged(str(error)) from error
        raise ObjectRefused(str(error)) from error
    except (errors.NotFound, errors.Conflict, errors.NamespaceTerminating) as error:
        raise ObjectChanged(str(error)) from error
