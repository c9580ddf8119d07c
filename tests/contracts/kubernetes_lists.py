"""Lists of a Kubernetes API: their shape, selectors, pages of one snapshot."""

from tests.contracts.kubernetes_place import Place, PlacedContract, config_map

METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
SELECTED = [
    ("t=x", "a"),
    ("t!=x", "bd"),
    ("t in (x,y)", "ab"),
    ("t notin (x)", "bd"),
    ("k", "a"),
    ("!k", "bd"),
    ("t=x,k=1", "a"),
    ("t==y", "b"),
]


def short(names: list[str]) -> str:
    """Names of one letter, which tests give; a real cluster has others in every namespace."""
    return "".join(name for name in names if len(name) == 1)


class ListsContract(PlacedContract):
    async def test_a_list_has_a_version_and_bare_items(self, place: Place) -> None:
        await place.client.post(place.config_maps, config_map("a"))
        answer = await place.client.get(place.config_maps)
        assert answer.code == 200
        assert answer.body["kind"] == "ConfigMapList"
        assert int(answer.version)
        assert "kind" not in answer.body["items"][0]

    async def test_a_namespace_that_is_not_there_is_empty(self, place: Place) -> None:
        answer = await place.client.get("/api/v1/namespaces/no-such/configmaps")
        assert answer.code == 200
        assert answer.body["items"] == []

    async def test_a_list_can_span_all_namespaces(self, place: Place) -> None:
        await place.client.post(place.config_maps, config_map("a"))
        answer = await place.client.get("/api/v1/configmaps")
        found = {item["metadata"]["namespace"] for item in answer.body["items"]}
        assert place.namespace in found

    async def test_labels_select_in_every_way(self, place: Place) -> None:
        labelled: dict[str, dict[str, str]] = {"a": {"t": "x", "k": "1"}, "b": {"t": "y"}, "d": {}}
        for name, labels in labelled.items():
            await place.client.post(place.config_maps, config_map(name, labels=labels))
        found = [
            (
                selector,
                short((await place.client.get(place.config_maps, labelSelector=selector)).names),
            )
            for selector, _ in SELECTED
        ]
        assert found == SELECTED

    async def test_a_malformed_selector_is_a_bad_request(self, place: Place) -> None:
        answer = await place.client.get(place.config_maps, labelSelector="a in (x")
        assert answer.code == 400

    async def test_a_field_can_select_by_name(self, place: Place) -> None:
        for name in ("a", "b"):
            await place.client.post(place.config_maps, config_map(name))
        answer = await place.client.get(place.config_maps, fieldSelector="metadata.name=b")
        assert answer.names == ["b"]

    async def test_not_every_field_can_select(self, place: Place) -> None:
        answer = await place.client.get(place.config_maps, fieldSelector="data.x=1")
        assert answer.code == 400

    async def test_pages_are_of_one_snapshot(self, place: Place) -> None:
        for number in range(7):
            body = config_map(f"p{number}", labels={"p": "1"})
            await place.client.post(place.config_maps, body)
        page = await place.client.get(place.config_maps, limit=3)
        version, names = page.version, page.names
        assert page.metadata.get("remainingItemCount")
        await place.client.post(place.config_maps, config_map("zzz-late"))
        while token := page.metadata.get("continue"):
            page = await place.client.get(place.config_maps, limit=3, **{"continue": token})
            assert page.code == 200
            assert page.version == version
            names += page.names
        assert [name for name in names if name.startswith("p")] == [f"p{n}" for n in range(7)]
        assert "zzz-late" not in names

    async def test_a_senseless_page_token_is_refused(self, place: Place) -> None:
        query = {"limit": 3, "continue": "garbage"}
        assert (await place.client.get(place.config_maps, **query)).code in {400, 410}

    async def test_a_version_that_has_not_come_times_out(self, place: Place) -> None:
        answer = await place.client.get(place.config_maps, resourceVersion="99999999999")
        assert answer.code == 504
        assert answer.causes[0]["reason"] == "ResourceVersionTooLarge"

    async def test_a_list_is_ordered_by_name(self, place: Place) -> None:
        for name in ("b", "a", "c"):
            await place.client.post(place.config_maps, config_map(name))
        assert short((await place.client.get(place.config_maps)).names) == "abc"

    async def test_a_list_can_be_of_metadata_only(self, place: Place) -> None:
        await place.client.post(place.config_maps, config_map("a"))
        accept = {"Accept": METADATA_ONLY}
        answer = await place.client.request("GET", place.config_maps, headers=accept)
        assert answer.body["kind"] == "PartialObjectMetadataList"
        assert "data" not in answer.body["items"][0]
