"""Watches of a Kubernetes API: from a version on, each change once and in order."""

import asyncio

from tests.contracts.kubernetes_place import Place, PlacedContract, config_map, deployment


async def version_of(place: Place) -> str:
    return (await place.client.get(place.config_maps)).version


class WatchesContract(PlacedContract):
    async def test_a_watch_tells_every_change_behind_a_list(self, place: Place) -> None:
        version = await version_of(place)
        path = f"{place.config_maps}/w"
        await place.client.post(place.config_maps, config_map("w"))
        await place.client.merge(path, {"data": {"a": "2"}})
        await place.client.delete(path)
        query = {"resourceVersion": version, "fieldSelector": "metadata.name=w"}
        async with place.client.watch(place.config_maps, **query) as watch:
            events = await watch.events(3)
        assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]
        versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
        assert versions == sorted(set(versions))
        assert versions[0] > int(version)
        assert events[0]["object"]["kind"] == "ConfigMap"
        assert events[2]["object"]["data"]["a"] == "2"  # the last state

    async def test_a_watch_from_no_version_tells_first_what_is_there(self, place: Place) -> None:
        await place.client.post(place.config_maps, config_map("w"))
        select = {"fieldSelector": "metadata.name=w"}
        async with place.client.watch(place.config_maps, **select) as watch:
            (there,) = await watch.events(1)
            await place.client.merge(f"{place.config_maps}/w", {"data": {"a": "2"}})
            (then,) = await watch.events(1)  # the stream stays open
        assert (there["type"], then["type"]) == ("ADDED", "MODIFIED")

    async def test_what_leaves_a_selection_is_deleted_what_enters_added(self, place: Place) -> None:
        await place.client.post(place.config_maps, config_map("w", labels={"s": "in"}))
        version = await version_of(place)
        for value in ("out", "in"):
            patch = {"metadata": {"labels": {"s": value}}}
            await place.client.merge(f"{place.config_maps}/w", patch)
        query = {"resourceVersion": version, "labelSelector": "s=in"}
        async with place.client.watch(place.config_maps, **query) as watch:
            events = await watch.events(2)
        assert [event["type"] for event in events] == ["DELETED", "ADDED"]

    async def test_a_watch_ends_when_its_time_is_over_and_not_before(self, place: Place) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        query = {"timeoutSeconds": 1, "fieldSelector": "metadata.name=none"}
        async with place.client.watch(place.config_maps, **query) as watch:
            assert await watch.rest() == []
        assert clock() - began > 0.8

    async def test_a_version_that_is_too_old_has_expired(self, place: Place) -> None:
        # A fresh real server keeps its whole history for some minutes, and would tell it.
        async with place.client.session.get(
            "/api/v1/configmaps", params={"watch": "1", "resourceVersion": "1"}
        ) as response:
            if response.status == 410:
                return
            event = await response.content.readline()
        assert b'"type":"ERROR"' in event
        assert b'"code":410' in event
        assert b'"reason":"Expired"' in event

    async def test_a_bookmark_ends_what_was_there_at_first(self, place: Place) -> None:
        await place.client.post(place.config_maps, config_map("w"))
        query = {
            "sendInitialEvents": "true",
            "allowWatchBookmarks": "true",
            "resourceVersionMatch": "NotOlderThan",
            "timeoutSeconds": 2,
        }
        async with place.client.watch(place.config_maps, **query) as watch:
            events = await watch.rest()
        types = [event["type"] for event in events]
        first = types.index("BOOKMARK")
        annotations = events[first]["object"]["metadata"]["annotations"]
        assert annotations["k8s.io/initial-events-end"] == "true"
        assert first >= 1
        assert set(types[:first]) == {"ADDED"}

    async def test_a_watch_tells_what_happens_while_it_is_open(self, place: Place) -> None:
        query = {
            "resourceVersion": await version_of(place),
            "fieldSelector": "metadata.name=live",
        }
        async with place.client.watch(place.config_maps, **query) as watch:
            await place.client.post(place.config_maps, config_map("live"))
            (event,) = await watch.events(1)
        assert event["type"] == "ADDED"
        assert event["object"]["metadata"]["name"] == "live"

    async def test_a_changed_status_is_told(self, place: Place) -> None:
        written = await place.client.post(place.deployments, deployment(replicas=0))
        query = {"resourceVersion": written.version}
        async with place.client.watch(place.deployments, **query) as watch:
            status = {"status": {"observedGeneration": 1}}
            await place.client.merge(f"{place.deployments}/d/status", status)
            (event,) = await watch.events(1)
        assert event["type"] == "MODIFIED"
