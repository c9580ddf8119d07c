"""Producers that do not wait, and what becomes of what they hand in."""

import asyncio
import json
from typing import Any

from nats.aio.client import Client

from bus.nats.subjects import message_id, submit_subject
from domain.names import Ref
from tests.support.intents import Desk
from tests.support.nats_server import PATIENCE, Place, envelope, program


async def submit(
    sender: Client, verb: str, resource: str, data: object = None, *, key: str
) -> dict[str, Any]:
    """Hand in, and return what the stream says of having stored it."""
    answer = await sender.request(
        submit_subject("producer", Ref.parse(resource)),
        envelope(verb, resource, data, key=key),
        timeout=PATIENCE,
        headers={"Nats-Msg-Id": message_id("producer", key)},
    )
    stored: dict[str, Any] = json.loads(answer.data)
    assert "error" not in stored, stored
    return stored


async def decided(desk: Desk, key: str) -> None:
    """Wait until an event of an intent is in the log."""
    async with asyncio.timeout(PATIENCE):
        while key not in causes(desk):
            await asyncio.sleep(0.01)


def causes(desk: Desk) -> list[str]:
    """The keys of the intents whose events are in the log, in order, once each."""
    found = (json.loads(event.data)["cause"] for event in desk.log.events)
    return list(dict.fromkeys(found))


async def waiting(place: Place) -> int:
    """How many submissions the stream still holds."""
    async with program(place, "stateward") as insider:
        answer = await insider.request("$JS.API.STREAM.INFO.STATEWARD_SUBMIT", timeout=PATIENCE)
        state = json.loads(answer.data)["state"]
        return int(state["messages"])


async def emptied(place: Place) -> None:
    async with asyncio.timeout(PATIENCE):
        while await waiting(place):
            await asyncio.sleep(0.02)


async def refusals(place: Place) -> list[tuple[str, dict[str, Any]]]:
    """What the refused stream keeps, with its subjects."""
    return await _kept(place, "STATEWARD_REFUSED")


async def acceptances(place: Place) -> list[tuple[str, dict[str, Any]]]:
    """What the accepted stream keeps, with its subjects."""
    return await _kept(place, "STATEWARD_ACCEPTED")


async def _kept(place: Place, name: str) -> list[tuple[str, dict[str, Any]]]:
    async with program(place, "stateward") as insider:
        stream = insider.jetstream()
        info = await stream.stream_info(name)
        kept = [await stream.get_msg(name, seq) for seq in range(1, info.state.last_seq + 1)]
    return [(m.subject or "", json.loads(m.data or b"")) for m in kept]


async def refused(place: Place, count: int) -> list[tuple[str, dict[str, Any]]]:
    async with asyncio.timeout(PATIENCE):
        while len(kept := await refusals(place)) < count:
            await asyncio.sleep(0.02)
    return kept
