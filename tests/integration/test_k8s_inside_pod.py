"""A control plane in a pod of the cluster that it works with: its service account is its way."""

from pathlib import Path
from typing import override

from adapters.k8s.access import Access, InCluster
from domain import intents as i
from domain.names import app
from domain.target import K8sSettings
from tests.integration.test_k8s_worker import spec
from tests.support.cluster_house import ClusterHouse
from tests.support.deployment import account
from tests.support.intents import manifest
from tests.support.kubernetes.certificates import certified
from tests.support.kubernetes.server import KubernetesServer


class PodHouse(ClusterHouse):
    """`folder` is where its pod would have what its service account is known by."""

    folder: Path

    @override
    def access(self, settings: K8sSettings) -> Access:
        told = {
            "KUBERNETES_SERVICE_HOST": "localhost",
            "KUBERNETES_SERVICE_PORT": str(self.server.port),
        }
        return InCluster(environment=told, folder=self.folder)


def rotate(folder: Path, server: KubernetesServer, token: str) -> None:
    """As a kubelet does it: the file is a link into a folder that is replaced whole."""
    data = folder / f"..{token}"
    data.mkdir()
    (data / "token").write_text(token)
    (folder / "..next").symlink_to(data.name)
    (folder / "..next").replace(folder / "..data")
    if not (folder / "token").is_symlink():
        (folder / "token").symlink_to("..data/token")
    server.access.users = {token: account()}


async def test_it_works_by_its_service_account_whose_token_is_read_again_when_it_is_another(
    tmp_path: Path,
) -> None:
    made = certified(tmp_path)
    async with KubernetesServer(made.server) as server:
        rotate(tmp_path, server, "first")
        house = PodHouse(server, tmp_path)
        house.folder = tmp_path
        async with house.working():
            await house.furnish()
            await house.send(manifest("App", "web", spec()))
            await house.ready()
            for number, token in enumerate(
                ("second", "third"), 3
            ):  # the one before is worth nothing
                rotate(tmp_path, server, token)  # the one before is worth nothing
                server.faults.cut_watches()
                await house.send(i.Scale(ref=app("shop", "web"), replicas=number))
                await house.ready()
                assert len(house.all("Pod")) == number
        await house.parts.targets.close()
