"""What ships to run Stateward in a cluster: every object is taken as it is, and the pod may run."""

from pathlib import Path

import pytest
import yaml

from adapters.k8s.cluster import Cluster
from stateward.engines import choose
from stateward.layers import load
from stateward.reference.cluster import NAME, OF_COMMANDS
from tests.support.deployment import FOLDER, read
from tests.support.kubernetes.reaching import reached
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.server import KubernetesServer
from tests.support.pod_security import violations
from tests.support.surroundings import surroundings

CUSTOMIZED = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
OBJECTS = [one for name in CUSTOMIZED["resources"] for one in read(name)]


def of_kind(kind: str) -> list[Object]:
    return [one for one in OBJECTS if one["kind"] == kind]


def test_every_file_is_deployed() -> None:
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert files == set(CUSTOMIZED["resources"])


async def apply_all(cluster: Cluster) -> list[str]:
    return [
        warning
        for one in OBJECTS
        for warning in (await cluster.apply(one, manager="operator")).warnings
    ]


async def test_a_cluster_takes_all_of_it_strictly(tmp_path: Path) -> None:
    async with KubernetesServer() as server, reached(server, tmp_path) as cluster:
        assert await apply_all(cluster) == []
        versions = server.store.version
        assert await apply_all(cluster) == []
        assert server.store.version == versions, "applied again, it differs"


def test_the_account_is_bound_to_what_it_needs_and_the_pod_is_that_account() -> None:
    bound = {one["roleRef"]["name"] for one in of_kind("ClusterRoleBinding")}
    assert bound == {one["metadata"]["name"] for one in of_kind("ClusterRole")}
    assert bound == {NAME, OF_COMMANDS}
    [account] = of_kind("ServiceAccount")
    named = {"kind": "ServiceAccount", **account["metadata"]}
    assert all(one["subjects"] == [named] for one in of_kind("ClusterRoleBinding"))
    [deployment] = of_kind("Deployment")
    spec = deployment["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == account["metadata"]["name"]
    assert spec["automountServiceAccountToken"] is True


def test_the_pod_may_run_where_it_is_put() -> None:
    [deployment], [namespace] = of_kind("Deployment"), of_kind("Namespace")
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert violations(deployment["spec"]["template"]["spec"]) == []
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}, "two would write one log"


def test_its_arguments_are_settings_and_its_data_is_on_the_claim(tmp_path: Path) -> None:
    [deployment] = of_kind("Deployment")
    spec = deployment["spec"]["template"]["spec"]
    [container] = spec["containers"]
    verb, *flags = container["args"]
    given = dict(zip(flags[::2], flags[1::2], strict=True))
    assert (verb, given["--engine"]) == ("serve", "k8s")
    host, _, port = given["--listen"].rpartition(":")
    variables = {one["name"]: one["value"] for one in container["env"]}
    section = {"api": {"host": host, "port": port}, "engine": {"default": "k8s"}}
    found = load(surroundings(tmp_path, **variables), flags=section)
    assert [one["containerPort"] for one in container["ports"]] == [found.api.port]
    mounted = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
    [claim] = of_kind("PersistentVolumeClaim")
    volumes = {one["name"]: one for one in spec["volumes"]}
    source = volumes[mounted[str(found.data.directory)]]["persistentVolumeClaim"]
    assert source == {"claimName": claim["metadata"]["name"]}


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe", "readinessProbe"])
def test_probes_ask_what_is_open_to_all(probe: str) -> None:
    [deployment] = of_kind("Deployment")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    path = "/readyz" if probe == "readinessProbe" else "/livez"
    assert container[probe]["httpGet"] == {"path": path, "port": "http"}


async def test_its_target_local_is_the_cluster_around_it() -> None:
    choice = await choose("k8s", None)
    assert (choice.spec.engine, choice.spec.k8s) == ("k8s", None)
