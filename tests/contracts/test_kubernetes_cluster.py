"""A real cluster keeps the contract, when STATEWARD_TEST_KUBECONFIG names one to try it on.

Its user has to be allowed everything: namespaces and custom kinds are made and taken away again.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import override

import pytest

from tests.contracts.kubernetes_api import KubernetesContract
from tests.contracts.kubernetes_place import Place, namespace_of
from tests.support.kubernetes.client import KubernetesClient
from tests.support.kubernetes.reaching import real_cluster


class ClusterPlace(Place):
    @override
    async def let_a_second_pass(self) -> None:
        await asyncio.sleep(1.1)  # its clock is its own


class TestKubernetesCluster(KubernetesContract):
    @override
    @pytest.fixture
    async def place(self) -> AsyncIterator[ClusterPlace]:
        async with real_cluster() as cluster:
            client = KubernetesClient(cluster.url, cluster.token, cluster.tls)
            try:
                async with namespace_of(client) as namespace:
                    yield ClusterPlace(client, namespace)
            finally:
                await client.close()
