"""The values of a Secret that is deleted and made anew at the same time."""

import asyncio
from collections.abc import Awaitable

import pytest

from bus.secrets import SecretUnavailable
from domain import intents as i
from domain import state
from domain.names import Ref
from domain.secret import SecretText
from tests.support.intents import Desk, manifest

DB = Ref("Secret", "shop", "db")


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
