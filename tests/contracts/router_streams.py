"""What is under way while endpoints and routes change: connections, WebSockets, streams."""

import asyncio

from projections.route_table import Endpoint
from tests.contracts.router_world import PATIENCE, WEB, RouterWorld, name_of, row
from tests.support.backends import backends

_GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
_UPGRADE = (
    b"GET /socket HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def answered(reader: asyncio.StreamReader) -> bytes:
    """Read one answer with a length; return its body."""
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        return await reader.readexactly(length)


async def echoed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"who?\n")
    async with asyncio.timeout(PATIENCE):
        return await reader.readline()


async def left(world: RouterWorld, places: set[Endpoint], count: int) -> bool:
    """Whether so much is not answered yet; the router takes notice a moment later."""
    async with asyncio.timeout(PATIENCE):
        while await world.router.unanswered(places) != count:
            await asyncio.sleep(0.02)
    return True


class StreamsContract:
    async def test_a_connection_that_is_kept_open_meets_the_new_endpoint(
        self, world: RouterWorld
    ) -> None:
        async with backends("old", "new") as (old, new):
            await world.serve([row("a.test")], {WEB: [old.endpoint()]})
            async with world.connection() as (reader, writer):
                for server, other in ((old, new), (new, old), (old, new)):
                    await world.publish({WEB: [server.endpoint()]})
                    del other.asked[:]
                    for _ in range(5):
                        writer.write(_GET)
                        assert f'"name": "{server.name}"'.encode() in await answered(reader)
                    assert other.asked == []

    async def test_a_websocket_outlives_a_change_of_endpoints(self, world: RouterWorld) -> None:
        async with backends("old", "new") as (old, new):
            await world.serve([row("a.test")], {WEB: [old.endpoint()]})
            async with world.connection() as (reader, writer):
                writer.write(_UPGRADE)
                async with asyncio.timeout(PATIENCE):
                    head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 101")
                assert await echoed(reader, writer) == b"old\n"
                await world.publish({WEB: [new.endpoint()]})
                async with world.client("a.test") as client:
                    assert name_of(await client.get("/")) == "new"
                assert await echoed(reader, writer) == b"old\n"

    async def test_what_an_endpoint_has_in_hand_is_known_until_it_is_over(
        self, world: RouterWorld
    ) -> None:
        """A request and a WebSocket count, though nothing is published any more; idle ones not."""
        async with backends("old", "new") as (old, new), world.client("a.test") as client:
            places = {old.endpoint()}
            await world.serve([row("a.test")], {WEB: [old.endpoint()]})
            assert name_of(await client.get("/")) == "old"
            assert await left(world, places, 0)
            waiting = asyncio.create_task(client.get("/held"))
            await old.until_asked("/held")
            async with world.connection() as (reader, writer):
                writer.write(_UPGRADE)
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
                assert await left(world, places, 2)
                for _ in range(6):  # more often than HAProxy has slots for a backend
                    await world.router.publish({WEB: (new.endpoint(),)})
                    await world.router.publish({})
                assert await left(world, places, 2)
                assert await left(world, {new.endpoint()}, 0)
                old.release()
                assert name_of(await waiting) == "old"
                assert await left(world, places, 1)
            assert await left(world, places, 0)

    async def test_a_stream_is_passed_on_as_it_comes_and_outlives_changes(
        self, world: RouterWorld
    ) -> None:
        """A first event arrives although there is no second; then endpoints and routes change."""
        async with backends("old", "new") as (old, new), world.client("a.test") as client:
            await world.serve([row("a.test")], {WEB: [old.endpoint()]})
            async with client.stream("GET", "/stream") as stream:
                lines = stream.aiter_lines()
                assert await anext(lines) == "data: one"
                await world.publish({WEB: [new.endpoint()]})
                await world.apply(row("a.test"), row("b.test"))
                async with world.client("a.test") as another:
                    assert name_of(await another.get("/")) == "new"
                old.answer_streams()
                rest = [line async for line in lines if line]
        assert rest == ["data: two"]

    async def test_a_request_under_way_is_answered_by_who_began(self, world: RouterWorld) -> None:
        async with backends("old", "new") as (old, new), world.client("a.test") as client:
            await world.serve([row("a.test")], {WEB: [old.endpoint()]})
            waiting = asyncio.create_task(client.get("/held"))
            await old.until_asked("/held")
            await world.publish({WEB: [new.endpoint()]})
            await world.apply(row("b.test"), row("a.test"))
            old.release()
            assert name_of(await waiting) == "old"
