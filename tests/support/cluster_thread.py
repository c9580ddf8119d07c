"""The Kubernetes API server of the tests in a thread of its own, for tests that have no loop.

A control plane under test is another process; it reaches the cluster by a kubeconfig, as any would.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, final

import httpx

from reconcilers.object_labels import APP
from tests.support.kubernetes.pod_states import Fate
from tests.support.kubernetes.pods import Container
from tests.support.kubernetes.reaching import kubeconfig
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.server import ADMIN_TOKEN, KubernetesServer

SECONDS = 60.0  # for anything that is asked of the thread
NAMESPACE = "stw-default"


@final
class ClusterThread:
    """`server` lives in the thread's loop: ask it by `do` or `wait`."""

    def __init__(self, server: KubernetesServer, loop: asyncio.AbstractEventLoop) -> None:
        self.server, self._loop = server, loop

    def wait[T](self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)

    def do[T](self, work: Callable[[KubernetesServer], T]) -> T:
        """Do something between two requests."""

        async def within() -> T:
            return work(self.server)

        return self.wait(within())

    def kill(self) -> None:
        self.wait(self.server.kill())

    def start(self) -> None:
        self.wait(self.server.start())

    def start_again(self) -> None:
        """Start it if it was killed."""
        if not self.server.serves:
            self.start()

    def config(self, path: Path, token: str = ADMIN_TOKEN) -> Path:
        """A kubeconfig that leads here."""
        return kubeconfig(path, self.server.url, {"token": token})

    def let(self, image: str, fate: Fate) -> None:
        self.do(lambda server: server.workloads.let(image, fate))

    def found(self, kind: str, name: str = "web", namespace: str = NAMESPACE) -> Object | None:
        return self.do(lambda server: server.inside.get(kind, namespace, name))

    def all(self, kind: str, namespace: str = NAMESPACE) -> list[Object]:
        return self.do(lambda server: server.inside.all(kind, namespace))

    def edit(self, path: str, patch: Object) -> None:
        """Merge a patch into an object, as a person with `kubectl edit`."""
        headers = {
            "Authorization": f"Bearer {ADMIN_TOKEN}",
            "Content-Type": "application/merge-patch+json",
        }
        query = {"fieldManager": "kubectl-edit"}
        done = httpx.patch(f"{self.server.url}{path}", params=query, json=patch, headers=headers)
        assert done.status_code == 200, done.text

    def container(self, app: str = "web") -> Container:
        """The app's container in the first of its pods."""
        pods = [one for one in self.all("Pod") if one["metadata"]["labels"][APP] == app]
        name = min(one["metadata"]["name"] for one in pods)
        return Container(NAMESPACE, name, pods[0]["spec"]["containers"][0]["name"])

    def say(self, there: Container, line: str, at: datetime) -> None:
        stamp = at.isoformat().replace("+00:00", "Z")
        self.do(lambda server: server.pods.say(there, line, stamp))

    def restart(self, there: Container) -> None:
        """End a container with code 1; its node starts it again at once."""

        def again(server: KubernetesServer) -> None:
            server.pods.restart(there)
            pod = server.inside.get("Pod", there.namespace, there.pod)
            assert pod is not None
            status = pod["status"]
            (told,) = status["containerStatuses"]
            told["restartCount"] += 1
            now = server.now()
            told["lastState"] = {
                "terminated": {"exitCode": 1, "reason": "Error", "finishedAt": now}
            }
            server.inside.patch_status("Pod", there.namespace, there.pod, status)

        self.do(again)

    def left(self, namespace: str = NAMESPACE) -> list[str]:
        """All that is there of a project, but for the Events about it."""

        def names(server: KubernetesServer) -> list[str]:
            return [
                f"{kind.name} {one['metadata']['name']}"
                for kind in server.kinds
                if kind.name != "Event"
                for one in server.inside.all(kind.name, namespace if kind.namespaced else "")
                if kind.namespaced or one["metadata"]["name"] == namespace
            ]

        return self.do(names)

    def images(self) -> list[str]:
        """What the pods run, those that end left out."""
        return [
            pod["spec"]["containers"][0]["image"]
            for pod in self.all("Pod")
            if "deletionTimestamp" not in pod["metadata"]
        ]


@contextmanager
def cluster_thread() -> Iterator[ClusterThread]:
    """A cluster that lives as long as the context."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="kubernetes")
    thread.start()
    try:
        server = KubernetesServer()
        found = ClusterThread(server, loop)
        found.wait(server.__aenter__())
        try:
            yield found
        finally:
            found.wait(server.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS)
        loop.close()
