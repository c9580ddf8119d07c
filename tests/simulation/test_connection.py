"""Being connected to any of several servers, in virtual time: for ever, and never in step."""

import asyncio
from itertools import pairwise
from random import Random

from bus.nats.connection import LONGEST_PAUSE, NatsConnection
from bus.nats.session import NatsUnavailable, Server, Session
from bus.nats.settings import NoMetrics
from simulation.broker import Broker
from simulation.loop import run

URLS = ("nats://a", "nats://me:secret@b", "nats://c")


class Servers:
    """Of which those in `up` let us in."""

    def __init__(self, seed: int) -> None:
        self.up: set[str] = set()
        self.tried: list[tuple[float, str]] = []
        self.broker = Broker()
        self.connection = NatsConnection(
            self.open,
            lambda: [Server(url=url) for url in URLS],
            self.admit,
            (),
            random=Random(seed),
            metrics=NoMetrics(),
        )

    async def open(self, server: Server) -> Session:
        self.tried.append((asyncio.get_running_loop().time(), server.url))
        if server.url not in self.up:
            raise NatsUnavailable("refused", "start it")
        return await self.broker.open("stateward")

    async def admit(self, _session: Session) -> None:
        return None

    @property
    def rounds(self) -> list[tuple[str, ...]]:
        urls = [url for _, url in self.tried]
        return [tuple(urls[n : n + 3]) for n in range(0, len(urls), 3)]

    @property
    def times(self) -> list[float]:
        return sorted({at for at, _ in self.tried})


async def an_hour_without(servers: Servers) -> None:
    connecting = asyncio.create_task(servers.connection.run())
    await asyncio.sleep(3600)
    connecting.cancel()
    await asyncio.gather(connecting, return_exceptions=True)
    await servers.broker.close()


def played(seed: int) -> Servers:
    async def play() -> Servers:
        servers = Servers(seed)
        await an_hour_without(servers)
        return servers

    return run(play())


def test_each_attempt_goes_through_all_servers_in_a_new_order_and_never_ends() -> None:
    servers = played(1)
    assert len(servers.rounds) > 3600 / (1.5 * LONGEST_PAUSE)
    assert {tuple(sorted(one)) for one in servers.rounds} == {tuple(sorted(URLS))}
    assert len(set(servers.rounds)) == 6
    assert servers.connection.reason == (
        "nats://a: refused: start it; nats://b: refused: start it; nats://c: refused: start it"
    )


def test_pauses_grow_to_a_bound_and_two_programs_do_not_keep_step() -> None:
    one, other = played(1).times, played(2).times
    pauses = [after - before for before, after in pairwise(one)]
    assert max(pauses[:1]) < 0.2
    assert max(pauses) <= 1.5 * LONGEST_PAUSE
    assert min(pauses[-50:]) >= 0.5 * LONGEST_PAUSE
    assert not set(one[1:]) & set(other[1:])


def test_when_the_server_goes_another_is_taken_and_told_without_its_password() -> None:
    async def play() -> None:
        servers = Servers(1)
        servers.up = {"nats://a"}
        connecting = asyncio.create_task(servers.connection.run())
        await servers.connection.opened()
        assert servers.connection.url == "nats://a"
        servers.up = {"nats://me:secret@b"}
        servers.broker.restart()
        await asyncio.sleep(1)
        assert servers.connection.session is not None
        assert servers.connection.url == "nats://me:secret@b"
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        await servers.broker.close()

    run(play())
