"""A gateway for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.gateway import House


@pytest.fixture
async def house(tmp_path: Path) -> House:
    made = House(tmp_path)
    await made.furnish()
    return made


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """Asks as the first admin."""
    async with house.client() as asking:
        yield asking
