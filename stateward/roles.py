"""Roles: what one process of an installation is for, and what it shares with the others.

With a log of its own a process is alone: everything is held always, and no lease is needed. Over a
log in PostgreSQL and an external NATS, workers share partitions by leases, and gateways ask them.
"""

import asyncio
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from adapters.postgres.company import Presence
from adapters.postgres.statuses import PostgresStatuses
from bus.calls import CallFailed
from bus.lease_session import LeaseSettings
from bus.leases import Holding, HoldsAll, HoldsNone, Partition
from bus.leasing import Leasing
from bus.nats.calls import NatsCalls
from bus.nats.connection import Part
from bus.nats.leases import NatsLeases
from domain.target import TargetSpec
from projections.desired import DesiredState
from reconcilers.assembling import Assembled
from reconcilers.elsewhere import Answering, Elsewhere, Nearest
from reconcilers.inside import Here, Inside
from reconcilers.status import StatusMemory, StatusStore
from stateward.settings import Settings

LEAVE_SECONDS: Final = 8.0  # in which a worker hands over at its end; then its leases end alone
SERVE_SECONDS: Final = 0.2  # until what was gained or lost is listened for, or no more

_log = structlog.get_logger("roles")


def boottime() -> float:
    """Seconds since this machine's boot, its sleep included: leases are counted in them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def is_shared(settings: Settings) -> bool:
    """Whether other processes may work over the same log."""
    return settings.log.url is not None and bool(settings.nats.servers) and settings.nats.enabled


def serves(settings: Settings) -> Callable[[str, TargetSpec], bool]:
    """On which targets this process may work, as its settings say.

    Processes live where their worker does: of workers that share a log, only those that name such
    a target serve it.
    """

    def answer(name: str, spec: TargetSpec) -> bool:
        if not is_shared(settings):
            return True
        lives_here = spec.engine == "process" or (
            spec.engine == "simulated" and spec.simulated is None
        )
        return settings.serve.is_worker and any(
            fnmatchcase(name, pattern)
            for pattern in settings.worker.targets
            if not (lives_here and pattern == "*")
        )

    return answer


def worker_id(directory: Path) -> str:
    """What tells the worker of this data directory from all others, for ever."""
    path = directory / "worker"
    if not path.exists():
        path.write_text(f"{secrets.token_hex(4)}\n")
    return path.read_text().strip()


class Company(NamedTuple):
    """What a process has to do with others. `leasing` is None unless it is one of several workers;
    `name` is empty for one that is alone.
    """

    name: str
    status: StatusStore
    holding: Holding
    leasing: Leasing | None
    calls: NatsCalls | None
    parts: tuple[Part, ...]
    answers: "Answers"

    def offer(self, all_: list[Partition], served: list[str], reached: list[str]) -> None:
        """Say what there is, and what of it is reached."""
        if self.leasing is not None:
            self.leasing.offer(all_, serves=served, reaches=reached)

    def inside(self, assembled: Assembled, desired: DesiredState) -> Inside:
        """The way to what runs, here or elsewhere; from now on, others find what runs here."""
        here = Here(assembled.passing, desired)
        self.answers.by = Answering(here)
        if self.calls is None:
            return here
        elsewhere = Elsewhere(self.calls, desired, assembled.sharing, lambda: secrets.token_hex(16))
        return Nearest(here, elsewhere, desired, assembled.sharing)

    async def serve(self) -> None:
        """Answer for what is held, whatever that is, until cancelled."""
        held: list[Partition] = []
        while self.calls is not None and self.leasing is not None:
            if held != self.leasing.held:
                held = self.leasing.held
                await self.calls.serve(held)
            await asyncio.sleep(SERVE_SECONDS)

    async def leave(self) -> None:
        """Hand over what is held, so that nobody has to wait until its leases end."""
        if self.leasing is None:
            return
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await self.leasing.leave()
        except TimeoutError:
            _log.warning("not everything was handed over; the rest ends with its lease")


class Answers:
    """Answers what others ask of this process, once it is put together."""

    def __init__(self) -> None:
        self.by: Answering | None = None

    async def __call__(self, request: bytes) -> AsyncIterator[bytes]:
        if self.by is None:
            raise CallFailed("EngineUnavailable", "this worker is only starting; ask again")
        async for part in self.by.answer(request):
            yield part


async def company(
    settings: Settings, directory: Path, installation: str, stack: AsyncExitStack
) -> Company:
    """Get what is needed to work with others, or alone.

    Raises:
        LogUnusable: somebody else works over the log, and one of the two is set up to be alone.
        LogUnavailable: it does not answer.
    """
    answers, is_alone = Answers(), not is_shared(settings)
    if settings.log.url is not None:
        url = settings.log.url.reveal()
        presence = await Presence.announce(url, alone=is_alone)
        stack.push_async_callback(presence.close)
    if is_alone:
        return Company("", StatusMemory(), HoldsAll(), None, None, (), answers)
    assert settings.log.url is not None, "as `is_shared` says"
    status = await PostgresStatuses.open(settings.log.url.reveal())
    stack.push_async_callback(status.close)
    calls = NatsCalls(answers)
    stack.push_async_callback(calls.stop)
    own = worker_id(directory)
    name = settings.worker.name or f"{socket.gethostname()}-{own}"
    if not settings.serve.is_worker:
        return Company(name, status, HoldsNone(), None, calls, (calls,), answers)
    leases = NatsLeases(installation, replicas=settings.nats.replicas)
    leasing = Leasing(
        leases,
        worker=name,
        new_session=lambda: f"{own}-{secrets.token_hex(4)}",
        clock=boottime,
        settings=LeaseSettings(ttl=settings.worker.lease_ttl),
    )
    return Company(name, status, leasing, leasing, calls, (calls, leases), answers)
