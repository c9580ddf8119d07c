"""A real cluster keeps the contract, when STATEWARD_TEST_KUBECONFIG names one to try it on.

Its user has to be allowed everything: namespaces and custom kinds are made and taken away again.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import override

import pytest

from adapters.k8s.access import Kubeconfig, open_way
from tests.contracts.kubernetes_api import KubernetesContract
from tests.contracts.kubernetes_place import Place, namespace_of
from tests.support.kubernetes.client import KubernetesClient
from tests.support.requirements import kubeconfig_of_tests, require


class ClusterPlace(Place):
    @override
    async def let_a_second_pass(self) -> None:
        await asyncio.sleep(1.1)  # its clock is its own


class TestKubernetesCluster(KubernetesContract):
    @override
    @pytest.fixture
    async def place(self) -> AsyncIterator[ClusterPlace]:
        require("kubernetes")
        path = kubeconfig_of_tests()
        assert path is not None, "the requirement says that there is one"
        access = Kubeconfig(path=path, allow_programs=True)
        way = await open_way(access, user_agent="stateward-tests")
        token = str(way.api.configuration.api_key.get("BearerToken", "")).removeprefix("Bearer ")
        tls = way.api.rest_client.ssl_context
        host = way.host
        client = KubernetesClient(host, token, tls if host.startswith("https") else None)
        try:
            async with namespace_of(client) as namespace:
                yield ClusterPlace(client, namespace)
        finally:
            await client.close()
            await way.close()
