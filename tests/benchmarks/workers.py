"""Several workers: how much sooner two converge than one, and how soon one takes over for another.

Every process is real: gateway, workers, PostgreSQL, NATS, and a simulated machine behind a socket
of which each call takes 20 ms. A promise is about ratios and the lease's time, not about this host.
"""

import statistics
import time
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.places import on_disk
from tests.benchmarks.rows import Promise, Row
from tests.support.fleet import Fleet, fleet
from tests.support.postgres_server import cluster
from tests.support.serving import ControlPlane

APPS: Final = 2000
SET: Final = 1000  # in one request
CALL_SECONDS: Final = 0.02
PASSES: Final = 4  # at once in a worker: waiting for the engine is what is measured
TTL: Final = 10.0
DEATHS: Final = 3
CONVERGING: Final = Promise(
    f"time until {APPS:,} simulated apps run, two workers", "one worker", at_most=0.6
)
TAKEOVER: Final = Promise(
    "a worker is killed: until another has all that it held",
    "the time of a lease",
    at_most=2.0,
    unit="s",
)
PROMISES: Final = (CONVERGING, TAKEOVER)
HOW: Final = (
    "A gateway is given all apps; workers hold their leases by then. The clock runs from the first "
    "request until the machine runs them all."
)


def measure() -> list[Row]:
    with on_disk() as directory, cluster() as postgres:
        one = _converged(directory / "one", postgres.migrated(), ("a",))
        two = _converged(directory / "two", postgres.migrated(), ("a", "b"))
        deaths = _deaths(directory / "dead", postgres.migrated())
    row = CONVERGING.kept(two / one, ours=f"{two:.1f} s", floor=f"{one:.1f} s")
    worst = max(deaths)
    median = statistics.median(deaths)
    ours = f"worst of {DEATHS} {worst:.1f} s, median {median:.1f} s"
    return [row, TAKEOVER.kept(worst - TTL, ours=ours, floor=f"{TTL:.0f} s")]


def _converged(home: Path, database: str, workers: tuple[str, ...]) -> float:
    with fleet(home, database, call_seconds=CALL_SECONDS, ttl=TTL) as town:
        gateway = _prepared(town, workers)
        began = time.monotonic()
        for first in range(0, APPS, SET):
            answer = gateway.http.post("/api/v1/apply", json=_apps(first), timeout=120)
            assert answer.status_code == 200, answer.text
        gateway.until(lambda: len(town.machine.ask()["apps"]) == APPS, "all run", 300)
        took = time.monotonic() - began
        assert not town.machine.ask()["doubled"]
        return took


def _deaths(home: Path, database: str) -> list[float]:
    times = []
    with fleet(home, database, ttl=TTL) as town:
        _prepared(town, ("a", "b"))
        a, b = town.planes["a"], town.planes["b"]
        for _ in range(DEATHS):
            b.kill()
            began = time.monotonic()
            a.until(lambda: town.held(a) == 64, "it has all")
            times.append(time.monotonic() - began)
            b.start()
            _shared(town, ("a", "b"))
    return times


def _prepared(town: Fleet, workers: tuple[str, ...]) -> ControlPlane:
    gateway = town.add("gateway", "gateway")
    for name in workers:
        town.add(name, "worker", f"--set=reconcile.concurrency={PASSES}")
    town.furnish(gateway)
    _shared(town, workers)
    return gateway


def _shared(town: Fleet, workers: tuple[str, ...]) -> None:
    planes = [town.planes[name] for name in workers]
    share = 64 // len(planes)
    planes[0].until(lambda: all(town.held(one) == share for one in planes), "all have their share")


def _apps(first: int) -> list[dict[str, Any]]:
    return [
        {
            "apiVersion": "stateward/v1",
            "kind": "App",
            "metadata": {"name": f"a{number}", "project": "default"},
            "spec": {"image": "web:1", "target": "fleet"},
        }
        for number in range(first, first + SET)
    ]
