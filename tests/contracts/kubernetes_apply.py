"""Server-side apply: who owns a field, who conflicts, and what goes when it is no longer sent."""

import json
import uuid
from typing import Any

from tests.contracts.kubernetes_place import Place, PlacedContract, containers, deployment
from tests.support.kubernetes.client import Answer
from tests.support.kubernetes.requests import APPLY
from tests.support.kubernetes.schema import Object


async def applied(place: Place, body: Any = None, manager: str = "m1", **query: object) -> Answer:
    """Apply a Deployment `d`."""
    sent = deployment() if body is None else body
    return await place.client.apply(f"{place.deployments}/d", sent, manager, **query)


def annotated(**annotations: str) -> Object:
    body = deployment()
    body["metadata"]["annotations"] = annotations
    return body


def ours(answer: Answer, *names: str) -> dict[str, str]:
    """Of the annotations those that a test wrote; controllers write some, too."""
    found: dict[str, str] = answer.metadata["annotations"]
    return {name: found[name] for name in names if name in found}


class ApplyContract(PlacedContract):
    async def test_applying_creates_and_records_the_manager(self, place: Place) -> None:
        answer = await applied(place, force="true")
        assert answer.code == 201
        entry = answer.metadata["managedFields"][0]
        assert entry["manager"] == "m1"
        assert entry["operation"] == "Apply"
        assert entry["fieldsType"] == "FieldsV1"
        assert "f:spec" in entry["fieldsV1"]

    async def test_applying_the_same_again_writes_nothing(self, place: Place) -> None:
        first = await applied(place, deployment(replicas=2))
        await place.let_a_second_pass()
        before = await place.client.get(f"{place.deployments}/d")
        again = await applied(place, deployment(replicas=2))
        assert again.code == 200
        assert again.metadata["generation"] == first.metadata["generation"]
        assert again.version == before.version

    async def test_a_field_no_longer_sent_is_removed(self, place: Place) -> None:
        await applied(place, annotated(x="1", y="2"))
        answer = await applied(place, annotated(y="2"))
        assert ours(answer, "x", "y") == {"y": "2"}

    async def test_an_item_no_longer_sent_is_removed_by_its_key(self, place: Place) -> None:
        body = deployment()
        containers(body)[0]["env"] = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
        await applied(place, body)
        containers(body)[0]["env"] = [{"name": "B", "value": "3"}]
        answer = await applied(place, body)
        assert containers(answer.body)[0]["env"] == [{"name": "B", "value": "3"}]

    async def test_what_others_own_is_kept(self, place: Place) -> None:
        await applied(place)
        path = f"{place.deployments}/d"
        patch = {"metadata": {"annotations": {"o": "1"}}}
        await place.client.merge(path, patch, fieldManager="other")
        answer = await applied(place, annotated(mine="1"))
        assert ours(answer, "o", "mine") == {"o": "1", "mine": "1"}

    async def test_changing_a_field_of_another_manager_conflicts(self, place: Place) -> None:
        await applied(place, deployment(replicas=1))
        answer = await applied(place, deployment(replicas=5), "m2")
        assert (answer.code, answer.reason) == (409, "Conflict")
        assert answer.causes[0]["reason"] == "FieldManagerConflict"
        assert ".spec.replicas" in {one["field"] for one in answer.causes}
        assert 'conflict with "m1"' in answer.causes[0]["message"]

    async def test_force_takes_a_field_over(self, place: Place) -> None:
        await applied(place, deployment(replicas=1))
        answer = await applied(place, deployment(replicas=5), "m2", force="true")
        assert answer.code == 200
        assert answer.body["spec"]["replicas"] == 5
        owners = [
            entry["manager"]
            for entry in answer.metadata["managedFields"]
            if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
        ]
        assert owners == ["m2"]

    async def test_two_managers_share_a_field_of_one_value(self, place: Place) -> None:
        await applied(place, deployment(replicas=2))
        assert (await applied(place, deployment(replicas=2), "m2")).code == 200
        one_left = await applied(place, deployment())
        assert one_left.body["spec"]["replicas"] == 2
        none_left = await applied(place, deployment(), "m2")
        assert none_left.body["spec"]["replicas"] == 1  # the default

    async def test_an_updated_field_belongs_to_who_updated_it(self, place: Place) -> None:
        await applied(place, deployment(replicas=1))
        path = f"{place.deployments}/d"
        await place.client.merge(path, {"spec": {"replicas": 7}}, fieldManager="kubectl-scale")
        answer = await applied(place, deployment(replicas=1))
        assert answer.code == 409
        assert '"kubectl-scale"' in answer.message

    async def test_replicas_can_be_left_to_an_autoscaler(self, place: Place) -> None:
        await applied(place, deployment(replicas=1))
        path = f"{place.deployments}/d/scale"
        await place.client.merge(path, {"spec": {"replicas": 4}}, fieldManager="hpa")
        answer = await applied(place, deployment())
        assert answer.code == 200
        assert answer.body["spec"]["replicas"] == 4

    async def test_an_apply_names_its_manager(self, place: Place) -> None:
        path = f"{place.deployments}/d"
        answer = await place.client.request("PATCH", path, deployment(), kind=APPLY)
        assert answer.code in {400, 422}

    async def test_an_apply_names_its_kind(self, place: Place) -> None:
        body = deployment()
        del body["apiVersion"]
        assert (await applied(place, body)).code == 400

    async def test_an_apply_brings_no_managed_fields(self, place: Place) -> None:
        body = deployment()
        body["metadata"]["managedFields"] = (await applied(place)).metadata["managedFields"]
        answer = await applied(place, body)
        assert answer.code == 400
        assert "managedFields must be nil" in answer.message

    async def test_an_unknown_field_is_not_applied(self, place: Place) -> None:
        answer = await applied(place, deployment(bogus=1))
        assert answer.code in {400, 500}

    async def test_an_apply_for_another_uid_is_invalid(self, place: Place) -> None:
        await applied(place)
        body = deployment()
        body["metadata"]["uid"] = str(uuid.uuid4())
        answer = await applied(place, body)
        assert answer.code == 422
        assert answer.causes[0]["field"] == "metadata.uid"

    async def test_an_apply_for_a_uid_that_is_gone_conflicts(self, place: Place) -> None:
        body = deployment()
        body["metadata"]["uid"] = str(uuid.uuid4())
        assert (await applied(place, body)).code == 409

    async def test_an_apply_to_an_older_version_conflicts(self, place: Place) -> None:
        await applied(place)
        body = deployment(replicas=3)
        body["metadata"]["resourceVersion"] = "1"
        assert (await applied(place, body)).code == 409

    async def test_a_version_that_nothing_has_makes_an_apply_a_mere_creation(
        self, place: Place
    ) -> None:
        body = annotated(x="1")
        body["metadata"]["resourceVersion"] = "1"
        made = await applied(place, body, force="true")
        assert made.code == 201
        body["metadata"]["annotations"] = {"x": "2"}
        again = await applied(place, body, "m2", force="true")
        assert again.code == 409
        there = await place.client.get(f"{place.deployments}/d")
        assert ours(there, "x") == {"x": "1"}

    async def test_a_dry_run_applies_nothing(self, place: Place) -> None:
        assert (await applied(place, dryRun="All")).code in {200, 201}
        assert (await place.client.get(f"{place.deployments}/d")).code == 404

    async def test_an_apply_owns_nothing_of_the_status(self, place: Place) -> None:
        await applied(place)
        answer = await place.client.get(f"{place.deployments}/d")
        mine = [one for one in answer.metadata["managedFields"] if one["manager"] == "m1"]
        assert mine
        assert "f:status" not in json.dumps(mine)

    async def test_a_body_may_be_yaml(self, place: Place) -> None:
        body = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: yml\ndata:\n  k: v\n"
        answer = await place.client.apply(f"{place.config_maps}/yml", body)
        assert answer.code == 201
        assert answer.body["data"] == {"k": "v"}
