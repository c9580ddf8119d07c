"""How objects of a Kubernetes API are replaced and patched."""

import copy

from tests.contracts.kubernetes_place import (
    Place,
    PlacedContract,
    config_map,
    containers,
    deployment,
)
from tests.support.kubernetes.client import Answer
from tests.support.kubernetes.requests import JSON_PATCH, STRATEGIC


class UpdatesContract(PlacedContract):
    async def test_replacing_an_older_version_conflicts(self, place: Place) -> None:
        first = (await place.client.post(place.config_maps, config_map("a"))).body
        stale = copy.deepcopy(first)
        first["data"]["a"] = "2"
        assert (await place.client.put(f"{place.config_maps}/a", first)).code == 200
        stale["data"]["a"] = "3"
        answer = await place.client.put(f"{place.config_maps}/a", stale)
        assert (answer.code, answer.reason) == (409, "Conflict")

    async def test_replacing_without_a_version_is_unconditional(self, place: Place) -> None:
        await place.client.post(place.config_maps, config_map("a"))
        answer = await place.client.put(f"{place.config_maps}/a", config_map("a", {"b": "2"}))
        assert answer.code == 200
        assert answer.body["data"] == {"b": "2"}

    async def test_replacing_leaves_nothing_of_the_old_object(self, place: Place) -> None:
        body = config_map("a", {"x": "1"}, labels={"l": "1"})
        await place.client.post(place.config_maps, body)
        answer = await place.client.put(f"{place.config_maps}/a", config_map("a", {"y": "1"}))
        assert "labels" not in answer.metadata
        assert answer.body["data"] == {"y": "1"}

    async def test_what_is_not_there_is_not_replaced(self, place: Place) -> None:
        answer = await place.client.put(f"{place.config_maps}/zz", config_map("zz"))
        assert answer.code == 404

    async def test_a_body_of_another_name_does_not_replace(self, place: Place) -> None:
        await place.client.post(place.config_maps, config_map("a"))
        answer = await place.client.put(f"{place.config_maps}/a", config_map("b"))
        assert answer.code == 400

    async def test_replacing_by_the_same_keeps_the_version(self, place: Place) -> None:
        first = await place.client.post(place.config_maps, config_map("a"))
        again = await place.client.put(f"{place.config_maps}/a", first.body)
        assert again.version == first.version

    async def test_versions_rise_with_every_write(self, place: Place) -> None:
        written = [
            await place.client.post(place.config_maps, config_map(f"a{number}"))
            for number in range(3)
        ]
        versions = [int(answer.version) for answer in written]
        assert versions == sorted(set(versions))

    async def test_only_a_changed_spec_is_a_new_generation(self, place: Place) -> None:
        path = f"{place.deployments}/d"
        answer = await place.client.post(place.deployments, deployment())
        assert answer.metadata["generation"] == 1
        answer = await place.client.merge(path, {"metadata": {"labels": {"z": "1"}}})
        assert answer.metadata["generation"] == 1
        answer = await place.client.merge(path, {"spec": {"replicas": 3}})
        assert answer.metadata["generation"] == 2

    async def test_null_in_a_merge_patch_deletes(self, place: Place) -> None:
        await place.client.post(place.config_maps, config_map("a", {"x": "1", "y": "2"}))
        patch = {"data": {"x": None, "z": "3"}}
        answer = await place.client.merge(f"{place.config_maps}/a", patch)
        assert answer.code == 200
        assert answer.body["data"] == {"y": "2", "z": "3"}

    async def test_a_merge_patch_replaces_lists(self, place: Place) -> None:
        await place.client.post(place.deployments, deployment())
        other = {"containers": [{"name": "other", "image": "x:1"}]}
        patch = {"spec": {"template": {"spec": other}}}
        answer = await place.client.merge(f"{place.deployments}/d", patch)
        assert [one["name"] for one in containers(answer.body)] == ["other"]

    async def test_a_strategic_merge_patch_merges_containers_by_name(self, place: Place) -> None:
        await place.client.post(place.deployments, deployment())
        both = [{"name": "c", "image": "x:2"}, {"name": "n", "image": "y"}]
        patch = {"spec": {"template": {"spec": {"containers": both}}}}
        path = f"{place.deployments}/d"
        answer = await place.client.request("PATCH", path, patch, kind=STRATEGIC)
        assert answer.code == 200
        found = sorted((one["name"], one["image"]) for one in containers(answer.body))
        assert found == [("c", "x:2"), ("n", "y")]

    async def _json_patched(self, place: Place, *operations: dict[str, str]) -> Answer:
        path = f"{place.config_maps}/a"
        return await place.client.request("PATCH", path, list(operations), kind=JSON_PATCH)

    async def test_a_json_patch_tests_replaces_and_adds(self, place: Place) -> None:
        await place.client.post(place.config_maps, config_map("a", {"x": "1"}))
        answer = await self._json_patched(
            place,
            {"op": "test", "path": "/data/x", "value": "1"},
            {"op": "replace", "path": "/data/x", "value": "9"},
            {"op": "add", "path": "/data/q", "value": "2"},
        )
        assert answer.code == 200
        assert answer.body["data"] == {"x": "9", "q": "2"}

    async def test_a_json_patch_whose_test_fails_is_invalid(self, place: Place) -> None:
        await place.client.post(place.config_maps, config_map("a", {"x": "1"}))
        operation = {"op": "test", "path": "/data/x", "value": "no"}
        answer = await self._json_patched(place, operation)
        assert (answer.code, answer.reason) == (422, "Invalid")

    async def test_a_patch_of_an_older_version_conflicts(self, place: Place) -> None:
        first = await place.client.post(place.config_maps, config_map("a"))
        path = f"{place.config_maps}/a"
        await place.client.merge(path, {"data": {"q": "1"}})
        stale = {"metadata": {"resourceVersion": first.version}, "data": {"q": "2"}}
        answer = await place.client.merge(path, stale)
        assert (answer.code, answer.reason) == (409, "Conflict")

    async def test_what_is_not_there_is_not_patched(self, place: Place) -> None:
        answer = await place.client.merge(f"{place.config_maps}/zz", {"data": {}})
        assert answer.code == 404

    async def test_a_patch_says_what_kind_of_patch_it_is(self, place: Place) -> None:
        await place.client.post(place.config_maps, config_map("a"))
        answer = await place.client.request("PATCH", f"{place.config_maps}/a", {"data": {}})
        assert answer.code == 415

    async def test_malformed_json_is_a_bad_request(self, place: Place) -> None:
        assert (await place.client.post(place.config_maps, b"{not json")).code == 400
