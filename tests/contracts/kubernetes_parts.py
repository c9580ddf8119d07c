"""Subresources of a Kubernetes API (status and scale), and how objects are deleted."""

import uuid
from typing import Any

from tests.contracts.kubernetes_place import Place, PlacedContract, config_map, deployment
from tests.support.kubernetes.schema import Object


def replicas_of(status: Any) -> int | None:
    return (status or {}).get("replicas") or None


class SubresourcesContract(PlacedContract):
    async def test_a_status_is_not_written_with_the_object(self, place: Place) -> None:
        body = {**deployment(replicas=0, paused=True), "status": {"replicas": 9}}
        answer = await place.client.post(place.deployments, body)
        assert replicas_of(answer.body.get("status")) is None
        patch = {"status": {"replicas": 5}}
        answer = await place.client.merge(f"{place.deployments}/d", patch)
        assert replicas_of(answer.body.get("status")) is None

    async def test_a_spec_is_not_written_with_the_status(self, place: Place) -> None:
        await place.client.post(place.deployments, deployment(replicas=0))
        status = {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3}
        patch = {"spec": {"replicas": 8}, "status": status}
        answer = await place.client.merge(f"{place.deployments}/d/status", patch)
        assert answer.code == 200
        assert answer.body["spec"]["replicas"] == 0

    async def test_the_scale_reads_and_writes_the_replicas(self, place: Place) -> None:
        await place.client.post(place.deployments, deployment(replicas=2))
        path = f"{place.deployments}/d"
        scale = await place.client.get(f"{path}/scale")
        assert scale.code == 200
        assert scale.body["kind"] == "Scale"
        assert scale.body["spec"]["replicas"] == 2
        scale = await place.client.merge(f"{path}/scale", {"spec": {"replicas": 4}})
        assert scale.body["spec"]["replicas"] == 4
        assert (await place.client.get(path)).body["spec"]["replicas"] == 4


def options(**told: Any) -> Object:
    return {"apiVersion": "v1", "kind": "DeleteOptions", **told}


class DeletesContract(PlacedContract):
    async def test_a_deletion_answers_success_once(self, place: Place) -> None:
        await place.client.post(place.config_maps, config_map("a"))
        answer = await place.client.delete(f"{place.config_maps}/a")
        assert answer.code == 200
        assert answer.body.get("status") == "Success"
        assert (await place.client.delete(f"{place.config_maps}/a")).code == 404

    async def test_a_deletion_may_be_for_one_uid(self, place: Place) -> None:
        await place.client.post(place.config_maps, config_map("a"))
        other = options(preconditions={"uid": str(uuid.uuid4())})
        assert (await place.client.delete(f"{place.config_maps}/a", other)).code == 409

    async def test_a_deletion_may_be_for_one_version(self, place: Place) -> None:
        await place.client.post(place.config_maps, config_map("a"))
        other = options(preconditions={"resourceVersion": "1"})
        assert (await place.client.delete(f"{place.config_maps}/a", other)).code == 409

    async def test_a_finalizer_holds_what_is_deleted(self, place: Place) -> None:
        path = f"{place.config_maps}/a"
        body = config_map("a", finalizers=["t.example/x"])
        await place.client.post(place.config_maps, body)
        assert (await place.client.delete(path)).code == 200
        held = await place.client.get(path)
        assert held.code == 200
        assert held.metadata["deletionTimestamp"]
        assert held.metadata["deletionGracePeriodSeconds"] == 0
        more = {"metadata": {"finalizers": ["t.example/x", "t.example/new"]}}
        assert (await place.client.merge(path, more)).code == 422
        none = {"metadata": {"finalizers": None}}
        assert (await place.client.merge(path, none)).code == 200
        assert (await place.client.get(path)).code == 404

    async def test_a_foreground_deletion_waits_by_a_finalizer(self, place: Place) -> None:
        await place.client.post(place.deployments, deployment(replicas=0, paused=True))
        foreground = options(propagationPolicy="Foreground")
        answer = await place.client.delete(f"{place.deployments}/d", foreground)
        assert answer.code == 200
        assert "foregroundDeletion" in answer.metadata["finalizers"]

    async def test_a_selection_is_deleted_at_once(self, place: Place) -> None:
        for name, group in (("a", "1"), ("b", "1"), ("d", "2")):
            await place.client.post(place.config_maps, config_map(name, labels={"g": group}))
        answer = await place.client.delete(place.config_maps, labelSelector="g=1")
        assert answer.code == 200
        assert (await place.client.get(place.config_maps, labelSelector="g")).names == ["d"]

    async def test_nothing_is_created_in_a_terminating_namespace(self, place: Place) -> None:
        held = {"metadata": {"finalizers": ["t.example/hold"]}}
        await place.client.merge(place.own, held)
        try:
            await place.client.delete(place.own)
            answer = await place.client.get(place.own)
            assert answer.body["status"]["phase"] == "Terminating"
            answer = await place.client.post(place.config_maps, config_map("a"))
            assert answer.code == 403
            assert answer.causes[0]["reason"] == "NamespaceTerminating"
        finally:
            await place.client.merge(place.own, {"metadata": {"finalizers": None}})
