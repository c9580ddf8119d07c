"""Programs that should always run: begun, taken up, begun anew, replaced, ended."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from adapters.keeping.client import KeeperClient
from adapters.keeping.standing import Order, Standing
from reconcilers.ports import EngineUnavailable
from tests.contracts.engine_world import eventually

pytestmark = pytest.mark.needs("pidfd")

SLEEPS = (
    sys.executable,
    "-I",
    "-S",
    "-c",
    "import time; print('here', flush=True); time.sleep(99)",
)


class Place:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.begun = 0
        self.client = KeeperClient(root, lambda _path: None, lambda: None)
        self.made: list[Standing] = []

    def standing(self, *argv: str, env: dict[str, str] | None = None) -> Standing:
        order = Order(argv or SLEEPS, env or {})
        self.made.append(Standing(self.client, self.root / "group" / "one", order, self._count))
        return self.made[-1]

    def _count(self) -> None:
        self.begun += 1

    async def close(self) -> None:
        for one in self.made:
            await one.close()
        await self.standing().stop()
        await self.client.close()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(tmp_path / "root")
    yield place
    await place.close()


def pid_of(standing: Standing) -> int:
    assert standing.pid is not None
    return standing.pid


async def until(wanted: Callable[[], bool]) -> None:
    async def is_so() -> bool:
        return wanted()

    await eventually(is_so)


async def test_what_dies_begins_anew_and_says_so(place: Place) -> None:
    standing = place.standing()
    await standing.start()
    first = pid_of(standing)
    os.kill(first, signal.SIGKILL)
    await until(lambda: place.begun == 1)
    assert pid_of(standing) != first
    assert standing.ends == 1


async def test_who_comes_next_takes_up_what_runs(place: Place) -> None:
    standing = place.standing()
    await standing.start()
    first = pid_of(standing)
    await standing.close()
    assert psutil.pid_exists(first)
    another = place.standing()
    await another.start()
    assert pid_of(another) == first


async def test_another_order_takes_the_place_of_the_one_before(place: Place) -> None:
    standing = place.standing()
    await standing.start()
    first = pid_of(standing)
    await standing.close()
    another = place.standing(env={"NEW": "1"})
    await another.start()
    assert pid_of(another) != first
    assert not psutil.pid_exists(first)


async def test_it_outlives_its_keeper_and_begins_anew_under_the_next(place: Place) -> None:
    standing = place.standing()
    await standing.start()
    first, keeper = pid_of(standing), place.client.pid
    assert keeper is not None
    os.kill(keeper, signal.SIGKILL)
    await until(lambda: place.client.pid != keeper)
    assert pid_of(standing) == first
    os.kill(first, signal.SIGKILL)
    await until(lambda: place.begun == 1)
    assert pid_of(standing) != first


async def test_what_was_ended_on_purpose_stays_so(place: Place) -> None:
    standing = place.standing()
    await standing.start()
    await standing.stop()
    assert not standing.runs
    await asyncio.sleep(0.2)  # longer than the first pause
    assert (standing.runs, place.begun) == (False, 0)


async def test_only_the_last_two_lives_are_kept(place: Place) -> None:
    standing = place.standing("/bin/sh", "-c", "echo why >&2; exit 3")
    await standing.start()
    await until(lambda: place.begun >= 3)
    await standing.close()
    names = {path.name for path in (place.root / "group" / "one").iterdir()}
    assert len(names) == 2
    assert standing.last_words == "why"


async def test_a_program_that_is_not_there_is_an_error_that_names_it(place: Place) -> None:
    standing = place.standing("/nowhere/program")
    with pytest.raises(EngineUnavailable, match="/nowhere/program"):
        await standing.start()
