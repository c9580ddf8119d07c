"""The route table of 5,000 routes after one change: against building it anew, and at Caddy.

Both tables are the same. A tenth of the apps have a context on another one's URL.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from bus import codec
from domain import events as e
from projections.desired import DesiredState
from projections.routing import RouteTables, rebuilt
from reconcilers.router_driver import DEBOUNCE
from tests.benchmarks.places import on_disk
from tests.benchmarks.rows import Promise, Row, Times, millis, show
from tests.support.caddies import CaddyPlace
from tests.support.requirements import absence_of

ROUTES = 5_000
ROUNDS = 15
TIMES = 5

CHANGE = Promise(f"route table of {ROUTES:,} routes: one change", "full rebuild", at_most=0.05)
TOLD = Promise(f"Caddy: one change of {ROUTES:,} routes serves", "-", at_most=1, unit="s")
PROMISES = (CHANGE, TOLD)
HOW = (
    f"{ROUTES:,} apps with a route each, of which a tenth have a context on another URL. Ours folds"
    " an app's event with another path and takes the table; the floor builds it from the desired"
    f" state, whose specs are decoded already. {ROUNDS} alternating rounds, equal tables each time."
    f" At Caddy it is the median of {TIMES}, from the fold of the event until a request gets the"
    " answer of the new route, with the time in which several changes become one."
)
_STAMP = {"actor": "user:alice", "cause": "k", "at": datetime(2030, 1, 1, tzinfo=UTC)}


def _routed(number: int, path: str) -> tuple[int, str, int, str, bytes]:
    is_feature = number % 10 == 9
    route = {
        "host": f"a{number - is_feature}.example.org",
        "path": "/" if is_feature else path,
        "port": "http",
        "contexts": [{"header": "x-feature", "value": "blue"}] if is_feature else [],
    }
    spec = {
        "target": "local",
        "command": ["a"],
        "ports": [{"name": "http", "port": 80}],
        "replicas": 1,
        "running": True,
        "routes": [route],
    }
    raw = msgspec.Raw(msgspec.json.encode(spec))
    event = e.AppDefined(uid=number + 1, revision=1, digest="d", spec=raw, **_STAMP)  # type: ignore[arg-type]
    stream = f"App/p{number % 100}/a{number}"
    return number + 1, stream, 1, event.type, codec.encode(event)


def measure() -> Sequence[Row]:
    desired = DesiredState(codec.decode)
    desired.fold([_routed(number, "/") for number in range(ROUTES)])
    tables = RouteTables(desired)
    assert len(tables.table("local").rows) == ROUTES
    floor, ours = Times(), Times()
    for number in range(ROUNDS):
        row = _routed(300 * number, f"/moved-{number}")
        with ours.taken():
            desired.fold([row])
            tables.fold([row])
            table = tables.table("local")
        with floor.taken():
            anew = rebuilt(desired).table("local")
        assert table == anew
    ratio = ours.median / floor.median
    changed = CHANGE.kept(ratio, ours=millis(ours.median), floor=millis(floor.median))
    missing = absence_of("caddy")
    if missing is not None:
        return [changed, TOLD.unmeasured(missing)]
    return [changed, asyncio.run(_told(desired, tables))]


async def _told(desired: DesiredState, tables: RouteTables) -> Row:
    """A route without endpoints is answered with 503, and none with 404."""
    times = Times()
    with on_disk() as directory:
        place = CaddyPlace(directory)
        try:
            async with place.opened() as world:
                await world.router.apply(tables.table("local"))
                for number in range(TIMES):
                    row = _routed(300 * number + 1, f"/told-{number}")
                    async with world.client(f"a{300 * number + 1}.example.org") as client:
                        began = time.perf_counter()
                        desired.fold([row])
                        tables.fold([row])
                        await asyncio.sleep(DEBOUNCE)
                        applying = asyncio.create_task(world.router.apply(tables.table("local")))
                        while (await client.get(f"/told-{number}/x")).status_code == 404:
                            await asyncio.sleep(0.02)
                        times.append(time.perf_counter() - began)
                    await applying
        finally:
            await place.close()
    ours = f"{millis(times.median)}, of which {millis(DEBOUNCE)} for more changes"
    return TOLD.kept(times.median, ours=ours)


if __name__ == "__main__":
    raise SystemExit(0 if show(measure()) else 1)
