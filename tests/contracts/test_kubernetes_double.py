"""The Kubernetes API server of the tests keeps the contract of a real one."""

from collections.abc import AsyncIterator
from typing import override

import pytest

from tests.contracts.kubernetes_api import KubernetesContract
from tests.contracts.kubernetes_place import Place, namespace_of
from tests.support.kubernetes.client import KubernetesClient
from tests.support.kubernetes.server import ADMIN_TOKEN, KubernetesServer


class DoublePlace(Place):
    def __init__(self, server: KubernetesServer, client: KubernetesClient, namespace: str) -> None:
        super().__init__(client, namespace)
        self._server = server

    @override
    async def let_a_second_pass(self) -> None:
        self._server.pass_time(1)


class TestKubernetesDouble(KubernetesContract):
    @override
    @pytest.fixture
    async def place(self) -> AsyncIterator[DoublePlace]:
        async with KubernetesServer() as server:
            client = KubernetesClient(server.url, ADMIN_TOKEN)
            try:
                async with namespace_of(client) as namespace:
                    yield DoublePlace(server, client, namespace)
            finally:
                await client.close()
