"""A real cluster under our adapter keeps the contract of objects, when one is named to try it on.

Its user has to be allowed everything, and its nodes to run `STATEWARD_TEST_IMAGE`, listening on
8080. Each test has installations and namespaces of its own, which go at its end.
"""

import os
import random
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any, final, override

import httpx
import pytest

from adapters.k8s.engine import Identity, open_engine
from adapters.k8s.kinds import BUILT_IN
from domain.target import K8sSettings
from reconcilers.object_ports import AppOrder, Json, ObjectKey
from tests.contracts.objects import ObjectsContract
from tests.contracts.objects_world import Place, World
from tests.support.kubernetes.reaching import real_cluster

MERGE = {"Content-Type": "application/merge-patch+json"}
IMAGE = os.environ.get("STATEWARD_TEST_IMAGE", "web:1")


@final
class ClusterPlace(Place):
    """As somebody else with an account: by requests of their own."""

    def __init__(self, url: str, token: str, tls: ssl.SSLContext | bool) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, headers=headers, verify=tls)
        self._held: list[ObjectKey] = []

    @override
    def get(self, key: ObjectKey) -> Json | None:
        answer = self._http.get(_path(key))
        if answer.status_code == 404:
            return None
        found: Json = answer.raise_for_status().json()
        return found

    @override
    def edit(self, key: ObjectKey, changes: Mapping[str, Any]) -> None:
        query = {"fieldManager": "kubectl-edit"}
        done = self._http.patch(_path(key), json=dict(changes), headers=MERGE, params=query)
        done.raise_for_status()

    @override
    def lose(self, key: ObjectKey) -> None:
        self._http.delete(_path(key)).raise_for_status()

    @override
    def squat(self, key: ObjectKey) -> None:
        about = {"apiVersion": key.api_version, "kind": key.kind}
        body = about | {"metadata": {"name": key.name}, "spec": {"ports": [{"port": 80}]}}
        self._http.post(_path(key._replace(name="")), json=body).raise_for_status()

    @override
    def hold(self, key: ObjectKey) -> None:
        self.edit(key, {"metadata": {"finalizers": ["example.com/held"]}})
        self._held.append(key)

    def leave(self, *namespaces: str) -> None:
        """Take away what a test made."""
        for key in self._held:
            self.edit(key, {"metadata": {"finalizers": None}})
        for name in namespaces:
            self._http.delete(_path(ObjectKey("v1", "Namespace", "", name)))
        self._http.close()


def _path(key: ObjectKey) -> str:
    return BUILT_IN[key.api_version, key.kind].path(key.namespace, key.name)


@final
class RealWorld(World):
    @override
    def order(self, **spec: Any) -> AppOrder:
        return super().order(**{"image": IMAGE} | spec)


class TestRealObjects(ObjectsContract):
    @pytest.fixture
    async def world(self) -> AsyncIterator[World]:
        mark = uuid.uuid4().hex[:8]
        prefixes = f"ours-{mark}-", f"theirs-{mark}-"
        async with real_cluster() as cluster:
            place = ClusterPlace(cluster.url, cluster.token, cluster.tls or False)
            engines = [
                await open_engine(
                    cluster.access,
                    K8sSettings(namespace_prefix=prefix),
                    Identity(str(uuid.uuid4()), "prod", "stateward-tests"),
                    rng=random.Random(5),
                    now=time.time,
                )
                for prefix in prefixes
            ]
            try:
                yield RealWorld(engines[0].objects, engines[1].objects, place)
            finally:
                for engine in engines:
                    await engine.close()
                place.leave(*(f"{prefix}shop" for prefix in prefixes))
