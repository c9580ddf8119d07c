"""Custom kinds of a Kubernetes API: defined, defaulted, pruned, applied and watched."""

from collections.abc import AsyncIterator

import pytest

from tests.contracts.kubernetes_place import Place, PlacedContract, Widgets, widgets_in
from tests.support.kubernetes.requests import STRATEGIC


class CustomContract(PlacedContract):
    @pytest.fixture
    async def widgets(self, place: Place) -> AsyncIterator[Widgets]:
        async with widgets_in(place) as widgets:
            yield widgets

    async def test_a_defined_kind_is_discovered(self, place: Place, widgets: Widgets) -> None:
        answer = await place.client.get(f"/apis/{widgets.group}/v1")
        assert answer.code == 200
        assert "widgets" in {resource["name"] for resource in answer.body["resources"]}

    async def test_its_schema_defaults_prunes_and_refuses(
        self, place: Place, widgets: Widgets
    ) -> None:
        body = widgets.widget("w", size=2, unknown=1)
        answer = await place.client.post(widgets.path, body)
        assert answer.code == 201
        assert answer.body["spec"] == {"size": 2, "color": "red"}
        assert answer.metadata["generation"] == 1
        too_small = widgets.widget("w2", size=0)
        assert (await place.client.post(widgets.path, too_small)).code == 422
        without_size = widgets.widget("w3")
        assert (await place.client.post(widgets.path, without_size)).code == 422

    async def test_its_status_is_written_apart(self, place: Place, widgets: Widgets) -> None:
        body = {**widgets.widget(size=2), "status": {"ready": True}}
        assert "status" not in (await place.client.post(widgets.path, body)).body
        patch = {"status": {"ready": True}, "spec": {"size": 9}}
        answer = await place.client.merge(f"{widgets.path}/w/status", patch)
        assert answer.body["status"] == {"ready": True}
        assert answer.body["spec"]["size"] == 2
        assert answer.metadata["generation"] == 1

    async def test_its_lists_merge_by_their_keys(self, place: Place, widgets: Widgets) -> None:
        path = f"{widgets.path}/w"
        first = widgets.widget(size=1, items=[{"name": "a", "v": 1}])
        assert (await place.client.apply(path, first, "m1")).code == 201
        second = widgets.widget(size=1, items=[{"name": "b", "v": 2}])
        answer = await place.client.apply(path, second, "m2")
        assert answer.code == 200
        assert sorted(item["name"] for item in answer.body["spec"]["items"]) == ["a", "b"]

    async def test_it_takes_no_strategic_merge_patch(self, place: Place, widgets: Widgets) -> None:
        await place.client.post(widgets.path, widgets.widget(size=1))
        patch = {"spec": {"size": 2}}
        answer = await place.client.request("PATCH", f"{widgets.path}/w", patch, kind=STRATEGIC)
        assert answer.code == 415

    async def test_it_is_replaced_only_by_version(self, place: Place, widgets: Widgets) -> None:
        await place.client.post(widgets.path, widgets.widget(size=1))
        answer = await place.client.put(f"{widgets.path}/w", widgets.widget(size=2))
        assert answer.code == 422
        assert "resourceVersion" in answer.message

    async def test_it_is_listed_and_watched(self, place: Place, widgets: Widgets) -> None:
        listed = await place.client.get(widgets.path)
        assert listed.body["kind"] == "WidgetList"
        query = {"resourceVersion": listed.version}
        async with place.client.watch(widgets.path, **query) as watch:
            await place.client.post(widgets.path, widgets.widget(size=1))
            (event,) = await watch.events(1)
        assert event["type"] == "ADDED"
        assert event["object"]["kind"] == "Widget"
