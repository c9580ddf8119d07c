"""What Stateward needs of a router: the program that takes requests and hands them to replicas.

Two calls, for two speeds. Routes change when somebody asks for it; endpoints with every rollout,
scale and heal, and these must cut no connection.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Set
from typing import NamedTuple, Protocol

from domain.target import TargetSpec
from projections.route_table import Endpoint, Endpoints, RouteTable


class RouterError(Exception):
    """A router could not do what was asked; the old table still serves."""


class RouterUnavailable(RouterError):
    """It cannot be reached: not installed, not started, or its socket is gone."""


class RouterMissing(RouterUnavailable):
    """Its program is not on this host; the message says what to install."""


class RouterUnwanted(RouterMissing):
    """There is to be none; one that ran for the target is ended."""


class RouterRefused(RouterError):
    """It does not accept what was rendered; the same table will be refused again."""


class Unserved(NamedTuple):
    """A row that this router cannot serve as it is defined, and a sentence why."""

    row: str
    reason: str


class Applied(NamedTuple):
    """What an `apply` did: whether it wrote, and what of a foreign hand it put right.

    One row that a router cannot serve stops no other: it is answered with an error page, never
    without what it asks for, and is named in `unserved`.
    """

    changed: bool
    drift: tuple[str, ...] = ()
    unserved: tuple[Unserved, ...] = ()


class Certified(NamedTuple):
    """What a router shows for a host, in seconds since the epoch; zero: no certificate.

    `trouble` is why it has none, or why it gets no newer one; empty while that is not known.
    """

    not_before: float = 0.0
    not_after: float = 0.0
    trouble: str = ""


class Document(NamedTuple):
    """What a router reads that comes by itself; `tag` is another one for another `body`.

    Its text is shown nowhere else: it may hold keys of certificates.
    """

    body: bytes
    tag: str

    def __repr__(self) -> str:
        return f"Document(of {len(self.body)} bytes)"


class PolledRouter(Protocol):
    """A router that comes to read what it is to serve."""

    def read(self, *, sees_keys: bool = False) -> Document:
        """Return what it is to serve now; that it came is noted.

        Without `sees_keys`, what needs the key of a certificate of ours is not in it.

        Raises:
            RouterUnavailable: not known yet; it goes on with what it has.
        """
        ...


class Router(Protocol):
    """One router of one target."""

    @property
    def propagation(self) -> float:
        """Seconds after `publish` returned until no new request meets the endpoints before."""
        ...

    @property
    def without_copies(self) -> str:
        """Why it copies no requests to other apps, and what to do; empty if it does.

        What it cannot copy it serves all the same.
        """
        return ""

    async def apply(self, table: RouteTable) -> Applied:
        """Make the router serve this table, whole or not at all. Twice is as once.

        What somebody else changed in its configuration is put right and named in the answer.

        Raises:
            RouterUnavailable: unknown whether it serves it; ask again.
            RouterRefused: it keeps what it has.
        """
        ...

    async def publish(self, endpoints: Endpoints) -> None:
        """Make these the endpoints, whole or not at all, cutting no request or connection.

        Raises:
            RouterUnavailable: what was published before stays.
        """
        ...

    async def certified(self, hosts: Collection[str]) -> Mapping[str, Certified]:  # noqa: ARG002
        """Say what it shows for hosts of the table over TLS; what cannot be known is left out."""
        return {}

    async def unanswered(self, endpoints: Set[Endpoint]) -> int | None:  # noqa: ARG002
        """How many requests, streams and WebSockets of these endpoints are not over yet.

        Whether they are published or not any more; weights mean nothing. None: it cannot tell.

        Raises:
            RouterUnavailable: it does not answer.
        """
        return None

    def watch(self) -> AsyncIterator[None]:
        """Yield whenever `apply` and `publish` should be called again: it started anew, say."""
        ...


class OpenedRouter(NamedTuple):
    """`close` lets go of the router, which goes on serving what it has."""

    router: Router
    close: Callable[[], Awaitable[None]]


class RouterOpener(Protocol):
    async def __call__(self, name: str, spec: TargetSpec) -> OpenedRouter:
        """Reach a target's router, as its `routing` says, and start it if it does not run.

        Another one that ran for this target before is ended; with `none`, that is all.

        Raises:
            RouterMissing: its program is not installed.
            RouterUnwanted: there is to be none.
            RouterUnavailable: it cannot be reached now.
        """
        ...
