"""The ports of one life: what it asks and does reaches the world only while it lives.

A call to an engine that is under way when its life ends still arrives: nobody calls back a request
that was sent.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import Any, final, override

from bus.leases import Entry, LeaseStore, Look
from bus.log import Appended, Head, IdempotencyKey, Log, NewEvent, StoredEvent
from bus.secrets import SecretStore
from domain.names import Ref
from domain.secret import SecretText
from reconcilers.conversing import Command, Said, Typed
from reconcilers.ports import (
    Engine,
    EngineEvent,
    EngineEvents,
    ExecResult,
    Foreign,
    ForeignReplica,
    Grounds,
    Images,
    LogLine,
    Replica,
    ReplicaIO,
    ReplicaName,
    Replicas,
    StartReplica,
)
from simulation.engine import simulated_engine
from simulation.leases import SimulatedLeases
from simulation.lives import Life
from simulation.log import SimulatedLog
from simulation.looking import SimulatedIO
from simulation.machine import Machine

type Sent = dict[asyncio.Task[Any], None]
"""The requests that are on their way to a machine, so that they end with the world at last."""


def guarded(machine: Machine, installation: str, life: Life, target: str, sent: Sent) -> Engine:
    """The engine of a target as one life of an installation reaches it."""
    road = Road(life, target, sent)
    engine = simulated_engine(machine, installation)
    return Engine(
        GuardedReplicas(engine.replicas, road),
        GuardedImages(engine.images, road),
        GuardedGrounds(engine.grounds, road),
        GuardedEvents(engine.events, road),
        GuardedIO(SimulatedIO(machine, installation), life),
        GuardedForeign(engine.foreign, road),
    )


@final
class Road:
    """The way of one life to a target."""

    def __init__(self, life: Life, target: str, sent: Sent) -> None:
        self.life, self._target, self._sent = life, target, sent

    async def send[T](self, words: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Have an engine do something, in a task that nobody who waits for it can cancel."""

        async def sending() -> T:
            task = asyncio.create_task(call())
            self._sent[task] = None
            task.add_done_callback(self._arrived)
            return await asyncio.shield(task)

        return await self.life.effect(f"{self._target} {words}", sending)

    def _arrived(self, task: asyncio.Task[Any]) -> None:
        self._sent.pop(task, None)
        if not task.cancelled():
            task.exception()  # whoever sent it may be gone: then nobody wants to know


def of(name: ReplicaName) -> str:
    return f"{name.project}/{name.app} r{name.revision}.{name.slot}.{name.attempt}"


@final
class GuardedReplicas(Replicas):
    def __init__(self, inner: Replicas, road: Road) -> None:
        self._inner, self._road = inner, road

    @override
    async def list(self, app: tuple[str, str] | None = None) -> Sequence[Replica]:
        return await self._road.life.read(lambda: self._inner.list(app))

    @override
    async def start(self, order: StartReplica) -> None:
        await self._road.send(f"start {of(order.name)}", lambda: self._inner.start(order))

    @override
    async def stop(self, replica: Replica, *, grace: float, keep: bool = False) -> None:
        await self._road.send(
            f"stop {of(replica.name)}",
            lambda: self._inner.stop(replica, grace=grace, keep=keep),
        )

    @override
    async def remove(self, replica: Replica) -> None:
        await self._road.send(f"remove {of(replica.name)}", lambda: self._inner.remove(replica))


@final
class GuardedImages(Images):
    def __init__(self, inner: Images, road: Road) -> None:
        self._inner, self._road = inner, road

    @override
    async def resolve(
        self, image: str, *, policy: str, credentials: Mapping[str, SecretText] | None
    ) -> str:
        return await self._road.send(
            f"resolve {image}",
            lambda: self._inner.resolve(image, policy=policy, credentials=credentials),
        )


@final
class GuardedGrounds(Grounds):
    def __init__(self, inner: Grounds, road: Road) -> None:
        self._inner, self._road = inner, road

    @override
    async def prepare(self, project: str) -> None:
        await self._road.send(f"prepare {project}", lambda: self._inner.prepare(project))

    @override
    async def clear(self, project: str) -> None:
        await self._road.send(f"clear {project}", lambda: self._inner.clear(project))

    @override
    async def projects(self) -> Sequence[str]:
        return await self._road.life.read(self._inner.projects)

    @override
    async def remove_volumes(self, project: str, app: str) -> None:
        await self._road.send(
            f"remove volumes of {project}/{app}",
            lambda: self._inner.remove_volumes(project, app),
        )


@final
class GuardedEvents(EngineEvents):
    def __init__(self, inner: EngineEvents, road: Road) -> None:
        self._inner, self._road = inner, road

    @override
    async def watch(self) -> AsyncIterator[EngineEvent]:
        async with aclosing(self._inner.watch()) as news:  # type: ignore[type-var]
            async for event in news:
                await self._road.life.present()
                yield event


