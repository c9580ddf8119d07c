"""What ships, applied to a cluster; then a control plane as its pod is one, and an app by it.

The pod's files and variables are what a kubelet gives to what the manifests say: the account's
token and authority, the way to the API server, a volume of the claim that root made.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from adapters.k8s.access import Kubeconfig
from adapters.k8s.grants import GRANTS
from stateward import data
from stateward.control_plane import Running, new_id, running
from stateward.environment import SERVICE_ACCOUNT
from stateward.layers import load
from tests.support.deployment import bound, deployed
from tests.support.kubernetes.certificates import certified
from tests.support.kubernetes.reaching import kubeconfig, opened
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.server import KubernetesServer
from tests.support.surroundings import surroundings

IMAGE = f"registry.example/web@sha256:{'ab' * 32}"  # nobody has to be asked what it is
TOKEN = "of-the-pod"


class Deployed(NamedTuple):
    """A cluster with all that ships, and the pod that came of it, which is yet to run."""

    server: KubernetesServer
    pod: Object
    folder: Path

    @property
    def container(self) -> Object:
        found: Object
        [found] = self.pod["spec"]["containers"]
        return found


async def eventually[T](look: Callable[[], T]) -> T:
    async with asyncio.timeout(60):
        while not (found := look()):
            await asyncio.sleep(0.02)
    return found


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Deployed]:
    authority = certified(tmp_path)
    async with KubernetesServer(authority.server) as server:
        trust = {"certificate-authority": str(authority.authority)}
        config = kubeconfig(tmp_path / "operator", server.url, cluster=trust)
        async with opened(Kubeconfig(path=config)) as cluster:
            for one in deployed():
                await cluster.apply(one, manager="kubectl")
        [pod] = await eventually(lambda: server.inside.all("Pod", "stateward"))
        account = bound(server, "stateward", pod["spec"]["serviceAccountName"])
        assert pod["spec"]["automountServiceAccountToken"], "it has no way to its cluster"
        server.access.users[TOKEN] = account
        (tmp_path / "token").write_text(TOKEN)
        volume = tmp_path / "data"
        (volume / "lost+found").mkdir(parents=True)
        volume.chmod(0o2775)  # what a new volume with an fsGroup is like
        yield Deployed(server, pod, tmp_path)


@asynccontextmanager
async def started(it: Deployed) -> AsyncIterator[Running]:
    """As its container would be: its arguments, but for a port and a folder of this machine."""
    verb, *words = it.container["args"]
    assert verb == "serve"
    flags = dict(zip(words[::2], words[1::2], strict=True))
    variables = {one["name"]: one["value"] for one in it.container["env"]}
    mounted = variables["STATEWARD_DATA__DIRECTORY"]
    place = {"KUBERNETES_SERVICE_HOST": "localhost", "KUBERNETES_SERVICE_PORT": str(it.server.port)}
    environment = replace(surroundings(it.folder, **variables, **place), service_account=it.folder)
    given: dict[str, dict[str, Any]] = {
        "api": {"host": "127.0.0.1", "port": 0},
        "data": {"directory": f"{it.folder}{mounted}"},
        "engine": {"default": flags["--engine"]},
        "logging": {"format": flags["--log-format"]},
    }
    settings = load(environment, flags=given)
    with data.opened(settings.data.directory, new_id=new_id) as held:
        async with running(settings, held, environment) as control_plane:
            yield control_plane


async def test_what_ships_makes_apps_on_the_cluster_that_it_is_deployed_to(made: Deployed) -> None:
    server = made.server
    async with started(made) as control_plane:
        headers = {"Authorization": f"Bearer {control_plane.token_file.read_text().strip()}"}
        async with httpx.AsyncClient(base_url=control_plane.serving.url, timeout=30) as client:
            for name in ("startupProbe", "livenessProbe", "readinessProbe"):
                asked = made.container[name]["httpGet"]["path"]
                assert (await client.get(asked)).status_code == 200, name
            web = {
                "apiVersion": "stateward/v1",
                "kind": "App",
                "metadata": {"name": "web", "project": "default"},
                "spec": {"image": IMAGE, "replicas": 2},
            }
            path = "/api/v1/projects/default/apps/web"
            answer = await client.put(path, json=web, headers=headers)
            assert answer.status_code == 201, answer.text
            await eventually(lambda: len(server.inside.all("Pod", "stw-default")) == 2)
            deployment = server.inside.get("Deployment", "stw-default", "web")
            assert deployment is not None
            [container] = deployment["spec"]["template"]["spec"]["containers"]
            assert container["image"] == IMAGE
            await client.delete(path, headers=headers)
            await eventually(lambda: server.inside.get("Deployment", "stw-default", "web") is None)
    used = server.access.used[server.access.users[TOKEN].name]
    assert {(verb, f"{resource}.{group}".rstrip(".")) for verb, group, resource in used} <= {
        (verb, resource) for resource, verbs in GRANTS.items() for verb in verbs
    }


async def test_it_goes_on_where_it_was_when_its_pod_is_made_anew(made: Deployed) -> None:
    """As by an upgrade: the claim stays, and no other writes to it meanwhile."""
    async with started(made) as first:
        installation, token = first.data.installation, first.token_file.read_text()
        with pytest.raises(data.DataTrouble, match="is in use by process"):
            async with started(made):
                pass
    async with started(made) as second:
        assert (second.data.installation, second.token_file.read_text()) == (installation, token)
        assert second.choice is None, "the target is as it was, and is not chosen again"


def test_a_pod_finds_its_account_where_kubelets_put_it() -> None:
    assert str(SERVICE_ACCOUNT) == "/var/run/secrets/kubernetes.io/serviceaccount"
