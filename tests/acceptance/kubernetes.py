"""A control plane whose targets are clusters, as the stories of Kubernetes share it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from tests.support.cluster_thread import ClusterThread, cluster_thread
from tests.support.serving import ControlPlane, served

CLUSTERS = ("prod", "west")


class Town(NamedTuple):
    """A control plane whose projects run on `prod` unless they say otherwise."""

    plane: ControlPlane
    prod: ClusterThread
    west: ClusterThread

    def cli(self, *words: str, code: int = 0) -> str:
        """What a command writes that has to end with this exit code."""
        done = self.plane.run(*words[1:], verb=words[0])
        assert done.returncode == code, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr


@contextmanager
def town(home: Path) -> Iterator[Town]:
    with ExitStack() as stack:
        clusters = {name: stack.enter_context(cluster_thread()) for name in CLUSTERS}
        plane = stack.enter_context(contextmanager(served)(home, "--no-nats"))
        for name, cluster in clusters.items():
            register(plane, name, cluster.config(home / f"{name}.json"))
        body = {"apiVersion": "stateward/v1", "kind": "Project", "spec": {"target": "prod"}}
        answer = plane.http.put("/api/v1/projects/default", json=body)
        assert answer.status_code in (200, 201), answer.text
        yield Town(plane, **clusters)


def register(plane: ControlPlane, name: str, config: Path) -> None:
    """Apply a target that is the cluster of a kubeconfig."""
    answer = put_target(plane, name, {"kubeconfig": str(config)})
    assert answer.status_code in (200, 201), answer.text


def put_target(plane: ControlPlane, name: str, settings: dict[str, Any]) -> httpx.Response:
    spec = {"engine": "k8s", "k8s": {"resolveImages": False} | settings}  # no registry has them
    body = {"apiVersion": "stateward/v1", "kind": "Target", "spec": spec}
    return plane.http.put(f"/api/v1/targets/{name}", json=body)


def app(image: str = "web:1", **more: Any) -> dict[str, Any]:
    return {"image": image, "ports": [{"name": "http", "port": 8080}], "replicas": 2} | more
