"""The HTTP API over a log in memory, statuses that a test sets, and replicas that talk."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from itertools import count
from pathlib import Path
from typing import Any, final, override

import httpx
from fastapi import FastAPI

from adapters.process.conversing import Place, converse
from bus import codec
from domain.access import Role
from gateway.api import build
from gateway.ports import Check, Services
from gateway.tokens import Tokens
from projections.desired import DesiredState
from projections.routing import RouteTables
from reconcilers.conversing import Command, Said, Typed
from reconcilers.inside import ProjectProposal, Proposal
from reconcilers.object_adopting import InTheWay
from reconcilers.object_preview import ObjectChange
from reconcilers.ports import (
    EngineUnavailable,
    ExecResult,
    ForeignReplica,
    LogLine,
    Replica,
    ReplicaIO,
    ReplicaName,
    ReplicaState,
    StartFailed,
)
from reconcilers.router_ports import PolledRouter
from reconcilers.status import AppStatus, Condition, ReplicaStatus, StatusMemory
from simulation.log import SimulatedLog
from tests.support.intents import NOON, Desk

INSTALLATION = "1f0c9b1e-6a5c-4f0e-9d37-1a2b3c4d5e6f"
FORMER = "3f2a1c9d-6a5c-4f0e-9d37-1a2b3c4d5e6f"
CANARY = "canary-value-that-nobody-may-see"


def app_manifest(name: str = "web", **spec: object) -> dict[str, Any]:
    """An App as JSON, which runs something."""
    return {
        "apiVersion": "stateward/v1",
        "kind": "App",
        "metadata": {"name": name, "project": "shop"},
        "spec": {"command": ["/bin/serve"], **spec},
    }


def replica(slot: int, state: ReplicaState = ReplicaState.RUNNING, attempt: int = 1) -> Replica:
    name = ReplicaName("shop", "web", 1, slot, attempt)
    return Replica(id=f"id{slot}", name=name, uid=1, digest="d", position=1, state=state)


def stranger(
    app: str = "web", slot: int = 0, state: ReplicaState = ReplicaState.RUNNING, **of: str
) -> ForeignReplica:
    """A replica of `FORMER`'s third revision of an app, unless it is of another."""
    name = ReplicaName(of.get("project", "shop"), app, 3, slot, 1)
    return ForeignReplica(
        id=f"foreign-{app}-{slot}",
        installation=of.get("installation", FORMER),
        name=name,
        state=state,
    )


@final
class TalkingReplicas(ReplicaIO):
    """Replicas that wrote two lines each, and know the commands `true` and `hang`."""

    @override
    async def logs(
        self, replica: Replica, *, tail: int | None, since: float | None, follow: bool
    ) -> AsyncIterator[LogLine]:
        for number in range(2)[-tail if tail else 0 :]:
            at = NOON.timestamp() + number + replica.name.slot / 10
            yield LogLine(at, "stdout", b"line %d of %d\n" % (number, replica.name.slot))

    @override
    async def run(
        self, replica: Replica, argv: Sequence[str], *, timeout_seconds: float
    ) -> ExecResult:
        match argv[0]:
            case "true":
                return ExecResult(0, b"fine\n", b"")
            case "hang":
                raise TimeoutError
            case other:
                raise StartFailed(f"there is no command {other!r}")

    @override
    async def converse(
        self, replica: Replica, command: Command, typed: AsyncIterator[Typed]
    ) -> AsyncGenerator[Said]:
        """Any program of this machine, really."""
        place = Place("/", {"PATH": os.environ["PATH"]})
        async with aclosing(converse(place, command, typed)) as said:
            async for piece in said:
                yield piece


