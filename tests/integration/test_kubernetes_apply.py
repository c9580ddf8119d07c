"""Corners of server-side apply in the server of the tests, as structured-merge-diff has them.

`tests/contracts/kubernetes_apply.py` is what a real server was seen to do; this is what follows
from its source.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.contracts.kubernetes_place import containers, deployment
from tests.support.kubernetes.client import Answer, KubernetesClient
from tests.support.kubernetes.reaching import namespace
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.server import ADMIN_TOKEN, KubernetesServer

PATH = "/apis/apps/v1/namespaces/shop/deployments/d"


@pytest.fixture
async def client() -> AsyncIterator[KubernetesClient]:
    async with KubernetesServer() as server:
        server.workloads.paused = True
        namespace(server)
        client = KubernetesClient(server.url, ADMIN_TOKEN)
        try:
            yield client
        finally:
            await client.close()


def with_env(*names: str) -> Object:
    body = deployment()
    containers(body)[0]["env"] = [{"name": name, "value": name.lower()} for name in names]
    return body


def env_of(answer: Answer) -> list[str]:
    return [one["name"] for one in containers(answer.body)[0].get("env", ())]


async def test_items_of_two_managers_stand_together_and_go_with_their_owner(
    client: KubernetesClient,
) -> None:
    await client.apply(PATH, with_env("A", "B"), "m1")
    other: Any = with_env("C")
    both = await client.apply(PATH, other, "m2")
    assert env_of(both) == ["A", "B", "C"]
    assert env_of(await client.apply(PATH, with_env("B"), "m1")) == ["B", "C"]
    assert env_of(await client.apply(PATH, deployment(), "m2")) == ["B"]
    assert env_of(await client.apply(PATH, deployment(), "m1")) == []


async def test_the_order_of_the_last_who_applied_counts(client: KubernetesClient) -> None:
    await client.apply(PATH, with_env("A", "B"), "m1")
    assert env_of(await client.apply(PATH, with_env("B", "A"), "m1")) == ["B", "A"]


async def test_a_port_is_told_apart_by_number_and_protocol(client: KubernetesClient) -> None:
    body = deployment()
    containers(body)[0]["ports"] = [
        {"containerPort": 53},
        {"containerPort": 53, "protocol": "UDP"},
    ]
    first = await client.apply(PATH, body, "m1")
    found = [
        (port["containerPort"], port["protocol"]) for port in containers(first.body)[0]["ports"]
    ]
    assert found == [(53, "TCP"), (53, "UDP")]
    again = await client.apply(PATH, body, "m1")
    assert again.version == first.version


async def test_an_item_may_stand_but_once(client: KubernetesClient) -> None:
    answer = await client.apply(PATH, with_env("A", "A"), "m1")
    assert (answer.code, answer.reason) == (500, "")
    assert "duplicate entries for key" in answer.message


async def test_an_atomic_list_has_one_owner(client: KubernetesClient) -> None:
    def with_arguments(*arguments: str) -> Object:
        body = deployment()
        containers(body)[0]["args"] = list(arguments)
        return body

    await client.apply(PATH, with_arguments("a"), "m1")
    answer = await client.apply(PATH, with_arguments("a", "b"), "m2")
    assert answer.causes[0]["field"] == '.spec.template.spec.containers[name="c"].args'
    taken = await client.apply(PATH, with_arguments("a", "b"), "m2", force="true")
    assert containers(taken.body)[0]["args"] == ["a", "b"]


async def test_null_unsets_a_value_and_nothing_that_has_parts(client: KubernetesClient) -> None:
    await client.apply(PATH, deployment(replicas=3, strategy={"type": "RollingUpdate"}), "m1")
    answer = await client.apply(PATH, deployment(replicas=None, strategy=None), "m1")
    assert answer.body["spec"]["replicas"] == 1
    assert answer.body["spec"]["strategy"]["rollingUpdate"] == {
        "maxSurge": "25%",
        "maxUnavailable": "25%",
    }


async def test_quantities_are_stored_alike_however_they_are_written(
    client: KubernetesClient,
) -> None:
    def with_limits(cpu: object, memory: object) -> Object:
        body = deployment()
        containers(body)[0]["resources"] = {"limits": {"cpu": cpu, "memory": memory}}
        return body

    first = await client.apply(PATH, with_limits("0.1", "1024Mi"), "m1")
    assert containers(first.body)[0]["resources"]["limits"] == {"cpu": "100m", "memory": "1Gi"}
    again = await client.apply(PATH, with_limits(0.1, "1Gi"), "m1")
    assert again.version == first.version
    assert (await client.apply(PATH, with_limits("0.1", "lots"), "m1")).code == 500


async def test_an_apply_to_what_is_being_deleted_is_lost(client: KubernetesClient) -> None:
    body = deployment()
    body["metadata"]["finalizers"] = ["test/hold"]
    await client.apply(PATH, body, "m1")
    await client.delete(PATH)
    answer = await client.apply(PATH, body | {"spec": deployment(replicas=4)["spec"]}, "m1")
    assert answer.code == 200
    assert answer.metadata["deletionTimestamp"]
    await client.merge(PATH, {"metadata": {"finalizers": None}})
    assert (await client.get(PATH)).code == 404


async def test_annotations_of_a_deployment_are_a_new_generation(client: KubernetesClient) -> None:
    await client.apply(PATH, deployment(), "m1")
    body = deployment()
    body["metadata"]["annotations"] = {"note": "1"}
    assert (await client.apply(PATH, body, "m1")).metadata["generation"] == 2


async def test_a_manager_of_nothing_is_forgotten(client: KubernetesClient) -> None:
    await client.apply(PATH, deployment(), "m1")
    note = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"annotations": {"n": "1"}}}
    await client.apply(PATH, note, "m2")
    del note["metadata"]
    answer = await client.apply(PATH, note, "m2")
    assert [entry["manager"] for entry in answer.metadata["managedFields"]] == ["m1"]
    assert "annotations" not in answer.metadata
