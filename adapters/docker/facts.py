"""What only an inspection tells: exact times, why it ended, and edits behind our back.

A list call is cheap and shows none of this; an inspection per replica and sweep would cost more
than the list itself. So a replica is inspected when it is new, when its state has changed, when an
event names it, and else in turn, the longest unseen first.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from datetime import datetime
from itertools import islice
from math import ceil
from typing import final

import docker
import msgspec
from docker.errors import APIError

from adapters.docker.connection import Connection, get
from reconcilers.ports import EngineUnavailable

SHARE = 0.05  # of all replicas are inspected again per sweep
_NEVER = "0001-01-01"


class _State(msgspec.Struct, rename="pascal"):
    status: str
    exit_code: int = 0
    error: str = ""
    started_at: str = _NEVER
    finished_at: str = _NEVER
    killed_for_memory: bool = msgspec.field(default=False, name="OOMKilled")


class _RestartPolicy(msgspec.Struct, rename="pascal"):
    name: str = ""


class _HostConfig(msgspec.Struct, rename="pascal"):
    memory: int = 0
    nano_cpus: int = 0
    pids_limit: int | None = None
    restart_policy: _RestartPolicy | None = None


class Inspected(msgspec.Struct, rename="pascal"):
    """The part of an inspection that matters here."""

    id: str
    state: _State
    host_config: _HostConfig

    @property
    def started_at(self) -> float | None:
        return moment(self.state.started_at)

    @property
    def finished_at(self) -> float | None:
        return moment(self.state.finished_at)


@final
class Facts:
    """The latest inspection of each replica. Lives on the event loop's thread."""

    def __init__(self, connection: Connection) -> None:
        self._docker = connection
        self._known: dict[str, Inspected] = {}  # the longest unseen first
        self._called_off: dict[str, int] = {}
        self._time = 0
        self._turn: asyncio.Task[None] | None = None

    def of(self, replica: str, status: str) -> Inspected | None:
        """What is known of a replica, if it was in this state when it was inspected."""
        known = self._known.get(replica)
        return known if known is not None and known.state.status == status else None

    def call_off(self, replica: str) -> None:
        """What is known of it may be wrong by now."""
        self._time += 1
        self._known.pop(replica, None)
        self._called_off[replica] = self._time

    def keep_only(self, replicas: Collection[str]) -> None:
        """Forget all others: they are gone."""
        for memory in (self._known, self._called_off):
            for replica in memory.keys() - replicas:
                del memory[replica]

    def look_again(self) -> None:
        """Begin to inspect those whose turn it is. Nobody waits: a later list shows the result."""
        if self._turn is None or self._turn.done():
            share = ceil(len(self._known) * SHARE)
            self._turn = asyncio.create_task(self._take_turn(list(islice(self._known, share))))

    def longest_unseen(self, replicas: Collection[str]) -> list[str]:
        return list(islice((known for known in self._known if known in replicas), 1))

    async def learn(self, replicas: Iterable[str]) -> None:
        """Inspect these again."""
        asked_at = self._time
        calls = [self._docker.call(_inspecting(replica)) for replica in replicas]
        for inspected in await asyncio.gather(*calls):
            if inspected is not None and self._called_off.get(inspected.id, 0) <= asked_at:
                self._known.pop(inspected.id, None)
                self._known[inspected.id] = inspected

    async def _take_turn(self, replicas: list[str]) -> None:
        with suppress(EngineUnavailable, APIError):  # the next list will say so
            for replica in replicas:
                await self.learn([replica])


def _inspecting(replica: str) -> Callable[[docker.APIClient], Inspected | None]:
    def inspect(client: docker.APIClient) -> Inspected | None:
        try:
            return get(client, Inspected, f"/containers/{replica}/json", {})
        except APIError:
            return None  # gone since it was listed, or past telling

    return inspect


def moment(text: str) -> float | None:
    """Seconds since the epoch; None for what has not happened."""
    return None if text.startswith(_NEVER) else datetime.fromisoformat(text).timestamp()