@final
class House:
    """One gateway with all that it is handed. `client()` asks it over ASGI."""

    def __init__(self, folder: Path, log: SimulatedLog | None = None) -> None:
        self.time = NOON.timestamp()
        self.desk = Desk(log, INSTALLATION)
        self.log = self.desk.log
        self.desired = DesiredState(codec.decode)
        self.tables = RouteTables(self.desired)
        self.status = StatusMemory()
        self.checks = [Check("log", passed=True), Check("loop", passed=True, vital=True)]
        self.replicas: list[Replica] | None = [replica(0), replica(1)]
        self.polled: dict[str, PolledRouter] = {}
        self.foreign: list[ForeignReplica] | None = []
        self.in_the_way: list[InTheWay] = []
        self.changes: list[ObjectChange] | None = []  # on a cluster, of any proposal
        texts = (f"token-{number}" for number in count())
        self.tokens = Tokens(
            folder / "tokens.json", now=lambda: self.time, new_text=lambda: next(texts)
        )
        self.admin = self.tokens.first(folder / "token") or ""
        keys = (f"key-{number}" for number in count())
        self.services = Services(
            intents=self.desk.service,
            desired=self.desired,
            log=self.log,
            status=self.status,
            tokens=self.tokens,
            installation=INSTALLATION,
            version="0.1.0",
            catch_up=self.catch_up,
            io=self._io,
            foreign=self._foreign,
            in_the_way=self._in_the_way,
            tables=self.tables,
            polled_router=self.polled.get,
            explain_plan=self._plan,
            preview=self._preview,
            preview_project=self._preview_project,
            checks=lambda: self.checks,
            metrics=lambda: b"stateward_up 1\n",
            now=lambda: self.time,
            new_key=lambda: next(keys),
        )
        self.app: FastAPI = build(self.services)

    async def catch_up(self, _position: int) -> None:
        page = await self.log.read(self.desired.position, 100_000)
        self.desired.fold(page)
        self.tables.fold(page)

    async def _io(self, _stream: str) -> tuple[ReplicaIO, Sequence[Replica]]:
        if self.replicas is None:
            raise EngineUnavailable("the engine does not answer")
        return TalkingReplicas(), self.replicas

    async def _preview(self, proposal: Proposal) -> Sequence[ObjectChange]:
        if self.changes is None:
            raise EngineUnavailable("the engine does not answer")
        assert proposal.app().ref.stream == proposal.stream
        return self.changes

    async def _preview_project(self, proposal: ProjectProposal) -> Sequence[ObjectChange]:
        if self.changes is None:
            raise EngineUnavailable(f"target {proposal.target} does not answer")
        return self.changes

    async def _foreign(self, target: str) -> Sequence[ForeignReplica]:
        if self.foreign is None:
            raise EngineUnavailable(f"target {target} does not answer")
        return self.foreign

    async def _in_the_way(self, _stream: str) -> Sequence[InTheWay]:
        return self.in_the_way

    async def _plan(self, _stream: str) -> Sequence[str]:
        return ["start slot 0 of revision 1"]

    async def furnish(self) -> None:
        await self.desk.furnish()
        await self.catch_up(0)

    def token(self, name: str, role: Role, *projects: str) -> str:
        return self.tokens.issue(name, role, projects=projects)[1]

    def client(self, token: str | None = None, **headers: str) -> httpx.AsyncClient:
        given = {"Authorization": f"Bearer {token or self.admin}", **headers}
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app),
            base_url="http://127.0.0.1:7440",
            headers={name: value for name, value in given.items() if value},
        )

    def publish(self, name: str = "web", *, ready: bool = True) -> None:
        """A status, as the worker that owns the app would."""
        stream = f"App/shop/{name}"
        app = self.desired.app(stream)
        assert app is not None
        self.status.put(
            stream,
            AppStatus(
                uid=app.uid,
                observed_generation=app.generation,
                observed_at=self.time - 2,
                revision=app.revision,
                serving=app.revision,
                wanted=app.wanted,
                ready=app.wanted if ready else 0,
                updated=app.wanted,
                conditions=(
                    Condition(
                        type="Ready",
                        status="True" if ready else "False",
                        reason="AllReady" if ready else "CrashLoop",
                        message="all of it serves" if ready else "it ends with 1",
                        last_transition_time=self.time - 5,
                    ),
                ),
                replicas=(
                    ReplicaStatus(
                        name=replica(0).name.of(INSTALLATION),
                        revision=1,
                        slot=0,
                        attempt=1,
                        state="running",
                        ready=ready,
                        started_at=self.time - 9,
                        addresses={"http": "127.0.0.1:31337"},
                    ),
                ),
            ),
        )


def problem(response: httpx.Response, status: int, code: str) -> Mapping[str, Any]:
    """The members of a problem, which the answer must be."""
    body: Mapping[str, Any] = response.json()
    assert (response.status_code, body.get("code")) == (status, code), body
    assert response.headers["content-type"] == "application/problem+json"
    assert body["status"] == status
    assert body["detail"]
    return body
