"""Looking into simulated replicas: logs, commands, and checks answered as their program would."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import final, override

from domain.app import Check
from domain.quantities import seconds
from domain.secret import SecretText
from reconcilers.conversing import Command, Ended, Said, Typed, Written
from reconcilers.ports import (
    Address,
    EngineUnavailable,
    ExecResult,
    LogLine,
    Prober,
    ProbeResult,
    Replica,
    ReplicaIO,
    ReplicaState,
    StartFailed,
)
from simulation.conversing import converse
from simulation.machine import Machine, Running
from simulation.program import MISSING


@final
class SimulatedIO(ReplicaIO):
    """Commands beside a replica know the words of the contract suite; others say if it is well."""

    def __init__(self, machine: Machine, installation: str) -> None:
        self.machine = machine
        self._installation = installation

    @override
    async def logs(
        self, replica: Replica, *, tail: int | None, since: float | None, follow: bool
    ) -> AsyncIterator[LogLine]:
        self.machine.calls["logs"] += 1
        if trouble := self.machine.faults.meet("logs", replica.name).before:
            raise trouble
        running = self._found(replica)
        if running is None:
            return
        seen = 0 if tail is None else running.dropped + max(0, len(running.lines) - tail)
        while True:
            for line in running.lines[max(0, seen - running.dropped) :]:
                if since is None or line.at >= since:
                    yield line
            seen = running.dropped + len(running.lines)
            if not follow or running.seen.state is not ReplicaState.RUNNING:
                return
            running.changed = running.changed or asyncio.Event()
            running.changed.clear()
            await running.changed.wait()

    @override
    async def run(
        self, replica: Replica, argv: Sequence[str], *, timeout_seconds: float
    ) -> ExecResult:
        self.machine.calls["run"] += 1
        trouble = self.machine.faults.meet("run", replica.name)
        async with asyncio.timeout(timeout_seconds):
            await asyncio.sleep(trouble.delay_seconds)
            if trouble.before:
                raise trouble.before
            return await self._run(self._running(replica, argv[0]), list(argv))

    async def _run(self, running: Running, argv: Sequence[str]) -> ExecResult:
        kept = next((self.machine.volume(running, v) for v in running.order.volumes), {})
        match list(argv):
            case [_, "both"]:
                return ExecResult(3, b"out\n", b"err\n")
            case [_, "sleep", time]:
                await asyncio.sleep(float(time))
                return ExecResult(0, b"", b"")
            case [_, "keep", text]:
                kept["kept"] = text
                return ExecResult(0, b"", b"")
            case [_, "kept"]:
                found = kept.get("kept")
                return ExecResult(0 if found else 1, (found or "").encode(), b"")
            case _:
                is_well = running.program.is_well(running.age)
                return ExecResult(0 if is_well else 1, b"", b"")

    @override
    async def converse(
        self, replica: Replica, command: Command, typed: AsyncIterator[Typed]
    ) -> AsyncGenerator[Said]:
        self.machine.calls["run"] += 1
        running = self._running(replica, command.argv[0])
        if command.argv[1:] != ("converse",):
            result = await self._run(running, command.argv)
            yield Written("stdout", result.stdout)
            yield Written("stderr", result.stderr)
            yield Ended(result.exit_code)
            return
        async for piece in converse(command, typed):
            yield piece

    def _running(self, replica: Replica, program: str) -> Running:
        running = self._found(replica)
        if running is None or running.seen.state is not ReplicaState.RUNNING:
            raise StartFailed(f"{replica.name} does not run, so nothing runs beside it")
        if program.startswith(MISSING):
            raise StartFailed(f"no command {program!r} on this machine")
        return running

    def _found(self, replica: Replica) -> Running | None:
        found = self.machine.find(self._installation, replica.name)
        return found if found and found.seen.id == replica.id else None


@final
class SimulatedProber(Prober):
    """Checks the replicas of one machine without a network."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    @override
    async def probe(self, check: Check, replica: Replica, io: ReplicaIO) -> ProbeResult:
        if check.exec:
            timeout = seconds(check.timeout)
            try:
                result = await io.run(replica, check.exec.argv, timeout_seconds=timeout)
            except (StartFailed, EngineUnavailable, TimeoutError) as error:
                return ProbeResult(passed=False, message=str(error) or "took too long")
            message = f"{check.exec.argv[0]} exited with {result.exit_code}"
            return ProbeResult(result.exit_code == 0, message)
        running = None
        for address in replica.addresses:
            if address.port == check.port:
                running = self._machine.hosts.get(address.host)
                break
        if running is None or running.seen.state is not ReplicaState.RUNNING:
            return ProbeResult(passed=False, message=f"nobody listens on port {check.port!r}")
        if running.program.deaf:
            await asyncio.sleep(seconds(check.timeout))
            return ProbeResult(passed=False, message=f"no answer within {check.timeout}")
        path = check.http.path if check.http else None
        is_well = check.tcp is not None or running.program.is_well(running.age, path)
        return ProbeResult(is_well, f"GET {path} answered {200 if is_well else 503}")


def answer(machine: Machine, address: Address, path: str) -> tuple[int, str]:
    """What a simulated server answers to a GET; it knows the paths of the contract's program.

    Raises:
        OSError: nobody answers there.
    """
    running = machine.hosts.get(address.host)
    if running is None or running.seen.state is not ReplicaState.RUNNING:
        raise ConnectionRefusedError(f"nobody listens on {address}")
    match path.strip("/").split("/", 1):
        case ["env", name]:
            value = _environment(running).get(name)
            text = value.reveal() if isinstance(value, SecretText) else value
            return (404, "") if text is None else (200, text)
        case ["say", text]:
            machine.write_line(running, "stdout", text)
            return 200, "said"
        case ["exit", code]:
            machine.finish(running, int(code))
            raise ConnectionResetError(f"{address} ended")
        case _:
            is_well = running.program.is_well(running.age, path)
            return (200, "ok") if is_well else (503, "")


def _environment(running: Running) -> dict[str, str | SecretText]:
    ports = running.order.ports
    numbers: dict[str, str | SecretText] = {
        f"PORT_{port.name.upper().replace('-', '_')}": str(port.port) for port in ports
    }
    first: dict[str, str | SecretText] = {"PORT": str(ports[0].port)} if ports else {}
    return {**running.order.env, **numbers, **first}
