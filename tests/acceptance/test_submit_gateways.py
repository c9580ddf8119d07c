"""The submit stream with several gateways: one decides, and may be killed or paused meanwhile.

Real processes over one NATS and one PostgreSQL. Whoever attached last decides; what it had in its
hands comes to the next, and the idempotency key makes a second decision none.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from bus.client import Answer, Producer, Submitted
from tests.support import postgres_server
from tests.support.fleet import Fleet, fleet
from tests.support.serving import ControlPlane

pytestmark = [pytest.mark.needs("postgres", "nats", "pidfd"), pytest.mark.timeout(180)]

APPS: Final = 5
EACH: Final = 8
SURE: Final = 5  # decisions of the same gateway, until it is known to be the one
PATIENCE: Final = 90.0


@pytest.fixture
def town(tmp_path: Path, postgres: postgres_server.Cluster) -> Iterator[Fleet]:
    with fleet(tmp_path, postgres.migrated()) as found:
        yield found


@asynccontextmanager
async def producing(town: Fleet) -> AsyncIterator[Producer]:
    async with Producer((town.nats.url,), "ci", random=Random(1)) as producer:
        yield producer


def manifest(name: str) -> dict[str, Any]:
    metadata = {"name": name, "project": "default"}
    spec = {"image": "web:1", "target": "fleet"}
    return {"apiVersion": "stateward/v1", "kind": "App", "metadata": metadata, "spec": spec}


def decided_by(plane: ControlPlane) -> Mapping[str, int]:
    """How many submissions a process has decided, by what became of them."""
    counted = 'stateward_bus_intent_duration_seconds_count{path="submit",result="'
    found = {}
    for line in plane.http.get("/metrics").text.splitlines():
        if line.startswith(counted):
            result, _, count = line.removeprefix(counted).partition('"} ')
            found[result] = int(float(count))
    return found


async def furnished(town: Fleet, producer: Producer) -> tuple[str, str]:
    """Two gateways and some apps; which of the two decides, and the other."""
    for name in ("a", "b"):
        plane = await asyncio.to_thread(town.add, name, "gateway")
        await asyncio.to_thread(plane.until, partial(is_connected, plane), "it is connected")
    await asyncio.to_thread(town.furnish, town.planes["a"])
    decided = [await who_decides(town, producer, number) for number in range(APPS)]
    while len(set(decided[-SURE:])) > 1:  # the second came in between
        decided.append(await who_decides(town, producer, len(decided)))
    return decided[-1], next(name for name in town.planes if name != decided[-1])


def is_connected(plane: ControlPlane) -> bool:
    checks = plane.get("/readyz", verbose="")["checks"]
    return any(one["name"] == "bus" and one["message"].startswith("connected to") for one in checks)


async def who_decides(town: Fleet, producer: Producer, number: int) -> str:
    """The gateway that decides over one more app, or over one again."""
    before = {name: decided_by(plane) for name, plane in town.planes.items()}
    name, key = f"a{number % APPS}", f"make-{number}"
    left = await producer.submit("apply", f"App/default/{name}", manifest(name), key=key)
    await producer.outcome(left, patience=PATIENCE)
    now = {name: decided_by(plane) for name, plane in town.planes.items()}
    return next(name for name in now if now[name] != before[name])


async def submitted(producer: Producer, word: str) -> list[Submitted]:
    """Some changes of each app, in turn, that are left in the stream."""
    return [
        await producer.submit(
            "scale",
            f"App/default/a{app}",
            {"replicas": 2 + number},
            key=f"{word}-{app}-{number}",
            patience=PATIENCE,
        )
        for number in range(EACH)
        for app in range(APPS)
    ]


async def outcomes(producer: Producer, left: list[Submitted]) -> list[Answer]:
    return [await producer.outcome(one, patience=PATIENCE) for one in left]


def check_history(plane: ControlPlane, *words: str) -> None:
    """Each key has one event, and those of an app are in the order in which they were submitted."""
    wanted = [[f"{word}-{app}-{n}" for word in words for n in range(EACH)] for app in range(APPS)]
    last = {cause for one in wanted for cause in one[-1:]}

    def asked() -> list[list[str]]:
        return [
            [one["cause"] for one in plane.events("app.scaled", f"App/default/a{app}")]
            for app in range(APPS)
        ]

    # What another gateway decided is seen here a moment later.
    plane.until(lambda: last <= {one for some in asked() for one in some}, "it has seen all")
    assert asked() == wanted
    assert {plane.app(f"a{app}")["spec"]["replicas"] for app in range(APPS)} == {1 + EACH}


async def test_the_gateway_that_decides_is_killed_and_nothing_is_lost_or_decided_twice(
    town: Fleet,
) -> None:
    async with producing(town) as producer:
        deciding, other = await furnished(town, producer)
        left = await submitted(producer, "before")
        town.planes[deciding].kill()
        left += await submitted(producer, "after")  # nobody takes these yet
        await outcomes(producer, left)
        await asyncio.to_thread(check_history, town.planes[other], "before", "after")
        assert sum(decided_by(town.planes[other]).values()) >= APPS * EACH


async def test_a_paused_gateway_that_wakes_up_decides_nothing_a_second_time(town: Fleet) -> None:
    async with producing(town) as producer:
        paused, other = await furnished(town, producer)
        before = decided_by(town.planes[paused])
        town.planes[paused].tell(signal.SIGSTOP)
        left = await submitted(producer, "while")  # they are delivered to the one that is paused
        await asyncio.to_thread(town.add, "c", "gateway")
        await outcomes(producer, left)
        town.planes[paused].tell(signal.SIGCONT)
        count = APPS * EACH

        def has_seen_all() -> bool:
            return decided_by(town.planes[paused]).get("repeated", 0) >= count

        await asyncio.to_thread(town.planes[paused].until, has_seen_all, "it sees what it missed")
        assert decided_by(town.planes[paused]).get("accepted") == before["accepted"]
        for plane in town.planes.values():
            await asyncio.to_thread(check_history, plane, "while")
        after = await submitted(producer, "later")
        await outcomes(producer, after)
        await asyncio.to_thread(check_history, town.planes[other], "while", "later")
