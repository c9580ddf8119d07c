"""What the bus is told, and what it tells of itself."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, final, override

from bus.nats.credentials import Credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsSettings:
    """Which NATS to use: one of our own in `directory`, or the one at `url`.

    Exactly one of them is set. `tls_ca` is the authority of an external server with a `tls://` or
    `nats://` address that wants TLS; without it the system's authorities count. `instance` names
    this process among those that share the NATS.
    """

    directory: Path | None = None
    url: str = ""
    credentials: Credentials = field(default_factory=Credentials)
    tls_ca: Path | None = None
    instance: str = "0"
    intents_at_once: int = 256
    events_waiting: int = 10_000
    hint_partitions: int = 1
    stream_replicas: int = 1

    def __post_init__(self) -> None:
        if (self.directory is None) == (not self.url):
            raise ValueError("the bus needs either a directory for its own server, or a url")


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
