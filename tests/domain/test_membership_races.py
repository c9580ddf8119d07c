"""Who joins while its owner goes: one of the two is decided again, whichever came first."""

import asyncio

import pytest

from domain import intents as i
from domain import state
from domain.names import Ref
from domain.refusals import Refusal
from tests.support.intents import Desk, manifest


@pytest.mark.parametrize("owner", [Ref("Project", "", "shop"), Ref("Target", "", "spare")], ids=str)
@pytest.mark.parametrize("delete_first", [True, False], ids=["delete-first", "create-first"])
async def test_an_app_never_joins_what_is_deleted_at_the_same_moment(
    owner: Ref, delete_first: bool
) -> None:
    desk = Desk()
    await desk.furnish()
    await desk.send(manifest("Target", "spare", {"engine": "simulated"}))
    await desk.service.present(f"{owner.stream}#members")  # decided from memory, as when in use
    create = desk.send(manifest("App", "web", {"image": "web:1", "target": "spare"}))
    delete = desk.send(i.Delete(ref=owner))
    both = (delete, create) if delete_first else (create, delete)
    answers = await asyncio.gather(*both, return_exceptions=True)
    assert sum(isinstance(answer, Refusal) for answer in answers) == 1
    there = await desk.service.present(owner.stream)
    web = await desk.service.present("App/shop/web")
    assert isinstance(there, state.Project | state.Target)
    assert isinstance(web, state.App)
    assert there.exists == web.exists


@pytest.mark.parametrize("owner", [Ref("Project", "", "shop"), Ref("Target", "", "spare")], ids=str)
async def test_what_went_through_another_gateway_is_in_nobody_s_way(owner: Ref) -> None:
    """Worlds with several workers, seed 4: one had read the members before, and not the app."""
    desk = Desk()
    await desk.furnish()
    await desk.send(manifest("Target", "spare", {"engine": "simulated"}))
    await desk.send(manifest("App", "web", {"image": "web:1", "target": "spare"}))
    other = Desk(desk.log)
    await other.service.present(f"{owner.stream}#members")
    await desk.send(i.Delete(ref=Ref("App", "shop", "web")))
    await other.send(i.Delete(ref=owner, cascade=True), key="late")
    assert desk.types.count("app.deleted") == 1
    there = await Desk(desk.log).service.present(owner.stream)
    assert isinstance(there, state.Project | state.Target)
    assert not there.exists


async def test_a_secret_is_set_although_an_app_went_through_another_gateway() -> None:
    desk = Desk()
    await desk.furnish()
    await desk.send(manifest("App", "web", {"image": "web:1"}))
    await desk.send(manifest("Secret", "db", {"data": {"password": "x"}}))
    other = Desk(desk.log)
    await other.service.present("Project/shop#members")
    await desk.send(i.Delete(ref=Ref("App", "shop", "web")))
    await other.send(manifest("Secret", "db", {"data": {"token": "y"}}), key="late")
    assert desk.types.count("secret.set") == 2
