"""The ways to a cluster: kubeconfig, contexts, TLS, programs that make credentials, a pod."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapters.k8s.access import AccessRefused, InCluster, Kubeconfig
from adapters.k8s.errors import ClusterUnavailable, Unauthorized
from adapters.k8s.kinds import BUILT_IN
from tests.support.kubernetes.access import User
from tests.support.kubernetes.certificates import certified
from tests.support.kubernetes.reaching import kubeconfig, namespace, opened, reached
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.server import ADMIN_TOKEN, KubernetesServer

NAMESPACES = BUILT_IN["v1", "Namespace"]


def credentials(token: str) -> Object:
    """A user whose credentials a program makes."""
    told = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": token},
    }
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": ["-c", f"print({json.dumps(json.dumps(told))})"],
            "interactiveMode": "Never",
        }
    }


async def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    async with opened(Kubeconfig(path=tmp_path / "none")) as cluster:
        with pytest.raises(AccessRefused, match="there is no kubeconfig"):
            await cluster.get(NAMESPACES, "", "default")


async def test_a_file_that_is_no_kubeconfig_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("- just\n- a list")
    async with opened(Kubeconfig(path=path)) as cluster:
        with pytest.raises(AccessRefused, match="is no kubeconfig"):
            await cluster.get(NAMESPACES, "", "default")


async def test_a_context_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config", "http://127.0.0.1:1")
    async with opened(Kubeconfig(path=path, context="staging")) as cluster:
        with pytest.raises(AccessRefused, match="has no context 'staging'; it has here"):
            await cluster.get(NAMESPACES, "", "default")


async def test_a_program_is_not_started_unless_allowed(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config", "http://127.0.0.1:1", credentials(ADMIN_TOKEN))
    async with opened(Kubeconfig(path=path)) as cluster:
        with pytest.raises(AccessRefused, match="set allowExec"):
            await cluster.get(NAMESPACES, "", "default")


async def test_an_allowed_program_makes_the_credentials(tmp_path: Path) -> None:
    async with KubernetesServer() as server:
        namespace(server)
        path = kubeconfig(tmp_path / "config", server.url, credentials(ADMIN_TOKEN))
        async with opened(Kubeconfig(path=path, allow_programs=True)) as cluster:
            found = await cluster.get(NAMESPACES, "", "shop")
    assert found["metadata"]["name"] == "shop"


async def test_a_wrong_token_is_said_to_be_one(tmp_path: Path) -> None:
    async with KubernetesServer() as server, reached(server, tmp_path, "wrong") as cluster:
        with pytest.raises(Unauthorized, match="check the credentials of this target"):
            await cluster.get(NAMESPACES, "", "shop")


async def test_credentials_that_were_replaced_are_read_again(tmp_path: Path) -> None:
    async with KubernetesServer() as server:
        namespace(server)
        async with reached(server, tmp_path) as cluster:
            await cluster.get(NAMESPACES, "", "shop")
            server.access.users = {"new": User("admin")}
            kubeconfig(tmp_path / f"{ADMIN_TOKEN}.json", server.url, {"token": "new"})
            found = await cluster.get(NAMESPACES, "", "shop")
    assert found["metadata"]["name"] == "shop"


async def test_a_cluster_is_trusted_by_its_authority(tmp_path: Path) -> None:
    made = certified(tmp_path)
    async with KubernetesServer(made.server) as server:
        namespace(server)
        trust = {"certificate-authority": str(made.authority)}
        path = kubeconfig(tmp_path / "config", server.url, cluster=trust)
        async with opened(Kubeconfig(path=path)) as cluster:
            found = await cluster.get(NAMESPACES, "", "shop")
    assert found["metadata"]["name"] == "shop"


async def test_a_cluster_of_another_authority_is_not_talked_to(tmp_path: Path) -> None:
    async with KubernetesServer(certified(tmp_path).server) as server:
        path = kubeconfig(tmp_path / "config", server.url)
        async with opened(Kubeconfig(path=path)) as cluster:
            with pytest.raises(ClusterUnavailable, match="certificate verify failed"):
                await cluster.get(NAMESPACES, "", "shop")
        assert server.calls == []


async def test_a_certificate_that_expired_is_said_to_have(tmp_path: Path) -> None:
    made = certified(tmp_path, valid=timedelta(hours=-1))
    async with KubernetesServer(made.server) as server:
        trust = {"certificate-authority": str(made.authority)}
        path = kubeconfig(tmp_path / "config", server.url, cluster=trust)
        async with opened(Kubeconfig(path=path)) as cluster:
            with pytest.raises(ClusterUnavailable, match="certificate has expired"):
                await cluster.get(NAMESPACES, "", "shop")


async def test_a_client_certificate_that_ended_is_named_and_one_that_is_renewed_is_used(
    tmp_path: Path,
) -> None:
    """By its files alone: who made the connections before need not be told, or started again."""
    made = certified(tmp_path)
    made.ask()
    async with KubernetesServer(made.server) as server:
        namespace(server)
        trust = {"certificate-authority": str(made.authority)}
        user = made.client("deployer", valid=timedelta(hours=-1))
        ended = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%d %H:")
        path = kubeconfig(tmp_path / "config", server.url, user, cluster=trust)
        async with opened(Kubeconfig(path=path)) as cluster:
            named = f"the client certificate 'CN=deployer' of kubeconfig .* ended on {ended}"
            for _ in range(2):
                with pytest.raises(ClusterUnavailable, match=named):
                    await cluster.get(NAMESPACES, "", "shop")
            with pytest.raises(ClusterUnavailable, match=named):
                async for _ in cluster.watch(NAMESPACES, "1"):
                    pass
            made.client("deployer")
            found = await cluster.get(NAMESPACES, "", "shop")
    assert found["metadata"]["name"] == "shop"


async def test_a_certificate_that_a_server_takes_for_nobody_is_named_too(tmp_path: Path) -> None:
    made = certified(tmp_path)  # it asks for none, as one behind a proxy
    async with KubernetesServer(made.server) as server:
        user = made.client("deployer", valid=timedelta(hours=-1)) | {"token": "nobody"}
        trust = {"certificate-authority": str(made.authority)}
        path = kubeconfig(tmp_path / "config", server.url, user, cluster=trust)
        async with opened(Kubeconfig(path=path)) as cluster:
            with pytest.raises(ClusterUnavailable, match=r"answered 401.*'CN=deployer'.*ended on"):
                await cluster.get(NAMESPACES, "", "shop")
        assert len(server.calls) <= 2


async def test_a_pod_uses_its_service_account(tmp_path: Path) -> None:
    made = certified(tmp_path)
    (tmp_path / "token").write_text(ADMIN_TOKEN)
    async with KubernetesServer(made.server) as server:
        namespace(server)
        told = {"KUBERNETES_SERVICE_HOST": "localhost", "KUBERNETES_SERVICE_PORT": str(server.port)}
        async with opened(InCluster(environment=told, folder=tmp_path)) as cluster:
            found = await cluster.get(NAMESPACES, "", "shop")
    assert found["metadata"]["name"] == "shop"


async def test_outside_of_a_pod_there_is_no_service_account(tmp_path: Path) -> None:
    async with opened(InCluster(environment={}, folder=tmp_path)) as cluster:
        with pytest.raises(AccessRefused, match="the pod that this runs in"):
            await cluster.get(NAMESPACES, "", "shop")
