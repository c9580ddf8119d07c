"""Seeded bugs of who gets requests, and until when: patches, for the table of `mutants`.

Each is what a tired person might leave out: a wait, a look whether somebody is ready, a replay.
"""

from collections.abc import Callable, Iterable, Sequence, Set
from typing import Any
from unittest.mock import patch

from projections.desired import DesiredApp
from reconcilers import endpoints, router_driver
from reconcilers.ports import Replica, ReplicaState
from reconcilers.replica_facts import Seen
from reconcilers.router_driver import RouterDriver
from reconcilers.routing import Routing

type Patched = Any


def ended_before_withdrawn() -> Patched:
    """A replica is told to stop while it still is published."""

    async def withdrawn(*_about: object) -> None:
        return

    return patch.object(Routing, "withdrawn", withdrawn)


def propagation_forgotten() -> Patched:
    """What was published no more counts as met no more at once."""

    async def without(self: RouterDriver, needed: Callable[[], bool]) -> None:
        self.endpoints_moved()

    return patch.object(RouterDriver, "without", without)


def published_before_ready() -> Patched:
    """Whatever runs gets requests."""

    def serving(_app: DesiredApp, seen: Iterable[Seen], _before: Set[str]) -> tuple[Replica, ...]:
        replicas: Sequence[Replica] = [one.replica for one in seen]
        return tuple(one for one in replicas if one.state is ReplicaState.RUNNING)

    return patch.object(endpoints, "serving", serving)


def never_looked_again() -> Patched:
    """A router that has its table is believed to keep it."""
    return patch.object(router_driver, "REPLAY", float("inf"))


def told_all_the_time() -> Patched:
    """A router is looked at again and again, whether or not anything moved."""
    return patch.object(router_driver, "REPLAY", 0.5)
