"""Our adapter does what every engine of objects must, over the API server of these tests."""

import random
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, final, override

import pytest

from adapters.k8s.access import Kubeconfig
from adapters.k8s.engine import Identity, open_engine
from domain.target import K8sSettings
from reconcilers.object_ports import Json, ObjectKey
from reconcilers.ports import NameTaken
from tests.contracts.objects import ObjectsContract
from tests.contracts.objects_world import Place, World, with_digest
from tests.support.cluster_house import TOKEN
from tests.support.deployment import account
from tests.support.kubernetes.reaching import kubeconfig
from tests.support.kubernetes.server import KubernetesServer

OURS = "11111111-1111-4111-8111-111111111111"
THEIRS = "22222222-2222-4222-8222-222222222222"


@final
class ServerPlace(Place):
    def __init__(self, server: KubernetesServer) -> None:
        self._inside = server.inside

    @override
    def get(self, key: ObjectKey) -> Json | None:
        return self._inside.get(key.kind, key.namespace, key.name)

    @override
    def edit(self, key: ObjectKey, changes: Mapping[str, Any]) -> None:
        self._inside.patch(key.kind, key.namespace, key.name, dict(changes))

    @override
    def lose(self, key: ObjectKey) -> None:
        self._inside.delete(key.kind, key.namespace, key.name)

    @override
    def squat(self, key: ObjectKey) -> None:
        body = {"metadata": {"name": key.name}, "spec": {"ports": [{"port": 80}]}}
        self._inside.create(key.kind, key.namespace, body)

    @override
    def hold(self, key: ObjectKey) -> None:
        held = {"metadata": {"finalizers": ["example.com/held"]}}
        self._inside.patch(key.kind, key.namespace, key.name, held)


class TestKubernetesObjects(ObjectsContract):
    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[World]:
        async with KubernetesServer() as server:
            server.access.users[TOKEN] = account()
            path = kubeconfig(tmp_path / "config", server.url, {"token": TOKEN})
            engines = [
                await open_engine(
                    Kubeconfig(path=path),
                    K8sSettings(namespace_prefix=prefix),
                    Identity(installation, "prod", "stateward/test"),
                    rng=random.Random(5),
                    now=time.time,
                )
                for installation, prefix in ((OURS, "stw-"), (THEIRS, "other-"))
            ]
            ours, theirs = engines
            yield World(ours.objects, theirs.objects, ServerPlace(server))
            for engine in engines:
                await engine.close()


async def test_what_is_not_there_is_made_by_one_request(tmp_path: Path) -> None:
    async with KubernetesServer() as server:
        server.access.users[TOKEN] = account()
        path = kubeconfig(tmp_path / "config", server.url, {"token": TOKEN})
        who = Identity(OURS, "prod", "stateward/test")
        engine = await open_engine(
            Kubeconfig(path=path), K8sSettings(), who, rng=random.Random(5), now=time.time
        )
        world = World(engine.objects, engine.objects, ServerPlace(server))
        await world.furnish()
        service = world.rendered()["Service"]
        before = len(server.calls)
        await world.apply(service)
        made = [call.verb for call in list(server.calls)[before:] if call.name == "web"]
        world.place.squat(service.key._replace(name="theirs"))
        metadata = {**service.body["metadata"], "name": "theirs"}
        squatted = with_digest(service, {**service.body, "metadata": metadata})
        with pytest.raises(NameTaken):
            await world.apply(squatted)
        await engine.close()
    assert made == ["patch"]
