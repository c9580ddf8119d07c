"""Endpoints: which replicas of which apps requests may reach now. Pure, from what passes found.

Of an app that no pass has looked at since this worker began, those replicas count that ran then and
are of the revision that completed its rollout: a router that outlived its control plane keeps them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import NamedTuple

from projections.desired import DesiredApp
from projections.route_table import Backend, Endpoint, Endpoints, RouteTable
from reconcilers.ports import Replica, ReplicaState
from reconcilers.replica_facts import Seen


class Snapshot(NamedTuple):
    """Endpoints, and the replicas behind them: the stream of each by its id."""

    endpoints: Endpoints
    behind: Mapping[str, str]


def backends(*tables: RouteTable) -> dict[Backend, None]:
    """Everything that rows of the tables may ask."""
    rows = [row for table in tables for row in table.rows]
    found = {share.backend: None for row in rows for share in (*row.shares, *row.fallback)}
    return found | {row.mirror.backend: None for row in rows if row.mirror is not None}


def snapshot(
    wanted: Iterable[Backend], serving: Callable[[str], Sequence[Replica]], left: Set[str]
) -> Snapshot:
    """The endpoints of the backends; `left` are replicas that get no new request any more."""
    endpoints: dict[Backend, tuple[Endpoint, ...]] = {}
    behind: dict[str, str] = {}
    for backend in wanted:
        found: list[Endpoint] = []
        for replica in sorted(serving(backend.app), key=lambda one: (*one.name[3:], one.name[2])):
            endpoint = endpoint_of(replica, backend)
            if endpoint is not None and replica.id not in left:
                found.append(endpoint)
                behind[replica.id] = backend.app
        if found:
            endpoints[backend] = tuple(found)
    return Snapshot(endpoints, behind)


def endpoint_of(replica: Replica, backend: Backend) -> Endpoint | None:
    """Where a replica is reached for a backend; one that has a single port by whatever name it has.

    So replicas of the revision before go on being reached when a port gets another name.
    """
    if replica.uid != backend.uid:
        return None
    addresses = replica.addresses
    for address in addresses:
        if address.port == backend.port:
            return Endpoint(address.host, address.number)
    if len(addresses) == 1:
        return Endpoint(addresses[0].host, addresses[0].number)
    return None


def serving(app: DesiredApp, seen: Iterable[Seen], before: Set[str]) -> tuple[Replica, ...]:
    """Those of an app's replicas that requests may reach; `before` ran when this worker began."""
    return tuple(
        one.replica
        for one in seen
        if one.ready
        or (not one.known and not one.failed and one.replica.id in before and _stable(app, one))
    )


def still(
    app: DesiredApp | None, found: Iterable[Replica], there: Iterable[Replica]
) -> tuple[Replica, ...]:
    """Those that the last pass `found` serving where an app moves away from, as far as they run.

    Of whatever revision: one that moves in the midst of a rollout leaves some of both.
    """
    ids = {one.id for one in found}
    return tuple(
        one
        for one in there
        if app is not None
        and one.id in ids
        and one.state is ReplicaState.RUNNING
        and one.uid == app.uid
    )


def unlooked(app: DesiredApp | None, replicas: Iterable[Replica]) -> tuple[Replica, ...]:
    """The same of an app that no pass has looked at yet."""
    if app is None:
        return ()
    return tuple(
        one
        for one in replicas
        if one.state is ReplicaState.RUNNING
        and one.uid == app.uid
        and one.name.revision == app.stable
    )


def _stable(app: DesiredApp, one: Seen) -> bool:
    return one.revision == app.stable and one.replica.state is ReplicaState.RUNNING
