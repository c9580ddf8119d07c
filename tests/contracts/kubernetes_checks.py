"""What a Kubernetes API fills in, and what it refuses to take."""

import base64
from typing import Any

from tests.contracts.kubernetes_place import (
    Place,
    PlacedContract,
    config_map,
    containers,
    deployment,
)

MEGABYTE = 1_000_000


class ChecksContract(PlacedContract):
    async def test_a_deployment_gets_its_defaults(self, place: Place) -> None:
        answer = await place.client.post(place.deployments, deployment())
        assert answer.code == 201
        spec = answer.body["spec"]
        assert spec["replicas"] == 1
        assert spec["strategy"]["type"] == "RollingUpdate"
        assert spec["revisionHistoryLimit"] == 10
        assert containers(answer.body)[0]["imagePullPolicy"] == "IfNotPresent"
        assert spec["template"]["spec"]["terminationGracePeriodSeconds"] == 30

    async def test_the_selector_of_a_deployment_never_changes(self, place: Place) -> None:
        body = (await place.client.post(place.deployments, deployment())).body
        del body["metadata"]["resourceVersion"]
        body["spec"]["selector"]["matchLabels"] = {"z": "1"}
        body["spec"]["template"]["metadata"]["labels"] = {"z": "1"}
        answer = await place.client.put(f"{place.deployments}/d", body)
        assert answer.code == 422
        assert "immutable" in answer.message

    async def test_a_deployment_selects_its_own_pods(self, place: Place) -> None:
        body = deployment()
        body["spec"]["template"]["metadata"]["labels"] = {"q": "1"}
        answer = await place.client.post(place.deployments, body)
        assert (answer.code, answer.reason) == (422, "Invalid")
        assert answer.causes

    async def test_a_service_gets_an_address_and_defaults(self, place: Place) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "s"},
            "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]},
        }
        answer = await place.client.post(f"{place.own}/services", body)
        assert answer.code == 201
        spec = answer.body["spec"]
        assert spec["clusterIP"]
        assert spec["ports"][0]["targetPort"] == 80
        assert spec["type"] == "ClusterIP"

    async def test_plain_text_of_a_secret_is_encoded(self, place: Place) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s"},
            "stringData": {"p": "x"},
        }
        answer = await place.client.post(f"{place.own}/secrets", body)
        assert answer.code == 201
        assert base64.b64decode(answer.body["data"]["p"]) == b"x"
        assert "stringData" not in answer.body
        assert answer.body["type"] == "Opaque"

    async def test_an_immutable_config_map_never_changes(self, place: Place) -> None:
        await place.client.post(place.config_maps, {**config_map("a"), "immutable": True})
        answer = await place.client.merge(f"{place.config_maps}/a", {"data": {"a": "9"}})
        assert answer.code == 422

    async def test_strict_validation_refuses_an_unknown_field(self, place: Place) -> None:
        body = deployment(bogus=1)
        answer = await place.client.post(place.deployments, body, fieldValidation="Strict")
        assert answer.code == 400
        assert "unknown field" in answer.message

    async def test_an_unknown_field_is_dropped_with_a_warning(self, place: Place) -> None:
        answer = await place.client.post(place.deployments, deployment(bogus=1))
        assert answer.code == 201
        assert "bogus" not in answer.body["spec"]
        assert "Warning" in answer.headers

    async def test_a_dry_run_creates_nothing(self, place: Place) -> None:
        answer = await place.client.post(place.config_maps, config_map("a"), dryRun="All")
        assert answer.code == 201
        assert (await place.client.get(f"{place.config_maps}/a")).code == 404

    async def _sized(self, place: Place, size: float) -> int:
        body: Any = config_map("a", {"x": "y" * int(size * MEGABYTE)})
        return (await place.client.post(place.config_maps, body)).code

    async def test_a_request_over_three_megabytes_is_too_large(self, place: Place) -> None:
        assert await self._sized(place, 3.3) == 413

    async def test_a_config_map_over_one_megabyte_is_invalid(self, place: Place) -> None:
        assert await self._sized(place, 1.1) == 422
