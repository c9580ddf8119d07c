"""What the gateway is handed by the assembly. It opens nothing by itself but files of tokens.

Everything that answers a request is a question to one of these; no other state lives here than
the position that this process has acknowledged.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bus.intents import IntentService
from bus.log import Log
from gateway.tokens import Tokens
from projections.desired import DesiredState
from projections.routing import RouteTables
from reconcilers.inside import ProjectProposal, Proposal
from reconcilers.object_adopting import InTheWay
from reconcilers.object_preview import ObjectChange
from reconcilers.ports import ForeignReplica, Replica, ReplicaIO
from reconcilers.router_ports import PolledRouter
from reconcilers.status import StatusStore


class Check(NamedTuple):
    """One thing that must be so for this server to be of use.

    One that is `vital` and fails means that a loop is stuck and the process should be restarted
    (`/livez`); any that fails means that it is not of use now (`/readyz`).
    """

    name: str
    passed: bool
    message: str = ""
    vital: bool = False


type OpenReplicas = Callable[[str], Awaitable[tuple[ReplicaIO, Sequence[Replica]]]]
"""The replicas of an App's stream with the way to look into them; raises `EngineError`."""


type ListForeign = Callable[[str], Awaitable[Sequence[ForeignReplica]]]
"""What other installations run on the target of a name; raises `EngineError`."""


type FindInTheWay = Callable[[str], Awaitable[Sequence[InTheWay]]]
"""What of others has names on a cluster that an App's stream needs; raises `EngineError`."""


type FindPolledRouter = Callable[[str], PolledRouter | None]
"""The router of the target of a name, if it is one that comes to read, and is ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything the gateway needs.

    `catch_up` returns when `desired` has seen a position. `explain_plan` gives the actions that a
    reconciler would take now for an App's stream, as sentences; `preview` what would change of its
    objects on a cluster, if it were as proposed, and `preview_project` of what a project's apps
    share there; both raise `EngineError`. `now` is seconds since the epoch; `new_key` makes
    idempotency keys. `loopback` says that the server is bound to a
    loopback address. `login_key` signs the login for developers; None: there is none. `token_place`
    tells people where the first token is.
    """

    intents: IntentService
    desired: DesiredState
    log: Log
    status: StatusStore
    tokens: Tokens
    installation: str
    version: str
    catch_up: Callable[[int], Awaitable[None]]
    io: OpenReplicas
    foreign: ListForeign
    in_the_way: FindInTheWay
    tables: RouteTables
    explain_plan: Callable[[str], Awaitable[Sequence[str]]]
    preview: Callable[[Proposal], Awaitable[Sequence[ObjectChange]]]
    preview_project: Callable[[ProjectProposal], Awaitable[Sequence[ObjectChange]]]
    checks: Callable[[], Sequence[Check]]
    metrics: Callable[[], bytes]
    now: Callable[[], float]
    new_key: Callable[[], str]
    polled_router: FindPolledRouter = lambda _target: None
    loopback: bool = True
    login_key: bytes | None = None
    token_place: str = "the data directory, in the file `token`"  # noqa: S105 -- a place
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server stops, so that streams end."""
