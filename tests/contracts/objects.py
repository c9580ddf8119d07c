"""What every engine of objects must do. Subclass `ObjectsContract`, provide `world`, inherit all.

Each test says one sentence of the port (`reconcilers.object_ports`).
"""

import asyncio
import json
from collections.abc import Sequence

import pytest

from reconcilers.object_labels import APP, INSTALLATION, POSITION, TARGET
from reconcilers.object_ports import (
    Json,
    ObjectChanged,
    ObjectEvent,
    ObjectKey,
    ObjectRefused,
    Propagation,
)
from reconcilers.ports import NameTaken
from tests.contracts.objects_world import OWNER, SHARED, World, with_digest
from tests.support.k8s_orders import VALUE


class ObjectsContract:
    @pytest.fixture
    def world(self) -> World:
        raise NotImplementedError

    # -- applying ---------------------------------------------------------------------------------

    async def test_nothing_is_there_at_first(self, world: World) -> None:
        assert list(await world.ours.engine.list()) == []
        assert dict(world.ours.engine.marks()) == {}

    async def test_kinds_that_are_there_are_not_lacking(self, world: World) -> None:
        for manifest in world.rendered().values():
            assert world.ours.engine.lacks(manifest.key.api_version, manifest.key.kind) is None

    async def test_what_was_applied_is_listed_as_ours(self, world: World) -> None:
        await world.furnish()
        made = await world.deploy()
        listed = await world.listed()
        for kind in ("Deployment", "Service", "ServiceAccount", "NetworkPolicy", "ConfigMap"):
            key = ObjectKey.of(made[kind])
            assert listed[key]["metadata"]["uid"] == made[kind]["metadata"]["uid"]
            labels = listed[key]["metadata"]["labels"]
            assert (labels[INSTALLATION], labels[TARGET]) == (
                world.ours.installation,
                world.ours.target,
            )
            assert labels[POSITION] == "7"

    async def test_twice_is_as_once(self, world: World) -> None:
        await world.furnish()
        service = world.rendered()["Service"]
        first = (await world.apply(service)).body
        again = (await world.apply(service, first["metadata"]["uid"])).body
        assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        unseen = (await world.apply(service)).body
        assert unseen["metadata"]["uid"] == first["metadata"]["uid"]

    async def test_what_is_left_out_goes_if_we_set_it(self, world: World) -> None:
        await world.furnish()
        service = world.rendered()["Service"]
        noted = {**service.body["metadata"], "annotations": {"ours": "1"}}
        first = (await world.apply(with_digest(service, {**service.body, "metadata": noted}))).body
        assert first["metadata"]["annotations"] == {"ours": "1"}
        again = (await world.apply(service, first["metadata"]["uid"])).body
        assert not again["metadata"].get("annotations")

    async def test_a_trial_changes_nothing(self, world: World) -> None:
        await world.furnish()
        service = world.rendered()["Service"]
        tried = await world.apply(service, dry_run=True)
        assert tried.body["spec"]["ports"]
        assert world.place.get(service.key) is None
        assert list(await world.ours.engine.list(OWNER)) == []

    async def test_another_uid_is_another_object_and_not_touched(self, world: World) -> None:
        await world.furnish()
        service = world.rendered()["Service"]
        await world.apply(service)
        before = world.place.get(service.key)
        with pytest.raises(ObjectChanged):
            await world.apply(service, "00000000-0000-4000-8000-000000000000")
        with pytest.raises(ObjectChanged):
            await world.ours.engine.delete(
                service.key,
                owner=OWNER,
                uid="00000000-0000-4000-8000-000000000000",
                propagation="Background",
            )
        assert world.place.get(service.key) == before

    async def test_an_object_that_was_seen_and_is_gone_is_not_made_again(
        self, world: World
    ) -> None:
        await world.furnish()
        service = world.rendered()["Service"]
        uid = (await world.apply(service)).body["metadata"]["uid"]
        world.place.lose(service.key)
        with pytest.raises(ObjectChanged):
            await world.apply(service, uid)
        assert world.place.get(service.key) is None

    async def test_what_somebody_deletes_before_it_was_seen_keeps_nobody_waiting(
        self, world: World
    ) -> None:
        await world.furnish()
        service = world.rendered()["Service"]
        await world.apply(service)
        world.place.lose(service.key)
        labels = {n: v for n, v in service.body["metadata"]["labels"].items() if n != APP}
        metadata = {**service.body["metadata"], "name": "later", "labels": labels}
        later = with_digest(service, {**service.body, "metadata": metadata})
        await world.apply(later, owner=SHARED)
        await world.ours.engine.list(SHARED)  # all before it is seen, too
        assert service.key not in await world.listed()

    async def test_without_its_namespace_nothing_is_made(self, world: World) -> None:
        service = world.rendered()["Service"]
        with pytest.raises(ObjectChanged):
            await world.apply(service)
        assert world.place.get(service.key) is None

    async def test_what_no_server_changes_is_refused(self, world: World) -> None:
        await world.furnish()
        made = await world.deploy()
        deployment = world.rendered()["Deployment"]
        spec = {**deployment.body["spec"], "selector": {"matchLabels": {"app": "another"}}}
        with pytest.raises(ObjectRefused):
            await world.apply(
                with_digest(deployment, {**deployment.body, "spec": spec}),
                made["Deployment"]["metadata"]["uid"],
            )

    # -- whose it is ------------------------------------------------------------------------------

    async def test_a_name_of_somebody_else_is_not_touched(self, world: World) -> None:
        await world.furnish()
        service = world.rendered()["Service"]
        world.place.squat(service.key)
        before = world.place.get(service.key)
        with pytest.raises(NameTaken):
            await world.apply(service)
        assert world.place.get(service.key) == before
        assert service.key not in await world.listed()

    async def test_what_is_not_ours_is_found_by_its_name_alone(self, world: World) -> None:
        await world.furnish()
        made = world.rendered()
        world.place.squat(made["Service"].key)
        await world.apply(made["ServiceAccount"])
        keys = [made[kind].key for kind in ("Service", "ServiceAccount", "Deployment")]
        [found] = await world.ours.foreign.find(keys)
        assert ObjectKey.of(found) == made["Service"].key
        there = world.place.get(made["Service"].key)
        assert there is not None
        assert found["metadata"]["uid"] == there["metadata"]["uid"]

    async def test_what_was_found_becomes_ours_as_it_is_and_only_that(self, world: World) -> None:
        await world.furnish()
        service = world.rendered()["Service"]
        world.place.squat(service.key)
        ports = [{"name": "old", "port": 80}]  # where there are several, each has a name
        noted = {"annotations": {"theirs": "1"}}
        world.place.edit(service.key, {"metadata": noted, "spec": {"ports": ports}})
        [found] = await world.ours.foreign.find([service.key])
        with pytest.raises(ObjectChanged):
            await world.apply(service, "11111111-0000-4000-8000-000000000000")
        assert service.key not in await world.listed()
        await world.apply(service, found["metadata"]["uid"])
        ours = (await world.listed())[service.key]
        assert ours["metadata"]["uid"] == found["metadata"]["uid"]
        assert ours["metadata"]["annotations"]["theirs"] == "1"
        assert ours["spec"]["selector"] == service.body["spec"]["selector"]
        assert list(await world.ours.foreign.find([service.key])) == []

    async def test_what_others_have_in_a_namespace_of_ours_is_told(self, world: World) -> None:
        await world.furnish()
        made = await world.deploy()
        namespace = made["Service"]["metadata"]["namespace"]
        runs = ObjectKey.of(made["Deployment"])
        assert list(await world.ours.foreign.within(namespace)) == [runs]
        assert runs in await world.theirs.foreign.within(namespace)
        await world.ours.engine.delete(
            runs,
            owner=("shop", "web"),
            uid=made["Deployment"]["metadata"]["uid"],
            propagation="Background",
        )
        assert list(await world.ours.foreign.within(namespace)) == []

    async def test_of_another_deployment_is_told_which_pods_it_has(self, world: World) -> None:
        await world.furnish(world.theirs)
        made = {one.key.kind: one for one in world.theirs.renderer.app(world.order())}
        for one in world.theirs.renderer.app(world.order()):
            await world.apply(one, objects=world.theirs)
        key = made["Deployment"].key
        [deployment] = await world.ours.foreign.find([key])
        sets: Sequence[Json] = ()
        async with asyncio.timeout(60):
            while not (sets := await world.ours.foreign.made_by(deployment)):
                await asyncio.sleep(0.05)
        [pods] = sets
        assert pods["kind"] == "ReplicaSet"
        [again] = await world.ours.foreign.find([ObjectKey.of(pods)])
        assert again["metadata"]["uid"] == pods["metadata"]["uid"]
        [service] = await world.ours.foreign.find([made["Service"].key])
        assert list(await world.ours.foreign.made_by(service)) == []

    async def test_two_installations_do_not_see_each_other(self, world: World) -> None:
        await world.furnish()
        await world.furnish(world.theirs)
        theirs = world.theirs.renderer.app(world.order())
        for manifest in theirs:
            await world.apply(manifest, objects=world.theirs)
        await world.deploy()
        for objects in (world.ours, world.theirs):
            await objects.engine.list(OWNER)  # only this waits for what was written
            listed = await objects.engine.list()
            assert listed
            assert {one["metadata"]["labels"][INSTALLATION] for one in listed} == {
                objects.installation
            }

    async def test_values_of_secrets_are_not_listed(self, world: World) -> None:
        await world.furnish()
        secret = (await world.deploy())["Secret"]
        key = ObjectKey.of(secret)
        stored = world.place.get(key)
        assert stored is not None
        assert stored["data"]
        listed = (await world.listed())[key]
        assert "data" not in listed
        assert next(iter(stored["data"].values())) not in json.dumps(listed)
        assert VALUE not in json.dumps(await world.ours.engine.list())

    # -- another writer ---------------------------------------------------------------------------

    async def test_who_edits_is_told_and_what_is_ours_is_taken_back(self, world: World) -> None:
        await world.furnish()
        made = await world.deploy()
        key = ObjectKey.of(made["Deployment"])
        world.place.edit(key, {"spec": {"replicas": 5}, "metadata": {"annotations": {"a": "b"}}})

        def edited(listed: Sequence[Json]) -> bool:
            return any(o["kind"] == "Deployment" and o["spec"]["replicas"] == 5 for o in listed)

        await world.until(edited)
        metadata = (await world.listed())[key]["metadata"]
        told = [one for one in metadata["managedFields"] if not one.get("subresource")]
        assert any("f:replicas" in one["fieldsV1"].get("f:spec", {}) for one in told)
        deployment = world.rendered()["Deployment"]
        back = (await world.apply(deployment, made["Deployment"]["metadata"]["uid"])).body
        assert back["spec"]["replicas"] == 2
        assert back["metadata"]["annotations"]["a"] == "b", "what others add stays"

    # -- ending -----------------------------------------------------------------------------------

    async def test_what_is_deleted_is_gone_and_twice_is_as_once(self, world: World) -> None:
        await world.furnish()
        service = world.rendered()["Service"]
        uid = (await world.apply(service)).body["metadata"]["uid"]
        for _ in range(2):
            await world.ours.engine.delete(
                service.key, owner=OWNER, uid=uid, propagation="Background"
            )
        assert service.key not in await world.listed()
        assert world.place.get(service.key) is None

    async def test_what_is_on_its_way_out_is_listed_so_and_takes_nothing(
        self, world: World
    ) -> None:
        await world.furnish()
        service = world.rendered()["Service"]
        uid = (await world.apply(service)).body["metadata"]["uid"]
        assert service.key in await world.listed()
        world.place.hold(service.key)
        await world.ours.engine.delete(service.key, owner=OWNER, uid=uid, propagation="Background")
        listed = await world.listed()
        assert "deletionTimestamp" in listed[service.key]["metadata"]
        with pytest.raises(ObjectChanged):
            await world.apply(service, uid)

    @pytest.mark.parametrize(("how", "stay"), [("Background", False), ("Orphan", True)])
    async def test_pods_go_with_their_workload_unless_they_shall_stay(
        self, world: World, how: Propagation, *, stay: bool
    ) -> None:
        await world.furnish()
        made = await world.deploy()
        await world.until(lambda listed: sum(one["kind"] == "Pod" for one in listed) == 2)
        deployment = made["Deployment"]
        await world.ours.engine.delete(
            ObjectKey.of(deployment),
            owner=OWNER,
            uid=deployment["metadata"]["uid"],
            propagation=how,
        )
        if not stay:
            await world.until(lambda listed: not any(one["kind"] == "Pod" for one in listed))
            return
        await world.until(lambda listed: not any(one["kind"] == "Deployment" for one in listed))
        before = {key for key in await world.listed() if key.kind == "Pod"}
        await world.apply(world.rendered()["Deployment"])
        await world.until(lambda listed: world.ours.renderer.view(listed, "web").ready == 2)
        assert {key for key in await world.listed() if key.kind == "Pod"} == before

    async def test_a_namespace_takes_all_with_it_that_is_inside(self, world: World) -> None:
        await world.furnish()
        await world.deploy()
        [home] = [o for o in await world.ours.engine.list(SHARED) if o["kind"] == "Namespace"]
        await world.ours.engine.delete(
            ObjectKey.of(home),
            owner=SHARED,
            uid=home["metadata"]["uid"],
            propagation="Background",
        )
        await world.until(lambda listed: not listed)

    # -- what a cluster makes of it ---------------------------------------------------------------

    async def test_a_deployment_becomes_pods_that_are_ready(self, world: World) -> None:
        await world.furnish()
        await world.deploy()
        await world.until(lambda listed: world.ours.renderer.view(listed, "web").ready == 2)
        view = world.ours.renderer.view(await world.ours.engine.list(OWNER), "web")
        assert (view.wanted, view.updated, view.revision, view.is_settled) == (2, 2, 1, True)
        assert view.causes == ()
        assert [one.ready for one in view.replicas] == [True, True]

    # -- news -------------------------------------------------------------------------------------

    async def test_marks_move_with_every_change_of_an_owner_and_no_other(
        self, world: World
    ) -> None:
        await world.furnish()
        service = world.rendered()["Service"]
        await world.apply(service)
        await world.ours.engine.list(OWNER)
        await world.ours.engine.list(SHARED)
        before = dict(world.ours.engine.marks())
        assert set(before) == {OWNER, SHARED}
        await world.apply(world.rendered()["ServiceAccount"])
        await world.ours.engine.list(OWNER)
        after = dict(world.ours.engine.marks())
        assert after[OWNER] != before[OWNER]
        assert after[SHARED] == before[SHARED]
        some = world.ours.engine.marks([OWNER, ("shop", "nobody")])
        assert some.get(OWNER) == after[OWNER]
        assert SHARED not in some

    async def test_a_watch_begins_with_a_gap_and_tells_whose_objects_changed(
        self, world: World
    ) -> None:
        await world.furnish()
        news = world.ours.engine.watch()
        assert await anext(news) == ObjectEvent(None)
        await world.apply(world.rendered()["Service"])
        while (await anext(news)).owner != OWNER:
            pass
        await news.aclose()  # type: ignore[attr-defined]
