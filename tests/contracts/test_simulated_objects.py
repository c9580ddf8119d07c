"""The simulated cluster does what every engine of objects must."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, final, override

import pytest

from domain.target import K8sSettings
from reconcilers.object_ports import Json, ObjectKey
from simulation.cluster.cluster import Cluster
from simulation.cluster.engine import cluster_engine
from simulation.machine import Machine
from tests.contracts.objects import ObjectsContract
from tests.contracts.objects_world import Place, World

OURS = "11111111-1111-4111-8111-111111111111"
THEIRS = "22222222-2222-4222-8222-222222222222"


@final
class SimulatedPlace(Place):
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @override
    def get(self, key: ObjectKey) -> Json | None:
        return self._cluster.store.get(key)

    @override
    def edit(self, key: ObjectKey, changes: Mapping[str, Any]) -> None:
        self._cluster.edit(key, dict(changes))

    @override
    def lose(self, key: ObjectKey) -> None:
        self._cluster.delete(key, "Background")

    @override
    def squat(self, key: ObjectKey) -> None:
        self._cluster.squat(key)

    @override
    def hold(self, key: ObjectKey) -> None:
        self._cluster.lingers = lambda asked: 1000.0 if asked == key else 0.0


class TestSimulatedObjects(ObjectsContract):
    @pytest.fixture
    async def world(self) -> AsyncIterator[World]:
        cluster = Cluster("prod", Machine(now=time.time))
        ours = cluster_engine(cluster, OURS, K8sSettings())
        theirs = cluster_engine(cluster, THEIRS, K8sSettings(namespace_prefix="other-"))
        runs = asyncio.create_task(self._run(cluster))
        yield World(ours.objects, theirs.objects, SimulatedPlace(cluster))
        runs.cancel()
        with suppress(asyncio.CancelledError):
            await runs

    async def _run(self, cluster: Cluster) -> None:
        """Its seconds are short here."""
        while True:
            await asyncio.sleep(0.02)
            cluster.step()
