"""What the bus is told, and what it tells of itself."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, final, override

from bus.nats.credentials import CONTROL_PLANE, Credentials
from bus.nats.session import Server
from bus.nats.tls import Tls


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsSettings:
    """Which NATS to use: one of our own in `directory`, or that of `servers`.

    Exactly one of them is set. `servers` are the addresses of one cluster; any of them will do.
    `instance` names this process among those that share the NATS. `replicas` is on how many servers
    of a cluster each stream is kept.
    """

    directory: Path | None = None
    servers: tuple[str, ...] = ()
    credentials: Credentials = field(default_factory=Credentials)
    tls: Tls = field(default_factory=Tls)
    instance: str = "0"
    intents_at_once: int = 256
    events_waiting: int = 10_000
    hint_partitions: int = 1
    replicas: int = 1

    def __post_init__(self) -> None:
        if (self.directory is None) == (not self.servers):
            raise ValueError("the bus needs either a directory for its own server, or servers")

    @property
    def external(self) -> tuple[Server, ...]:
        """The servers of somebody else, and as whom to connect there."""
        name = self.credentials.user or CONTROL_PLANE
        return tuple(
            Server(url=url, name=name, credentials=self.credentials, tls=self.tls)
            for url in self.servers
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BusStatus:
    """The bus as of now. `reason` says why it is not connected, or which part does not work."""

    embedded: bool
    connected: bool
    url: str
    reason: str
    server_version: str
    server_restarts: int
    reconnects: int
    parts: tuple[str, ...]
    published: int
    dropped: int


class BusMetrics(Protocol):
    """Told what happens on the bus; must not block or raise. `path` is `intent` or `submit`."""

    def connected(self, *, is_connected: bool) -> None: ...

    def server_restarted(self) -> None: ...

    def answered(self, path: str, result: str, seconds: float) -> None:
        """One intent was decided; `result` is `accepted`, `repeated` or the code of a problem."""
        ...

    def published(self, events: int) -> None: ...

    def dropped(self, what: str, count: int) -> None:
        """Lost on purpose: `events` nobody could be told of, malformed `hints`, `answers`."""
        ...


@final
class NoMetrics(BusMetrics):
    """Nobody is counting."""

    @override
    def connected(self, *, is_connected: bool) -> None:
        pass

    @override
    def server_restarted(self) -> None:
        pass

    @override
    def answered(self, path: str, result: str, seconds: float) -> None:
        pass

    @override
    def published(self, events: int) -> None:
        pass

    @override
    def dropped(self, what: str, count: int) -> None:
        pass
