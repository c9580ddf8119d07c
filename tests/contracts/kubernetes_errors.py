"""What a Kubernetes API says about itself, and how it refuses."""

import uuid

from tests.contracts.kubernetes_place import Place, PlacedContract, config_map


class ErrorsContract(PlacedContract):
    async def test_the_server_tells_its_version(self, place: Place) -> None:
        answer = await place.client.get("/version")
        assert answer.code == 200
        assert "gitVersion" in answer.body

    async def test_discovery_lists_groups_kinds_and_subresources(self, place: Place) -> None:
        groups = await place.client.get("/apis")
        assert groups.code == 200
        assert "apps" in {group["name"] for group in groups.body["groups"]}
        apps = await place.client.get("/apis/apps/v1")
        assert apps.code == 200
        found = {resource["name"]: resource for resource in apps.body["resources"]}
        assert found["deployments"]["namespaced"]
        assert found["deployments"]["kind"] == "Deployment"
        assert {"deployments/status", "deployments/scale"} <= found.keys()

    async def test_what_is_not_there_is_named_in_a_status(self, place: Place) -> None:
        answer = await place.client.get(f"{place.config_maps}/nope")
        assert answer.code == 404
        assert answer.body["kind"] == "Status"
        assert answer.reason == "NotFound"
        assert answer.body["code"] == 404
        assert answer.body["details"]["name"] == "nope"

    async def test_an_unknown_kind_is_not_found(self, place: Place) -> None:
        path = f"/apis/example.invalid/v1/namespaces/{place.namespace}/things"
        assert (await place.client.get(path)).code == 404

    async def test_a_created_object_has_its_metadata_set(self, place: Place) -> None:
        answer = await place.client.post(place.config_maps, config_map("a"))
        assert answer.code == 201
        uuid.UUID(answer.metadata["uid"])
        assert int(answer.version)
        assert answer.metadata["creationTimestamp"].endswith("Z")
        assert answer.metadata["namespace"] == place.namespace
        assert answer.body["kind"] == "ConfigMap"

    async def test_creating_a_name_twice_is_refused(self, place: Place) -> None:
        await place.client.post(place.config_maps, config_map("a"))
        answer = await place.client.post(place.config_maps, config_map("a"))
        assert (answer.code, answer.reason) == (409, "AlreadyExists")

    async def test_nothing_is_created_in_a_namespace_that_is_not_there(self, place: Place) -> None:
        path = "/api/v1/namespaces/no-such-namespace/configmaps"
        answer = await place.client.post(path, config_map("a"))
        assert (answer.code, answer.reason) == (404, "NotFound")

    async def test_a_body_of_another_namespace_is_refused(self, place: Place) -> None:
        body = config_map("a", namespace="other")
        answer = await place.client.post(place.config_maps, body)
        assert (answer.code, answer.reason) == (400, "BadRequest")

    async def test_a_name_can_be_generated_from_a_prefix(self, place: Place) -> None:
        body = config_map("x")
        body["metadata"] = {"generateName": "gen-"}
        answer = await place.client.post(place.config_maps, body)
        assert answer.code == 201
        assert answer.metadata["name"].startswith("gen-")
        assert len(answer.metadata["name"]) == len("gen-") + 5

    async def test_a_name_that_dns_forbids_is_invalid(self, place: Place) -> None:
        answer = await place.client.post(place.config_maps, config_map("Bad_Name"))
        assert (answer.code, answer.reason) == (422, "Invalid")
        assert answer.causes[0]["field"] == "metadata.name"

    async def test_an_object_is_not_created_with_a_version(self, place: Place) -> None:
        body = config_map("a", resourceVersion="5")
        answer = await place.client.post(place.config_maps, body)
        assert answer.code in {400, 500}

    async def test_a_wrong_token_is_unauthorized(self, place: Place) -> None:
        wrong = {"Authorization": "Bearer wrong"}
        answer = await place.client.request("GET", "/api/v1/pods", headers=wrong)
        assert (answer.code, answer.reason) == (401, "Unauthorized")