@final
class GuardedIO(ReplicaIO):
    """`machine` is where the replicas run, for whoever probes them."""

    def __init__(self, inner: SimulatedIO, life: Life) -> None:
        self._inner, self._life = inner, life
        self.machine = inner.machine

    @override
    async def logs(
        self, replica: Replica, *, tail: int | None, since: float | None, follow: bool
    ) -> AsyncIterator[LogLine]:
        async for line in self._inner.logs(replica, tail=tail, since=since, follow=follow):
            await self._life.present()
            yield line

    @override
    async def run(
        self, replica: Replica, argv: Sequence[str], *, timeout_seconds: float
    ) -> ExecResult:
        return await self._life.read(
            lambda: self._inner.run(replica, argv, timeout_seconds=timeout_seconds)
        )

    @override
    async def converse(
        self, replica: Replica, command: Command, typed: AsyncIterator[Typed]
    ) -> AsyncGenerator[Said]:
        async with aclosing(self._inner.converse(replica, command, typed)) as said:
            async for piece in said:
                await self._life.present()
                yield piece


@final
class GuardedForeign(Foreign):
    def __init__(self, inner: Foreign, road: Road) -> None:
        self._inner, self._road = inner, road

    @override
    async def list(self, app: tuple[str, str] | None = None) -> Sequence[ForeignReplica]:
        return await self._road.life.read(lambda: self._inner.list(app))

    @override
    async def end(self, replica: ForeignReplica, *, grace: float) -> None:
        await self._road.send(
            f"end foreign {of(replica.name)}", lambda: self._inner.end(replica, grace=grace)
        )

    @override
    async def clear(self, installation: str, project: str) -> None:
        await self._road.send(
            f"clear foreign {project}", lambda: self._inner.clear(installation, project)
        )


@final
class GuardedLog(Log):
    """The log of one life. What it appends is an effect like any other."""

    def __init__(self, inner: SimulatedLog, life: Life) -> None:
        self._inner, self._life = inner, life

    @override
    async def append(
        self,
        events: Sequence[NewEvent],
        *,
        expect: Mapping[str, int],
        key: IdempotencyKey | None = None,
        outcome: bytes = b"",
    ) -> Appended:
        words = ", ".join(f"{event.type} to {event.stream}" for event in events)
        return await self._life.effect(
            f"append {words or 'an outcome'}",
            lambda: self._inner.append(events, expect=expect, key=key, outcome=outcome),
        )

    @override
    async def read(self, after: int, limit: int) -> Sequence[StoredEvent]:
        return await self._life.read(lambda: self._inner.read(after, limit))

    @override
    async def stream(self, stream: str, after_version: int = 0) -> Sequence[StoredEvent]:
        return await self._life.read(lambda: self._inner.stream(stream, after_version))

    @override
    async def head(self) -> Head:
        return await self._life.read(self._inner.head)

    @override
    def tail(self, after: int) -> AsyncIterator[Sequence[StoredEvent]]:
        return self._inner.tail(after)


@final
class GuardedLeases(LeaseStore):
    """The leases as one life reaches them: it is no effect to say that one is alive."""

    def __init__(self, inner: SimulatedLeases, life: Life) -> None:
        self.inner, self._life = inner, life

    @override
    async def look(self) -> Look:
        return await self._life.read(self.inner.look)

    @override
    async def write(self, key: str, value: bytes, *, after: int, tell: bool = True) -> int:
        return await self._life.read(lambda: self.inner.write(key, value, after=after, tell=tell))

    @override
    async def forget(self, entry: Entry) -> None:
        await self._life.read(lambda: self.inner.forget(entry))

    @override
    async def news(self) -> None:
        await self._life.read(self.inner.news)


@final
class GuardedSecrets(SecretStore):
    def __init__(self, inner: SecretStore, life: Life) -> None:
        self._inner, self._life = inner, life

    @override
    def token(self, values: Mapping[str, SecretText]) -> str:
        return self._inner.token(values)

    @override
    async def put(self, ref: Ref, values: Mapping[str, SecretText]) -> str:
        return await self._life.effect(
            f"keep values of {ref}", lambda: self._inner.put(ref, values)
        )

    @override
    async def get(self, ref: Ref, token: str) -> Mapping[str, SecretText]:
        return await self._life.read(lambda: self._inner.get(ref, token))

    @override
    async def held(self, ref: Ref | None = None) -> Mapping[Ref, frozenset[str]]:
        return await self._life.read(lambda: self._inner.held(ref))

    @override
    async def erase(self, ref: Ref, tokens: frozenset[str]) -> None:
        await self._life.effect(f"erase values of {ref}", lambda: self._inner.erase(ref, tokens))
