"""Calls over a real NATS: paced by who asks, ended by either side, never cut short unnoticed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from bus.calls import Answer, CallFailed, CallLost
from bus.leases import Partition
from bus.nats import calls as wire
from bus.nats.calls import FRAME_BYTES, GRANTED, NatsCalls
from tests.contracts.test_nats_session import RealPlace

pytestmark = pytest.mark.needs("nats")

PATIENCE = 60.0
LOCAL = Partition("local", 0)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[RealPlace]:
    place = RealPlace(tmp_path / "nats")
    await place.server.start()
    yield place
    await place.close()


async def attached(place: RealPlace, answer: Answer | None = None) -> NatsCalls:
    calls = NatsCalls(answer)
    await calls.attach(await place.open())
    if answer is not None:
        await calls.serve([LOCAL])
    return calls


async def heard(calls: NatsCalls, request: bytes = b"") -> list[bytes]:
    async with asyncio.timeout(PATIENCE):
        return [part async for part in calls.ask(LOCAL, request)]


async def until(holds: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE):
        await holds.wait()


async def test_an_answer_comes_whole_in_order_and_in_parts_of_any_size(place: RealPlace) -> None:
    big = bytes(range(256)) * (FRAME_BYTES // 100)

    async def answer(request: bytes) -> AsyncIterator[bytes]:
        yield request
        for number in range(10 * GRANTED):
            yield b"%d" % number
        yield b""
        yield big

    await attached(place, answer)
    found = await heard(await attached(place), b"hello")
    assert found == [b"hello", *(b"%d" % n for n in range(10 * GRANTED)), b"", big]


async def test_who_takes_nothing_is_sent_no_more_than_was_granted(place: RealPlace) -> None:
    made, ended = 0, asyncio.Event()

    async def answer(_request: bytes) -> AsyncIterator[bytes]:
        nonlocal made
        try:
            while True:
                made += 1
                yield b"line"
        finally:
            ended.set()

    await attached(place, answer)
    asking = await attached(place)
    async with aclosing(asking.ask(LOCAL, b"")) as parts:
        await anext(parts)
        await asyncio.sleep(0.5)
        assert made <= GRANTED + 2
        for _ in range(5 * GRANTED):
            await anext(parts)
        assert made <= 7 * GRANTED
        assert not ended.is_set()
    await until(ended)  # and who closes is sent no more at all


async def test_what_could_not_be_done_is_told_and_so_is_that_nobody_answers(
    place: RealPlace,
) -> None:
    async def answer(_request: bytes) -> AsyncIterator[bytes]:
        yield b"first"
        raise CallFailed("StartFailed", "no such command")

    answering, asking = await attached(place, answer), await attached(place)
    with pytest.raises(CallFailed, match="no such command") as failed:
        await heard(asking)
    assert failed.value.kind == "StartFailed"
    await answering.serve([])
    with pytest.raises(CallLost, match=r"no worker holds|said nothing"):
        await heard(asking)
    with pytest.raises(CallLost, match="no connection"):
        await heard(NatsCalls())


async def test_a_worker_that_goes_away_is_noticed_and_so_is_an_asker(
    place: RealPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(wire, "SILENCE_SECONDS", 0.6)
    ended = asyncio.Event()

    async def answer(_request: bytes) -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()  # a log in which nothing is written
        finally:
            ended.set()

    await attached(place, answer)
    asking = await attached(place)
    parts = asking.ask(LOCAL, b"")
    assert await anext(parts) == b"first"
    following = asyncio.ensure_future(anext(parts))
    await asyncio.sleep(1.5)  # far longer than silence may last: beats are answered
    assert not following.done()
    assert not ended.is_set()
    await place.sessions[1].close()  # the asker
    await until(ended)
    with pytest.raises(CallLost):
        await following
    other = await attached(place)
    parts = other.ask(LOCAL, b"")
    assert await anext(parts) == b"first"
    await place.sessions[0].close()  # the worker
    with pytest.raises(CallLost, match="said nothing"):
        await anext(parts)


async def test_what_is_served_is_served_on_the_next_session_too(place: RealPlace) -> None:
    async def answer(request: bytes) -> AsyncIterator[bytes]:
        yield request

    answering, asking = await attached(place, answer), await attached(place)
    await place.restart()
    for calls in (answering, asking):
        await calls.attach(await place.open())
    assert await heard(asking, b"again") == [b"again"]
