"""Starting, stopping and removing processes.

A directory is made first, then the keeper runs its program: whatever is interrupted in between
shows as created, and the next start goes on from there.
"""

import asyncio
import contextlib
import signal
from collections.abc import Sequence
from typing import final, override

import structlog

from adapters.keeping.client import KeeperClient
from adapters.process.filed import Filed, Slot
from adapters.process.free_ports import FreePorts
from adapters.process.grounds import ProcessGrounds, variable
from adapters.process.limits import Limits
from adapters.process.slots import Slots
from domain.secret import SecretText
from reconcilers.ports import (
    EngineUnavailable,
    NameTaken,
    Replica,
    ReplicaName,
    Replicas,
    ReplicaState,
    StartFailed,
    StartReplica,
)

_DEATH_SECONDS = 30.0  # until one that SIGKILL does not end is reported

_log = structlog.get_logger(__name__)


@final
class ProcessReplicas(Replicas):
    def __init__(
        self,
        slots: Slots,
        grounds: ProcessGrounds,
        limits: Limits,
        keeper: KeeperClient,
        path: str,
    ) -> None:
        self._slots = slots
        self._grounds = grounds
        self._limits = limits
        self._keeper = keeper
        self._path = path
        self._free = FreePorts()
        self._one_at_a_time = asyncio.Lock()  # choosing ports and making directories

    @override
    async def list(self, app: tuple[str, str] | None = None) -> Sequence[Replica]:
        try:
            slots = await asyncio.to_thread(self._slots.list, app)
            strays = await asyncio.to_thread(self._strays, slots) if app is None else ()
            if strays:
                async with self._one_at_a_time:
                    await asyncio.to_thread(self._sweep)
        except OSError as error:
            raise EngineUnavailable(f"the replicas cannot be listed: {error}") from error
        return [slot.replica for slot in slots]

    def _strays(self, slots: Sequence[Slot]) -> tuple[str, ...]:
        return self._limits.strays({_leaf(slot.filed.name) for slot in slots})

    def _sweep(self) -> None:
        """End what runs on although its directory was removed."""
        strays = self._strays(self._slots.list(None))
        self._limits.empty(strays)
        with contextlib.suppress(OSError):  # Not dead yet: the next sweep removes the group.
            self._limits.clear(strays)

    @override
    async def start(self, order: StartReplica) -> None:
        _check(order)
        try:
            async with self._one_at_a_time:
                slot = await asyncio.to_thread(self._claim, order)
            if slot.replica.state is not ReplicaState.CREATED:
                return
            if order.reuses is not None:
                await asyncio.to_thread(self._inherit, slot, order.reuses)
            volumes = await asyncio.to_thread(self._grounds.volumes, order)
        except OSError as error:
            raise EngineUnavailable(f"{order.name} cannot be prepared: {error}") from error
        answer = await self._keeper.ask(
            "start",
            path=slot.path,
            argv=[*order.command, *order.args],
            env=self._environment(order, slot.filed) | volumes,
            workdir=slot.filed.workdir,
            cgroups=slot.filed.cgroups,
            data_bytes=slot.filed.data_bytes,
        )
        if problem := answer.get("problem"):
            await asyncio.to_thread(self._bury, slot)
            raise StartFailed(f"command {order.command[0]!r} cannot be run: {problem}")

    def _claim(self, order: StartReplica) -> Slot:
        """The directory of the order, made when missing."""
        path = self._slots.path(order.name)
        slot = self._slots.at(path)
        if slot is None:
            filed = self._file(order)
            try:
                self._slots.create(filed)
            except OSError as error:
                self._limits.clear(filed.cgroups)
                if not isinstance(error, FileExistsError):
                    raise
                raise NameTaken(f"{path} is not ours; it is left as it is") from error
            slot = self._slots.at(path)
            if slot is None:
                raise EngineUnavailable(f"{path} was removed as soon as it was made")
            if slot.filed.unenforced:
                _log.warning("limit not enforced", replica=path, why=slot.filed.unenforced)
        if (slot.filed.uid, slot.filed.digest) != (order.uid, order.digest):
            raise NameTaken(f"{path} is a replica of another order, uid {slot.filed.uid}")
        return slot

    def _inherit(self, slot: Slot, reuses: ReplicaName) -> None:
        """What a kept replica wrote goes over to its successor, and nothing else is left of it."""
        kept = self._slots.find(reuses)
        if kept is None or kept.replica.state is not ReplicaState.KEPT:
            return
        mine, other = ((one.uid, one.digest, one.name.slot) for one in (slot.filed, kept.filed))
        if mine == other:
            self._slots.inherit(slot, kept)
            self._bury(kept)

    def _file(self, order: StartReplica) -> Filed:
        fence = self._limits.fence(_leaf(order.name), order.cpu_millis, order.memory_bytes)
        return Filed(
            installation=self._slots.installation,
            name=order.name,
            uid=order.uid,
            digest=order.digest,
            position=order.position,
            addresses=self._free.choose(order.ports, self._slots.taken_ports(), order.publish),
            workdir=order.workdir or f"{self._slots.path(order.name)}/work",
            stop_signal=order.stop_signal,
            cgroups=fence.cgroups,
            data_bytes=fence.data_bytes,
            unenforced=fence.unenforced,
        )

    def _environment(self, order: StartReplica, filed: Filed) -> dict[str, str]:
        own = {
            name: value.reveal() if isinstance(value, SecretText) else value
            for name, value in order.env.items()
        }
        numbers = {variable("PORT", a.port): str(a.number) for a in filed.addresses}
        first = {"PORT": str(filed.addresses[0].number)} if filed.addresses else {}
        plain = {"PATH": self._path, "HOME": filed.workdir, "LANG": "C.UTF-8"}
        return plain | own | numbers | first

    @override
    async def stop(self, replica: Replica, *, grace: float, keep: bool = False) -> None:
        slot = await asyncio.to_thread(self._slots.find, replica.name)
        if slot is not None and slot.replica.state is ReplicaState.RUNNING:
            await self._end(slot, grace)
            slot = await asyncio.to_thread(self._slots.find, replica.name)
        if keep and slot is not None:
            await asyncio.to_thread(self._slots.keep, slot)

    async def _end(self, slot: Slot, grace: float) -> None:
        await self._keeper.connect()  # So that its end is not missed.
        with self._keeper.end_of(slot.path) as end:
            asked = signal_number(slot.filed.stop_signal) if grace > 0 else signal.SIGKILL
            if await self._is_signalled(slot, asked, group=False):
                try:
                    async with asyncio.timeout(grace):
                        await asyncio.shield(end)
                except TimeoutError:
                    await self._kill(slot, end)
        await asyncio.to_thread(self._limits.empty, slot.filed.cgroups)

    async def _kill(self, slot: Slot, end: asyncio.Future[None]) -> None:
        if not await self._is_signalled(slot, signal.SIGKILL, group=True):
            return
        try:
            async with asyncio.timeout(_DEATH_SECONDS):
                await asyncio.shield(end)
        except TimeoutError as error:
            raise EngineUnavailable(f"{slot.path} does not die of SIGKILL") from error

    async def _is_signalled(self, slot: Slot, number: int, *, group: bool) -> bool:
        answer = await self._keeper.ask("signal", path=slot.path, signal=number, group=group)
        return not answer.get("gone")

    @override
    async def remove(self, replica: Replica) -> None:
        slot = await asyncio.to_thread(self._slots.find, replica.name)
        if slot is None:
            return
        if slot.replica.state is ReplicaState.RUNNING:
            await self._end(slot, 0.0)
        await asyncio.to_thread(self._bury, slot)

    def _bury(self, slot: Slot) -> None:
        """Remove what is left of what does not run."""
        self._limits.empty(slot.filed.cgroups)
        self._slots.discard(slot)
        try:
            self._limits.clear(slot.filed.cgroups)
        except OSError as error:
            _log.warning("control group left behind", replica=slot.path, why=str(error))


def _leaf(name: ReplicaName) -> str:
    """The name of a replica's control groups."""
    return f"{name.project}.{name.app}.r{name.revision}.{name.slot}.{name.attempt}"


def _check(order: StartReplica) -> None:
    """Refuse what this engine can never run."""
    if order.image is not None:
        raise StartFailed(f"a process target runs no images; remove image {order.image!r}")
    if not order.command:
        raise StartFailed("a process needs a command; give spec.command")
    signal_number(order.stop_signal)


def signal_number(name: str) -> int:
    """The number of `SIGTERM` or `SIGRTMIN+3` on this host.

    Raises:
        StartFailed: there is no such signal.
    """
    base, _, plus = name.partition("+")
    try:
        return signal.Signals[base] + int(plus or 0)
    except (KeyError, ValueError) as error:
        raise StartFailed(f"this host has no signal {name!r}; see stopSignal") from error
