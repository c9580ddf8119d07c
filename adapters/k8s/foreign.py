"""What is not ours in a cluster: asked for by name, as nothing of it is in the copy."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import final, override

import msgspec

from adapters.k8s import errors
from adapters.k8s.cluster import Cluster
from adapters.k8s.grants import OWNED
from adapters.k8s.kinds import BUILT_IN, OF_ROUTES, Kind
from adapters.k8s.objects import translated
from reconcilers.object_counts import WORKLOADS
from reconcilers.object_labels import INSTALLATION, TARGET
from reconcilers.object_ports import ForeignObjects, Json, ObjectKey

_REPLICA_SET = BUILT_IN["apps/v1", "ReplicaSet"]
_MISSED = tuple(
    BUILT_IN[kind]
    for kind in (
        ("v1", "PersistentVolumeClaim"),
        ("v1", "Pod"),
        ("apps/v1", "Deployment"),
        ("apps/v1", "StatefulSet"),
    )
)
_HIDDEN = ("data", "stringData")  # of Secrets


@final
class KubernetesForeign(ForeignObjects):
    def __init__(self, cluster: Cluster, *, installation: str, target: str) -> None:
        self._cluster = cluster
        self._ours = {INSTALLATION: installation, TARGET: target}.items()

    @override
    async def find(self, keys: Iterable[ObjectKey]) -> Sequence[Json]:
        asked = list(keys)
        with translated():
            found = await asyncio.gather(*map(self._get, filter(_is_gettable, asked)))
            sets = {key for key in asked if key.kind == _REPLICA_SET.name}
            made = [
                one
                for namespace in sorted({key.namespace for key in sets})
                for one in await self._replica_sets(namespace)
                if ObjectKey.of(one) in sets
            ]
        return [one for one in (*found, *made) if one is not None and not self._is_ours(one)]

    @override
    async def made_by(self, workload: Json) -> Sequence[Json]:
        if workload["kind"] != "Deployment":
            return []
        metadata = workload["metadata"]
        with translated():
            found = await self._replica_sets(metadata["namespace"])
        return [
            one
            for one in found
            for owner in one["metadata"].get("ownerReferences") or ()
            if owner["uid"] == metadata["uid"] and not self._is_ours(one)
        ]

    async def _get(self, key: ObjectKey) -> Json | None:
        kind = BUILT_IN.get(key[:2]) or OF_ROUTES[key[:2]]
        try:
            found = await self._cluster.get(kind, key.namespace, key.name)
        except errors.NotFound:  # the kind may be missing as well
            return None
        hidden = _HIDDEN if key.kind == "Secret" else ()
        return {name: of for name, of in found.items() if name not in hidden}

    @override
    async def within(self, namespace: str) -> Sequence[ObjectKey]:
        with translated():
            found = await asyncio.gather(*(self._listed(kind, namespace) for kind in _MISSED))
        return sorted(
            ObjectKey.of(one)
            for some in found
            for one in some
            if "deletionTimestamp" not in one["metadata"]
            and (one["kind"] in WORKLOADS or not self._is_ours(one))
        )

    async def _replica_sets(self, namespace: str) -> list[Json]:
        return await self._listed(_REPLICA_SET, namespace)

    async def _listed(self, kind: Kind, namespace: str) -> list[Json]:
        """Metadata only."""
        about = {"apiVersion": kind.api_version, "kind": kind.name}
        return [
            {**msgspec.json.decode(item), **about}
            async for page in self._cluster.pages(kind, namespace=namespace, metadata_only=True)
            for item in page.items
        ]

    def _is_ours(self, one: Json) -> bool:
        labels = one["metadata"].get("labels") or {}
        return self._ours <= labels.items()


def _is_gettable(key: ObjectKey) -> bool:
    """Whether it is of a kind that our account may get."""
    return key[:2] in OWNED or key[:2] in OF_ROUTES
