"""Where the contract of a Kubernetes API is tried: a namespace of one server, real or not."""

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.kubernetes.client import PATIENCE, KubernetesClient
from tests.support.kubernetes.definitions import definition
from tests.support.kubernetes.schema import Object


class Place(ABC):
    """One namespace of a server, for one test."""

    def __init__(self, client: KubernetesClient, namespace: str) -> None:
        self.client = client
        self.namespace = namespace

    @abstractmethod
    async def let_a_second_pass(self) -> None:
        """So that a time which the server writes now differs from one it wrote before."""

    @property
    def config_maps(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/configmaps"

    @property
    def deployments(self) -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments"

    @property
    def own(self) -> str:
        """The path of the namespace itself."""
        return f"/api/v1/namespaces/{self.namespace}"


@asynccontextmanager
async def namespace_of(client: KubernetesClient) -> AsyncIterator[str]:
    """A fresh namespace, deleted afterwards."""
    name = f"contract-{uuid.uuid4().hex[:8]}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    assert (await client.post("/api/v1/namespaces", body)).code == 201
    try:
        yield name
    finally:
        await client.delete(f"/api/v1/namespaces/{name}")


class PlacedContract:
    """Provide `place`: an (async) fixture that yields a fresh `Place`."""

    @pytest.fixture
    def place(self) -> Place:
        raise NotImplementedError


def config_map(name: str, data: dict[str, str] | None = None, **metadata: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, **metadata},
        "data": data or {"a": "1"},
    }


def deployment(name: str = "d", **spec: Any) -> Object:
    """A Deployment of one container `c`; `spec` adds to it or replaces what it says."""
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "c", "image": "nginx:1"}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


def containers(written: Object) -> list[Object]:
    found: list[Object] = written["spec"]["template"]["spec"]["containers"]
    return found


_WIDGET = {
    "spec": {
        "type": "object",
        "required": ["size"],
        "properties": {
            "size": {"type": "integer", "minimum": 1},
            "color": {"type": "string", "default": "red"},
            "items": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}, "v": {"type": "integer"}},
                },
            },
        },
    },
    "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
}


class Widgets:
    """A custom kind that exists for one test."""

    def __init__(self, group: str, namespace: str) -> None:
        self.group = group
        self.definition = definition(group, "widgets", "Widget", _WIDGET)
        self.path = f"/apis/{group}/v1/namespaces/{namespace}/widgets"

    def widget(self, name: str = "w", **spec: Any) -> Object:
        return {
            "apiVersion": f"{self.group}/v1",
            "kind": "Widget",
            "metadata": {"name": name},
            "spec": spec,
        }


_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@asynccontextmanager
async def widgets_in(place: Place) -> AsyncIterator[Widgets]:
    """Define widgets, wait until they are served, and take them away again."""
    widgets = Widgets(f"t{uuid.uuid4().hex[:6]}.example.com", place.namespace)
    client = place.client
    assert (await client.post(_DEFINITIONS, widgets.definition)).code == 201
    own = f"{_DEFINITIONS}/widgets.{widgets.group}"

    async def established() -> bool:
        status = (await client.get(own)).body.get("status", {})
        return any(
            (one["type"], one["status"]) == ("Established", "True")
            for one in status.get("conditions") or ()
        )

    async def served() -> bool:
        return (await client.get(widgets.path)).code == 200

    try:
        await until(established)
        await until(served)
        yield widgets
    finally:
        await client.delete(own)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask until something holds that a server does in its own time."""
    async with asyncio.timeout(PATIENCE):
        while not await holds():
            await asyncio.sleep(0.02)
