"""The values of Secrets go when nothing names them: after a refusal, a repeat, a crash, a race."""

import asyncio
from collections.abc import Awaitable

import pytest

from bus.log import KeyReused, LogUnavailable
from bus.secrets import SecretUnavailable
from domain import intents as i
from domain import state
from domain.names import Ref
from domain.refusals import NotFound, Refusal, Stale
from domain.secret import SecretText
from tests.support.intents import Desk, manifest

DB = Ref("Secret", "shop", "db")
OLD, NEW = ({"data": {"password": value}} for value in ("old", "new"))


@pytest.mark.parametrize("delete_first", [True, False])
@pytest.mark.parametrize("steps", range(6))
def test_a_secret_made_anew_while_its_former_self_goes_keeps_its_values(
    delete_first: bool, steps: int
) -> None:
    async def later(steps: int, answer: Awaitable[object]) -> None:
        for _ in range(steps):
            await asyncio.sleep(0)
        await answer

    async def story() -> None:
        desk = Desk()
        await desk.furnish()
        await desk.send(manifest("Secret", "db", {"data": {"password": "old"}}))
        delete = desk.send(i.Delete(ref=DB))
        anew = desk.send(manifest("Secret", "db", {"data": {"password": "new"}}))
        await asyncio.gather(
            later(0 if delete_first else steps, delete), later(steps if delete_first else 0, anew)
        )
        present = await desk.service.present(DB.stream)
        assert isinstance(present, state.Secret)
        if present.exists:
            assert (await desk.secrets.get(DB, present.token))["password"].reveal() == "new"
        old = desk.secrets.token({"password": SecretText("old")})
        with pytest.raises(SecretUnavailable):
            await desk.secrets.get(DB, old)

    asyncio.run(story())


def token(desk: Desk, value: str) -> str:
    return desk.secrets.token({"password": SecretText(value)})


@pytest.fixture
async def desk() -> Desk:
    desk = Desk()
    await desk.furnish()
    return desk


async def test_a_refused_value_is_not_kept(desk: Desk) -> None:
    with pytest.raises(NotFound):
        await desk.send(manifest("Secret", "db", NEW, project="nowhere"))
    await desk.send(manifest("Secret", "db", OLD), key="once")
    with pytest.raises(Stale):
        await desk.send(manifest("Secret", "db", NEW, generation=1))
    with pytest.raises(KeyReused):
        await desk.send(manifest("Secret", "db", NEW), key="once")
    assert await desk.secrets.held() == {DB: {token(desk, "old")}}


async def test_a_refusal_takes_no_value_that_an_undo_may_want(desk: Desk) -> None:
    await desk.send(manifest("Secret", "db", OLD))
    await desk.send(manifest("Secret", "db", NEW))
    for spec in (OLD, NEW):
        with pytest.raises(Stale):
            await desk.send(manifest("Secret", "db", spec, generation=1))
    assert await desk.secrets.held() == {DB: {token(desk, "old"), token(desk, "new")}}


async def test_a_repeat_brings_no_value_of_a_deleted_secret_back(desk: Desk) -> None:
    await desk.send(manifest("Secret", "db", OLD), key="once")
    await desk.send(i.Delete(ref=DB))
    assert (await desk.send(manifest("Secret", "db", OLD), key="once")).repeated
    with pytest.raises(Refusal):
        await desk.send(manifest("Secret", "db", NEW, generation=1), key="twice")
    with pytest.raises(Refusal):
        await desk.send(manifest("Secret", "db", NEW, generation=1), key="twice")
    assert await desk.secrets.held() == {}


async def test_while_it_is_unknown_whether_the_log_names_a_value_it_stays(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_answer(*_: object, **__: object) -> None:
        raise LogUnavailable("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(desk.log, "append", no_answer)
        with pytest.raises(LogUnavailable):
            await desk.send(manifest("Secret", "db", NEW))
    assert await desk.secrets.held() == {DB: {token(desk, "new")}}
    await desk.service.values.sweep(lambda: True)
    assert await desk.secrets.held() == {}


async def test_a_sweep_erases_what_a_crash_left_and_nothing_else(desk: Desk) -> None:
    gone = Ref("Secret", "shop", "gone")
    await desk.send(manifest("Secret", "db", OLD), manifest("Secret", "gone", OLD))
    await desk.send(manifest("Secret", "db", NEW))
    await desk.send(i.Delete(ref=gone))
    await desk.secrets.put(gone, {"password": SecretText("old")})
    await desk.secrets.put(DB, {"password": SecretText("never accepted")})

    await desk.service.values.sweep(lambda: False)
    assert gone in await desk.secrets.held()
    await desk.service.values.sweep(lambda: True)

    assert await desk.secrets.held() == {DB: {token(desk, "old"), token(desk, "new")}}
