"""A Deployment `shop/web` on the server of the tests, and what is to be seen of it."""

import asyncio
from collections.abc import Callable

from tests.contracts.kubernetes_place import deployment
from tests.support.kubernetes.client import PATIENCE, KubernetesClient
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.server import KubernetesServer

SHOP = "/apis/apps/v1/namespaces/shop"
WEB = f"{SHOP}/deployments/web"
PODS = "/api/v1/namespaces/shop/pods"


class World:
    def __init__(self, server: KubernetesServer, client: KubernetesClient) -> None:
        self.server = server
        self.client = client

    async def apply(self, image: str = "web:1", **spec: object) -> None:
        body = deployment("web", replicas=2, **spec)
        body["spec"]["template"]["spec"]["containers"][0]["image"] = image
        assert (await self.client.apply(WEB, body, "stateward")).code < 300

    def status(self) -> Object:
        found = self.server.inside.get("Deployment", "shop", "web")
        return {} if found is None else dict(found.get("status", {}))

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition of the Deployment."""
        found = {one["type"]: one for one in self.status().get("conditions", ())}
        return (found[kind]["status"], found[kind]["reason"]) if kind in found else ("", "")

    def pods(self) -> list[Object]:
        return self.server.inside.all("Pod", "shop")

    def states(self) -> set[str]:
        """What the containers of all pods wait for, or `running`."""
        told = [
            state["state"]
            for pod in self.pods()
            for state in pod.get("status", {}).get("containerStatuses", ())
        ]
        return {state.get("waiting", {"reason": "running"})["reason"] for state in told}

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():
                await self.server.store.changed()

    async def ready(self) -> None:
        def holds() -> bool:
            status = self.status()
            counts = [status.get(key) for key in ("replicas", "updatedReplicas", "readyReplicas")]
            return (
                counts == [2, 2, 2] and self.condition("Progressing")[1] == "NewReplicaSetAvailable"
            )

        await self.until(holds)
