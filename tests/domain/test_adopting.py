"""Adopting is an intent on an app that exists; whom it names is checked before it is written."""

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


async def test_on_a_cluster_nothing_is_adopted_and_it_is_said_what_to_do(desk: Desk) -> None:
    cluster = {"engine": "k8s", "k8s": {"kubeconfig": "/config"}}
    await desk.send(manifest("Target", "prod", cluster))
    await desk.send(manifest("App", "web", {"image": "web:1", "target": "prod"}))
    with pytest.raises(NotPossible, match="delete the app there by the control plane that made it"):
        await desk.send(ADOPT)


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
