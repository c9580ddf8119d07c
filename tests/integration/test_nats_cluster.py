"""A cluster of three real servers with TLS: any one may go, and intents and events go on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from bus.client import Credentials, Event, Producer
from bus.nats.client import NatsSession
from bus.nats.session import NatsUnavailable, Session
from bus.nats.settings import NatsSettings
from bus.nats.subjects import ACCEPTED_STREAM, REFUSED_STREAM, SUBMIT_STREAM
from tests.support.intents import Desk
from tests.support.nats_cluster import Cluster, cluster, leader, replicas, until
from tests.support.nats_server import PATIENCE, Place, app
from tests.support.nats_tls import Authority

pytestmark = [pytest.mark.needs("nats"), pytest.mark.timeout(240)]

LONG = 4 * PATIENCE
STREAMS = (SUBMIT_STREAM, ACCEPTED_STREAM, REFUSED_STREAM)


class Scene:
    """A cluster, a control plane's bus on it, and a program that hands in intents."""

    def __init__(self, servers: Cluster, authority: Authority) -> None:
        self.servers = servers
        self._tls = authority.tls("client")

    def settings(self, copies: int) -> NatsSettings:
        return NatsSettings(
            servers=self.servers.urls,
            credentials=Credentials(user="stateward", password="stateward"),
            tls=self._tls,
            replicas=copies,
        )

    @asynccontextmanager
    async def serving(self, desk: Desk, copies: int = 3) -> AsyncIterator[Place]:
        place = Place(self.settings(copies), desk)
        await place.bus.start()
        try:
            async with asyncio.timeout(LONG):
                await place.bus.ready()
            yield place
        finally:
            await place.bus.stop()

    def producer(self) -> Producer:
        return Producer(
            self.servers.urls,
            "ci",
            random=Random(1),
            credentials=Credentials(user="ci", password="ci"),
            tls=self._tls,
        )

    @asynccontextmanager
    async def insider(self) -> AsyncIterator[Session]:
        """A session of the control plane's rights, on any server that takes it."""

        async def opened() -> Session:
            reasons = []
            for server in self.settings(1).external:
                try:
                    return await NatsSession.open(server)
                except NatsUnavailable as error:
                    reasons.append(str(error))
            raise NatsUnavailable("; ".join(reasons))

        session = await until(opened)
        try:
            yield session
        finally:
            await session.close()

    async def copied(self, stream: str, copies: int) -> None:
        """Wait until a stream is up to date on so many servers."""

        async def enough() -> None:
            async with self.insider() as session:
                if await replicas(session, stream) != copies:
                    raise NatsUnavailable("not yet")

        await until(enough)

    async def leader(self, stream: str) -> int:
        async with self.insider() as session:
            return self.servers.number(await until(lambda: leader(session, stream)))


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    authority = Authority(tmp_path / "tls")
    async with cluster(tmp_path, authority) as servers:
        yield Scene(servers, authority)


@pytest.fixture
async def desk() -> Desk:
    made = Desk()
    await made.furnish()
    return made


async def both_ways(producer: Producer, name: str) -> None:
    """An intent by request, and one by the submit stream, are decided."""
    answer = await producer.ask(
        "apply", f"App/shop/{name}", app(name), key=f"ask-{name}", patience=LONG
    )
    assert answer.changes[0].result == "created"
    kept = await producer.submit(
        "scale", f"App/shop/{name}", {"replicas": 2}, key=f"submit-{name}", patience=LONG
    )
    decided = await producer.outcome(kept, patience=LONG)
    assert decided.changes[0].events == ("app.scaled",)


async def test_streams_are_kept_on_as_many_servers_as_the_settings_say_also_if_they_change(
    scene: Scene, desk: Desk
) -> None:
    async with scene.serving(desk, copies=1), scene.producer() as producer:
        await both_ways(producer, "one")
        for stream in STREAMS:
            await scene.copied(stream, 1)
    async with scene.serving(desk, copies=3), scene.producer() as producer:
        for stream in STREAMS:
            await scene.copied(stream, 3)
        await both_ways(producer, "three")


async def test_whichever_server_goes_intents_and_events_go_on(scene: Scene, desk: Desk) -> None:
    async with scene.serving(desk) as place, scene.producer() as producer:
        for stream in STREAMS:
            await scene.copied(stream, 3)
        await both_ways(producer, "a")

        ours = scene.servers.number(place.bus.status().url)
        await scene.servers.kill(ours)
        await both_ways(producer, "b")
        assert scene.servers.number(place.bus.status().url) != ours
        await scene.servers.start(ours)
        await scene.servers.healthy(ours)
        for stream in STREAMS:
            await scene.copied(stream, 3)

        leading = await scene.leader(SUBMIT_STREAM)
        await scene.servers.kill(leading)
        await both_ways(producer, "c")
        assert await scene.leader(SUBMIT_STREAM) != leading

        async with producer.watch("App/shop/c") as watch:
            before = len(desk.log.events)
            asked = await producer.ask(
                "scale", "App/shop/c", {"replicas": 5}, key="last", patience=LONG
            )
            place.bus.publish(desk.log.events[before:])
            events = (item async for item in watch if isinstance(item, Event))  # or it is a gap
            told = await anext(events)
            assert (told.position, told.type) == (asked.position, "app.scaled")


async def test_with_two_of_three_servers_gone_requests_are_still_answered(
    scene: Scene, desk: Desk
) -> None:
    async with scene.serving(desk), scene.producer() as producer:
        for stream in STREAMS:
            await scene.copied(stream, 3)
        for number in (0, 1):
            await scene.servers.kill(number)
        answer = await producer.ask("apply", "App/shop/web", app("web"), key="alone", patience=LONG)
        assert answer.changes[0].result == "created"
        await scene.servers.start(0)  # a majority again: the stream takes submissions
        kept = await producer.submit(
            "scale", "App/shop/web", {"replicas": 2}, key="again", patience=LONG
        )
        assert (await producer.outcome(kept, patience=LONG)).changes[0].result == "configured"
