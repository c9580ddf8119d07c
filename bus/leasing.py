"""Leasing: what one worker holds, and how partitions change hands.

Taking and letting go are writes on top of what was seen, so of two that are too quick one fails. A
worker that should not hold a partition lets what is under way there end, and releases it; whoever
should, takes what is released, or what was left by a session that has ended.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol, final, override

import msgspec
import structlog

from bus.lease_session import LeaseSession, LeaseSettings
from bus.lease_view import SESSION, LeaseRecord, lease_key
from bus.leases import (
    Holding,
    LeaseRaced,
    LeaseStore,
    LeasesUnavailable,
    Partition,
    assignment,
)

AT_ONCE: Final = 32  # writes under way: a target may have many partitions

_log = structlog.get_logger(__name__)


class Tenant(Protocol):
    """Whoever works on what is held."""

    def gained(self, partition: Partition) -> None:
        """Work on it from now on."""
        ...

    async def finish(self, partition: Partition) -> None:
        """Begin nothing more there; return when nothing is under way. May be cancelled."""
        ...

    def lost(self, partition: Partition) -> None:
        """It is not ours any more: forget what only its holder needs."""
        ...


class _Hold(NamedTuple):
    """The revision at which a partition was taken, and its fence in the bucket of that moment."""

    revision: int
    epoch: int


@final
class Leasing(Holding):
    """Args: `new_session` makes a name that was never used; `clock` counts suspension, too."""

    def __init__(
        self,
        store: LeaseStore,
        *,
        worker: str,
        new_session: Callable[[], str],
        clock: Callable[[], float],
        settings: LeaseSettings,
    ) -> None:
        self._store, self._worker = store, worker
        self._clock, self._settings = clock, settings
        self._session = LeaseSession(
            store,
            worker=worker,
            new_name=new_session,
            clock=clock,
            settings=settings,
            ended=self._lose_all,
        )
        self._view = self._session.view
        self._tenant: Tenant | None = None
        self._partitions: tuple[Partition, ...] = ()
        self._held: dict[Partition, _Hold] = {}
        self._leaving: dict[Partition, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(AT_ONCE)
        self.takeovers = 0
        """How many partitions were taken from a session that had not let go of them."""
        self.losses = 0
        """How many were lost without being handed over."""

    # -- what others ask ----------------------------------------------------------------------

    @override
    def holds(self, partition: Partition) -> bool:
        return partition not in self._leaving and self.may_call(partition)

    @override
    def may_call(self, partition: Partition) -> bool:
        return partition in self._held and self._session.is_valid

    @override
    def epoch(self, partition: Partition) -> int:
        held = self._held.get(partition)
        return held.epoch if held is not None else 0

    @property
    def held(self) -> list[Partition]:
        return list(self._held)

    @property
    def trouble(self) -> str:
        """Why the session is not renewed; empty if it is."""
        return self._session.trouble

    def holders(self) -> Mapping[Partition, str]:
        """The worker of each partition that is held by any, as it was last seen."""
        return self._view.holders()

    def offer(
        self, partitions: Iterable[Partition], *, serves: Iterable[str], reaches: Iterable[str]
    ) -> None:
        """Say what there is, which targets this worker may work on, and which it reaches now."""
        self._partitions = tuple(partitions)
        self._session.offer(serves, reaches)

    # -- life ---------------------------------------------------------------------------------

    async def run(self, tenant: Tenant) -> None:
        """Take part until cancelled; `leave` first, so that others need not wait."""
        self._tenant = tenant
        loops = [
            asyncio.create_task(_supervised(work), name=name)
            for name, work in (
                ("lease renewal", self._session.renew_always),
                ("lease end", self._session.count_down),
                ("lease look", self._look_always),
            )
        ]
        try:
            await asyncio.gather(*loops)
        finally:
            for task in [*self._leaving.values()]:
                task.cancel()
            self._lose_all()

    async def leave(self) -> None:
        """Hand everything over and end the session, within `hand_over` and a few seconds."""
        await self._session.leave()
        for partition in list(self._held):
            self._begin_hand_over(partition)
        await asyncio.gather(*self._leaving.values(), return_exceptions=True)
        await self._session.end()

    async def _look_always(self) -> None:
        while True:
            try:
                await self._session.look()
                await self._act()
            except (LeasesUnavailable, TimeoutError) as error:
                self._session.say(str(error) or "the leases could not be looked at in time")
                await asyncio.sleep(self._settings.look_every)
            try:
                async with asyncio.timeout(self._settings.look_every):
                    await self._store.news()
            except TimeoutError:
                continue

    async def _act(self) -> None:
        now, view = self._clock(), self._view
        self._lose([p for p, held in self._held.items() if self._is_taken(p, held.revision)])
        if not self._session.is_valid:
            return
        await self._bury(now)
        wanted = self._wanted()
        await self._all(
            self._take(partition, after)
            for partition in wanted
            if partition not in self._held
            and (after := view.takeable(partition, self._session.name, now)) is not None
        )
        for partition in [one for one in self._held if one not in wanted]:
            self._begin_hand_over(partition)
        left = [one for one in view.held_by(self._session.name) if one not in wanted]
        await self._all(self._free(one) for one in left if one not in self._held)

    async def _bury(self, now: float) -> None:
        """Write down that sessions have ended, so that they cannot be renewed any more."""
        ours = self._session.name
        overdue = [one for one in self._view.overdue(now) if one[0] != ours]
        for name, record, _ in overdue:
            _log.warning("a worker does not renew its session", worker=record.worker, session=name)
        await self._all(self._write(f"{SESSION}{name}", said, at) for name, said, at in overdue)
        if overdue:
            await self._session.look()
        for entry in self._view.forgotten(now):
            await self._store.forget(entry)

    def _is_taken(self, partition: Partition, revision: int) -> bool:
        seen = self._view.lease(partition)
        return seen is not None and seen.revision > revision

    def _wanted(self) -> dict[Partition, None]:
        """What this worker should hold, if all others see what it sees."""
        if self._session.is_leaving:
            return {}
        ours = self._session.member
        others = [one for one in self._view.members() if one.session != ours.session]
        found = assignment(self._partitions, [*others, ours])
        return {partition: None for partition, member in found.items() if member is ours}

    async def _take(self, partition: Partition, after: int) -> None:
        before, session = self._view.lease(partition), self._session.name
        record = LeaseRecord(worker=self._worker, session=session)
        revision = await self._write(lease_key(partition), record, after)
        if revision is None or session != self._session.name or not self._session.is_valid:
            return  # if it is in our name all the same, the next look shows it
        if before is not None and before.record.session not in ("", session):
            self.takeovers += 1
        self._held[partition] = _Hold(revision, self._view.epoch(revision))
        self._the_tenant.gained(partition)

    async def _free(self, partition: Partition) -> None:
        """Let go of what a lost answer left in our name."""
        seen = self._view.lease(partition)
        if seen is not None and partition not in self._leaving:
            await self._write(lease_key(partition), LeaseRecord(), seen.revision)

    def _begin_hand_over(self, partition: Partition) -> None:
        if partition not in self._leaving:
            self._leaving[partition] = asyncio.create_task(self._hand_over(partition))

    async def _hand_over(self, partition: Partition) -> None:
        try:
            try:
                async with asyncio.timeout(self._settings.hand_over):
                    await self._the_tenant.finish(partition)
            except TimeoutError:
                _log.warning("what is under way is left to the next holder", partition=partition)
            held = self._held.pop(partition, None)  # from here on no call starts
            if held is None:
                return
            self._the_tenant.lost(partition)
            await self._write(lease_key(partition), LeaseRecord(), held.revision)
        except (LeasesUnavailable, TimeoutError) as error:
            _log.info("a lease was not released yet", partition=partition, error=str(error))
        finally:
            self._leaving.pop(partition, None)

    def _lose_all(self) -> None:
        self._lose(list(self._held))

    def _lose(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            if self._held.pop(partition, None) is not None:
                self.losses += 1
                self._the_tenant.lost(partition)

    # -- writing ------------------------------------------------------------------------------

    async def _write(self, key: str, record: msgspec.Struct, after: int) -> int | None:
        """The new revision; None if another was quicker, which the next look shows.

        Raises:
            LeasesUnavailable: nobody knows, which the next look shows, too.
            TimeoutError: the same.
        """
        async with self._room, asyncio.timeout(self._settings.answer_within):
            try:
                return await self._store.write(key, msgspec.json.encode(record), after=after)
            except LeaseRaced:
                return None

    async def _all(self, writes: Iterable[Coroutine[Any, Any, object]]) -> None:
        for found in await asyncio.gather(*writes, return_exceptions=True):
            if isinstance(found, BaseException):
                raise found

    @property
    def _the_tenant(self) -> Tenant:
        assert self._tenant is not None, "nothing is held before `run`"
        return self._tenant


async def _supervised(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except Exception:
            _log.exception("a loop of the leases failed and starts again")
        await asyncio.sleep(1.0)
