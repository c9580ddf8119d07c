"""Adopting is an intent on an app that exists; whom it names is checked before it is written."""

import msgspec
import pytest

from bus import codec
from domain import events as e
from domain import intents as i
from domain import state
from domain.access import Actor
from domain.names import Ref, app
from domain.refusals import BadValue, Forbidden, NotFound, NotPossible, Stale
from tests.support.intents import Desk, manifest

OURS = "11111111-1111-4111-8111-111111111111"
FORMER = "3f2a1c9d-6a5c-4f0e-9d37-1a2b3c4d5e6f"
WEB = app("shop", "web")
ADOPT = i.Adopt(ref=WEB, installation=FORMER)


@pytest.fixture
async def desk() -> Desk:
    desk = Desk(installation=OURS)
    await desk.furnish()
    await desk.send(manifest("App", "web", {"image": "web:1", "replicas": 2}))
    return desk


async def present(desk: Desk) -> state.App:
    found = await desk.service.present(WEB.stream)
    assert isinstance(found, state.App)
    return found


async def test_the_generation_moves_and_nothing_else(desk: Desk) -> None:
    before = await present(desk)
    answer = await desk.send(ADOPT)
    after = await present(desk)
    assert answer.changes[0].events == ("app.adopted",)
    assert after.generation == answer.position > before.generation
    assert (after.revision, after.spec, after.digest) == (
        before.revision,
        before.spec,
        before.digest,
    )
    event = codec.decode(desk.log.events[-1].type, desk.log.events[-1].data)
    assert isinstance(event, e.AppAdopted)
    assert event.installation == FORMER


async def test_asked_again_it_is_recorded_again(desk: Desk) -> None:
    first = await desk.send(ADOPT)
    again = await desk.send(ADOPT)
    assert again.position > first.position


SERVICE = e.ForeignObject(api_version="v1", kind="Service", namespace="shop", name="web", uid="u-1")
CLAIM = e.ForeignObject(
    api_version="v1", kind="PersistentVolumeClaim", namespace="shop", name="data", uid="u-2"
)


@pytest.fixture
async def clustered(desk: Desk) -> Desk:
    cluster = {"engine": "k8s", "k8s": {"kubeconfig": "/config"}}
    await desk.send(manifest("Target", "prod", cluster))
    await desk.send(manifest("App", "web", {"image": "web:1", "target": "prod"}))
    return desk


async def test_on_a_cluster_objects_are_taken_over_and_recorded_by_their_uids(
    clustered: Desk,
) -> None:
    await clustered.send(i.Adopt(ref=WEB, objects=(SERVICE, CLAIM), volumes=True))
    recorded = clustered.log.events[-1]
    event = codec.decode(recorded.type, recorded.data)
    assert isinstance(event, e.AppAdopted)
    assert (event.objects, event.installation) == ((SERVICE, CLAIM), "")
    assert event.actor == "user:alice"


async def test_on_a_cluster_no_installation_is_named_and_it_is_said_what_to_do(
    clustered: Desk,
) -> None:
    with pytest.raises(NotPossible, match="stateward adopt app/web -n shop --objects --dry-run"):
        await clustered.send(ADOPT)


@pytest.mark.parametrize(
    ("objects", "path", "rule"),
    [
        ((), "objects", "name 1 to 64 objects"),
        ((SERVICE, msgspec.structs.replace(SERVICE, uid="u-3")), "objects[1]", "named twice"),
        ((msgspec.structs.replace(SERVICE, uid=""),), "objects[0].uid", "has to be said"),
        ((SERVICE, CLAIM), "objects[1]", "add --volumes"),
    ],
    ids=["none", "twice", "without a uid", "data"],
)
async def test_objects_are_named_each_once_by_their_uids_and_data_by_more_than_that(
    clustered: Desk, objects: tuple[e.ForeignObject, ...], path: str, rule: str
) -> None:
    with pytest.raises(BadValue, match=rule) as refusal:
        await clustered.send(i.Adopt(ref=WEB, objects=objects))
    assert refusal.value.details["path"] == path


async def test_elsewhere_there_are_no_objects(desk: Desk) -> None:
    with pytest.raises(BadValue, match="only an app on a Kubernetes cluster"):
        await desk.send(i.Adopt(ref=WEB, objects=(SERVICE,)))


async def test_an_app_that_does_not_exist_adopts_nothing(desk: Desk) -> None:
    with pytest.raises(NotFound, match="apply it before you adopt it"):
        await desk.send(i.Adopt(ref=app("shop", "api"), installation=FORMER))


async def test_an_installation_does_not_adopt_from_itself(desk: Desk) -> None:
    with pytest.raises(BadValue, match="this installation itself"):
        await desk.send(i.Adopt(ref=WEB, installation=OURS))


@pytest.mark.parametrize("name", ["", "another", "3f2a1c", FORMER.upper(), f"{FORMER} ", "-" * 36])
async def test_an_installation_is_named_by_its_uuid(desk: Desk, name: str) -> None:
    with pytest.raises(BadValue) as refusal:
        await desk.send(i.Adopt(ref=WEB, installation=name))
    assert refusal.value.details["path"] == "installation"


async def test_a_stale_adoption_is_refused(desk: Desk) -> None:
    with pytest.raises(Stale):
        await desk.send(i.Adopt(ref=WEB, installation=FORMER, generation=1))


async def test_only_apps_adopt(desk: Desk) -> None:
    with pytest.raises(NotPossible, match="a Project cannot adopt"):
        await desk.send(i.Adopt(ref=Ref("Project", "", "shop"), installation=FORMER))


async def test_an_editor_does_not_end_what_others_run(desk: Desk) -> None:
    with pytest.raises(Forbidden, match="may not adopt"):
        await desk.send(ADOPT, actor=Actor(name="user:bob", role="editor"))
