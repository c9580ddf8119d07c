"""The ways to a cluster: kubeconfig, contexts, TLS, programs that make credentials, a pod."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapters.k8s.access import InCluster, Kubeconfig
from adapters.k8s.errors import ClusterUnavailable, Unauthorized
from adapters.k8s.kinds import BUILT_IN
from adapters.k8s.kubeconfig import AccessRefused
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


CONFIG = """
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: prod, context: {cluster: c, user: u}}, {name: test, context: {}}]
current-context: prod
"""
BROKEN: dict[str, tuple[str, str, str]] = {
    "a list": (CONFIG, "- just a list", "is no kubeconfig: it is no map"),
    "nothing": (CONFIG, "", "is empty; `kubectl config view"),
    "no YAML": (CONFIG, "users:\n- {a: ]", "is no YAML, line 2, column 7: expected the node"),
    "names alone": (CONFIG, "contexts: [prod]", "lists of names with what they mean"),
    "no current one": ("current-context: prod", "", "no current context; .* it has prod, test"),
    "another current": ("context: prod", "context: old", "no context 'old'; it has prod, test"),
    "no cluster": ("cluster: c,", "cluster: d,", "context 'prod'.*of a cluster 'd' that is not"),
    "no user": ("user: u}", "user: v}", "context 'prod'.*of a user 'v' that is not in it"),
    "no URL": ("https://127", "127", "the server '127.0.0.1:1', which is no URL; write https://"),
    "no server": ("server:", "servr:", "the server '', which is no URL"),
    "a proxy": ('"}}]', '", proxy-url: "socks5://a"}}]', "'socks5://a'; only http and https"),
    "acts as": ("token: t", "token: t, as: admin", "acts as 'admin', which is not supported"),
    "a torn authority": (
        '"}}]',
        '", certificate-authority-data: xxx}}]',
        "certificate-authority-data of .* is no base64: .*copy it whole",
    ),
    "a strange authority": (
        '"}}]',
        '", certificate-authority-data: aGk=}}]',
        "certificate-authority of .* is no certificate in PEM; copy it again",
    ),
    "no authority": (
        '"}}]',
        '", certificate-authority: ca.crt}}]',
        "names the certificate-authority 'ca.crt', which cannot be read: No such file",
    ),
    "no token": ("token: t", "tokenFile: token", "names the tokenFile 'token', which cannot be"),
    "half a pair": (
        "token: t",
        "client-certificate-data: aGk=",
        "by its certificate: it has no client-key beside the other",
    ),
    "no pair": (
        "token: t",
        "client-certificate-data: aGk=, client-key-data: aGk=",
        "by its certificate: client-certificate is none in PEM; copy both",
    ),
}


@pytest.mark.parametrize(("what", "instead", "said"), BROKEN.values(), ids=BROKEN)
async def test_what_is_broken_in_a_kubeconfig_is_named(
    tmp_path: Path, what: str, instead: str, said: str
) -> None:
    path = tmp_path / "config"
    path.write_text(CONFIG.replace(what, instead))
    async with opened(Kubeconfig(path=path)) as cluster:
        with pytest.raises(AccessRefused, match=said) as refused:
            await cluster.get(NAMESPACES, "", "default")
    assert str(path) in str(refused.value)


async def test_a_folder_is_no_kubeconfig(tmp_path: Path) -> None:
    async with opened(Kubeconfig(path=tmp_path)) as cluster:
        with pytest.raises(AccessRefused, match="is a folder; name the file in it"):
            await cluster.get(NAMESPACES, "", "default")


async def test_a_program_that_fails_is_named_and_nobody_asks_as_nobody(tmp_path: Path) -> None:
    user = credentials("")
    user["exec"]["args"] = ["-c", "raise SystemExit(3)"]
    path = kubeconfig(tmp_path / "config", "http://127.0.0.1:1", user)
    async with opened(Kubeconfig(path=path, allow_programs=True)) as cluster:
        with pytest.raises(AccessRefused, match="which gave none; run it as the account"):
            await cluster.get(NAMESPACES, "", "default")


async def test_where_nobody_listens_it_is_said_what_to_do(tmp_path: Path) -> None:
    told = "Cannot connect to host .*; start it, or correct its address in the kubeconfig"
    path = kubeconfig(tmp_path / "config", "http://127.0.0.1:1")
    async with opened(Kubeconfig(path=path)) as cluster:
        with pytest.raises(ClusterUnavailable, match=told):
            await cluster.get(NAMESPACES, "", "default")


async def test_where_no_tls_is_spoken_it_is_said(tmp_path: Path) -> None:
    async with KubernetesServer() as server:
        path = kubeconfig(tmp_path / "config", server.url.replace("http:", "https:"))
        async with opened(Kubeconfig(path=path)) as cluster:
            with pytest.raises(ClusterUnavailable, match="it speaks no TLS there"):
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
            with pytest.raises(ClusterUnavailable, match=r"verify failed.*name who signed its"):
                await cluster.get(NAMESPACES, "", "shop")
        assert server.calls == []


async def test_a_certificate_that_expired_is_said_to_have(tmp_path: Path) -> None:
    made = certified(tmp_path, valid=timedelta(hours=-1))
    async with KubernetesServer(made.server) as server:
        trust = {"certificate-authority": str(made.authority)}
        path = kubeconfig(tmp_path / "config", server.url, cluster=trust)
        async with opened(Kubeconfig(path=path)) as cluster:
            with pytest.raises(ClusterUnavailable, match=r"has expired.*; have the cluster's"):
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
        with pytest.raises(AccessRefused, match=r"the pod that this runs in.*name a kubeconfig"):
            await cluster.get(NAMESPACES, "", "shop")
