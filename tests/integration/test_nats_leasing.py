"""Leases over a real NATS and real clocks: a cut between two workers, and one that is paused."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from random import Random
from typing import final, override

import pytest

from bus.lease_session import LeaseSettings
from bus.leases import Partition
from bus.leasing import Leasing, Tenant
from bus.nats.client import NatsSession
from bus.nats.connection import NatsConnection
from bus.nats.leases import NatsLeases
from bus.nats.session import Server, Session
from bus.nats.settings import NoMetrics
from stateward.roles import boottime
from tests.support.cut_connections import Proxy
from tests.support.fleet import Nats
from tests.support.serving import ROOT

pytestmark = pytest.mark.needs("nats")

TTL = 2.0
PATIENCE = 60.0
FLEET = [Partition("docker", 0), Partition("edge", 0)]


@final
class Worker(Tenant):
    def __init__(self, name: str, url: str) -> None:
        sessions = count(1)
        self.name, self.leases, self.lost_at = name, NatsLeases("f00"), 0.0
        self.leasing = Leasing(
            self.leases,
            worker=name,
            new_session=lambda: f"{name}-{next(sessions)}",
            clock=boottime,
            settings=LeaseSettings(ttl=TTL),
        )
        self.leasing.offer(FLEET, serves=["docker", "edge"], reaches=["docker", "edge"])

        async def admitted(_session: Session) -> None:
            return

        self._connection = NatsConnection(
            NatsSession.open,
            lambda: (Server(url=url),),
            admitted,
            (self.leases,),
            random=Random(1),
            metrics=NoMetrics(),
        )

    async def run(self) -> None:
        await asyncio.gather(self._connection.run(), self.leasing.run(self))

    @override
    def gained(self, partition: Partition) -> None:
        pass

    @override
    async def finish(self, partition: Partition) -> None:
        pass

    @override
    def lost(self, partition: Partition) -> None:
        self.lost_at = self.lost_at or boottime()


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Nats]:
    server = Nats(tmp_path / "jetstream").start()
    yield server
    server.kill()


@asynccontextmanager
async def working(*workers: Worker) -> AsyncIterator[None]:
    """Fails when two decide over one partition, at any moment."""

    async def watch() -> None:
        while True:
            for partition in FLEET:
                able = [one.name for one in workers if one.leasing.may_call(partition)]
                assert len(able) <= 1, able
            await asyncio.sleep(0.001)

    tasks = [asyncio.create_task(work()) for work in (watch, *(one.run for one in workers))]
    try:
        yield
        assert not tasks[0].done(), tasks[0]
    finally:
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError), found[0]


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.005)


async def test_never_do_two_decide_while_one_side_is_cut_off_and_comes_back(nats: Nats) -> None:
    async with Proxy(nats.port) as proxy:
        a, b = Worker("a", nats.url), Worker("b", f"nats://127.0.0.1:{proxy.port}")
        async with working(a, b):
            await until(lambda: len(a.leasing.held) == len(b.leasing.held) == 1)
            for _ in range(3):
                proxy.lose()  # everything it says vanishes, and it hears nothing
                await until(lambda: len(a.leasing.held) == 2)
                assert not b.leasing.held
                proxy.cut()
                await until(lambda: len(a.leasing.held) == len(b.leasing.held) == 1)
        assert a.leasing.takeovers >= 3


PAUSED = """
import asyncio, sys
from tests.integration.test_nats_leasing import FLEET, Worker
from stateward.roles import boottime

async def main():
    worker = Worker("b", sys.argv[1])
    running = asyncio.create_task(worker.run())
    while True:
        for partition in FLEET:
            if worker.leasing.may_call(partition):
                print(boottime(), worker.leasing.epoch(partition), flush=True, file=sys.stderr)
        await asyncio.sleep(0.001)

asyncio.run(main())
"""


async def test_a_worker_that_is_paused_for_longer_than_its_lease_wakes_up_without_it(
    nats: Nats, tmp_path: Path
) -> None:
    a = Worker("a", nats.url)
    written = tmp_path / "b.log"
    with written.open("wb") as output:
        b = subprocess.Popen(
            [sys.executable, "-c", PAUSED, nats.url],
            stdout=subprocess.DEVNULL,
            stderr=output,
            cwd=ROOT,
        )
    try:
        async with working(a):
            await until(lambda: len(a.leasing.held) == 1 and written.stat().st_size)
            b.send_signal(signal.SIGSTOP)
            await until(lambda: len(a.leasing.held) == 2)
            taken, a.lost_at = boottime(), 0.0
            await asyncio.sleep(TTL)
            b.send_signal(signal.SIGCONT)
            await until(lambda: len(a.leasing.held) == 1)  # it takes part again
            await until(lambda: float(written.read_text().split("\n")[-2].split()[0]) > a.lost_at)
    finally:
        b.kill()
        b.wait()
    calls = [line.split() for line in written.read_text().split("\n")[:-1]]
    assert not [at for at, _ in calls if taken < float(at) < a.lost_at]
    epochs = [int(epoch) for _, epoch in calls]
    assert epochs[-1] > epochs[0]
    assert epochs == sorted(epochs)
