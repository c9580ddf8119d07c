"""What has to be true when a soak is over: of the log, of what runs, and of what is served.

Each check is a sentence and what speaks against it; nothing does when all is well.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg

from adapters.docker import labels
from adapters.files.snapshots import Snapshots
from adapters.postgres.log import PostgresLog
from bus import codec
from projections.desired import DesiredState
from reconcilers.projecting import Projecting, name
from tests.support.soak_intents import Owner, Wanted
from tests.support.soak_town import WORKERS, Town, shown

REST_SECONDS: Final = 240.0
QUIET_SECONDS: Final = 7.0  # three looks at everything

type Faults = list[str]


class Check(NamedTuple):
    """`found` says in numbers what was looked at."""

    promise: str
    found: str
    faults: Faults


async def judged(town: Town, owners: Sequence[Owner]) -> list[Check]:
    """Wait for rest, look at everything, and stop the processes at the end."""
    wanted = {app: one for owner in owners for app, one in owner.wanted.items()}
    refused = [text for owner in owners for text in owner.refused]
    asked = sum(len(owner.keys) for owner in owners)
    repeated = sum(owner.repeated for owner in owners)
    began = time.monotonic()
    faults = running = await asyncio.to_thread(_running, town, wanted)
    while running and time.monotonic() < began + REST_SECONDS:
        await asyncio.sleep(1.0)
        faults = running = await asyncio.to_thread(_running, town, wanted)
    rested = time.monotonic() - began
    writes = town.fleet.machine.ask()["writes"]
    await asyncio.sleep(QUIET_SECONDS)
    after = town.fleet.machine.ask()["writes"]
    replicas = sum(one.replicas for one in wanted.values())
    docked = sum(app.startswith("d") for app in wanted)
    served = await asyncio.to_thread(_served, town, wanted)
    return [
        Check("every intent is answered, none is refused", f"{asked} intents", refused),
        await _outcomes(town, owners, repeated),
        Check(
            "what runs is what was asked for last, once",
            f"{len(wanted)} apps ({docked} on Docker), {replicas} replicas, {rested:.0f} s later",
            faults,
        ),
        Check(
            "at rest, nothing is changed",
            f"{sum(after.values())} calls in all",
            [] if writes == after else [f"{writes} became {after}"],
        ),
        Check("every gateway shows it", f"{len(WORKERS)} gateways", served),
        await asyncio.to_thread(_sound, town),
        await _rebuilt(town),
    ]


def _running(town: Town, wanted: Mapping[str, Wanted]) -> Faults:
    apps = town.plane.get("/api/v1/projects/default/apps", limit=1000)["items"]
    revisions = {one["metadata"]["name"]: one["metadata"]["revision"] for one in apps}
    found = town.fleet.machine.ask()
    faults = [f"{slot} runs twice" for slot in found["doubled"]]
    here = {app: one.replicas for app, one in wanted.items() if not app.startswith("d")}
    faults += _differing("replicas on the machine", here, found["apps"])
    only = {app: [revisions[app]] * count for app, count in here.items() if app in revisions}
    faults += _differing("revisions on the machine", only, found["revisions"])
    return faults + _in_docker(town, wanted, revisions)


def _in_docker(town: Town, wanted: Mapping[str, Wanted], revisions: Mapping[str, int]) -> Faults:
    if town.dock is None:
        return []
    mine = {"label": f"{labels.INSTALLATION}={town.installation}"}
    containers = town.dock.client.containers(all=True, filters=mine)
    running: dict[str, list[str]] = {}
    dead: Counter[str] = Counter()
    for one in containers:
        app, slot, revision = (one["Labels"][at] for at in _PLACE)
        if one["State"] == "running":
            running.setdefault(app, []).append(f"{slot} of r{revision}")
        else:
            dead[f"{app}/{slot} {one['State']}"] += 1
    only = {
        app: [f"{slot} of r{revisions.get(app)}" for slot in range(one.replicas)]
        for app, one in wanted.items()
        if app.startswith("d")
    }
    faults = _differing("docker ps", only, {app: sorted(slots) for app, slots in running.items()})
    return faults + [f"{count} containers of {place}" for place, count in dead.items() if count > 1]


_PLACE: Final = (labels.APP, labels.SLOT, labels.REVISION)


def _differing(what: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> Faults:
    wrong = {
        app: {"wanted": wanted.get(app), "found": found.get(app)}
        for app in sorted({*wanted, *found})
        if wanted.get(app) != found.get(app)
    }
    return [f"{what}: {len(wrong)} differ: {shown(wrong)}"] if wrong else []


def _served(town: Town, wanted: Mapping[str, Wanted]) -> Faults:
    faults = []
    for place, plane in town.fleet.planes.items():
        items = plane.get("/api/v1/projects/default/apps", limit=1000)["items"]
        told = {
            one["metadata"]["name"]: (one["spec"]["replicas"], one["metadata"]["generation"])
            for one in items
        }
        last = {app: (one.replicas, one.generation) for app, one in wanted.items()}
        faults += _differing(f"(replicas, generation) by {place}", last, told)
        ready = {one["metadata"]["name"]: (one["status"] or {}).get("ready") for one in items}
        faults += _differing(
            f"ready by {place}", {app: one.replicas for app, one in wanted.items()}, ready
        )
    return faults


async def _outcomes(town: Town, owners: Sequence[Owner], repeated: int) -> Check:
    """One outcome in the log for every key that was answered, and its events there once."""
    connection = await asyncpg.connect(town.fleet.database)
    try:
        kept = await connection.fetch("SELECT actor, key, events FROM stateward.keys")
        rows = await connection.fetch(
            "SELECT originator_id, notification_id, state FROM stateward.stored_events"
            " WHERE originator_id NOT LIKE '%#status'"
        )
    finally:
        await connection.close()
    outcomes = {(row["actor"], row["key"]): row["events"] for row in kept}
    ours = {(owner.way.actor, key) for owner in owners for key in owner.keys}
    faults = [f"lost: {key}" for key in sorted(ours - outcomes.keys())]
    of_producers = {key for key in outcomes if not key[0].startswith("system:")}
    faults += [f"nobody asked for {key}" for key in sorted(of_producers - ours) if _is_ours(key)]
    events: Counter[str] = Counter()
    for row in rows:
        told = json.loads(bytes(row["state"]))
        if not told["actor"].startswith("system:"):
            events[told["cause"]] += 1
    for actor, key in sorted(ours & outcomes.keys()):
        if events[key] != outcomes[actor, key]:
            faults.append(f"{key} has {events[key]} events, and should {outcomes[actor, key]}")
    found = f"{len(outcomes)} keys, {sum(events.values())} events, {repeated} answered again"
    return Check("every answered key has one outcome in the log", found, faults)


def _is_ours(key: tuple[str, str]) -> bool:
    return key[1].partition("-")[0] in ("http1", "http2", "request", "stream")


def _sound(town: Town) -> Check:
    plane = town.plane
    done = plane.run(f"--data={plane.data}", f"--log={town.fleet.database}", verb="verify")
    said = (done.stdout + done.stderr).strip()
    return Check("`stateward verify` finds the log sound", said, [said] if done.returncode else [])


async def _rebuilt(town: Town) -> Check:
    """Stop each process as it should be, and compare what it kept with what the log says."""
    faults, compared = [], 0
    for place, plane in town.fleet.planes.items():
        code = await asyncio.to_thread(plane.terminate)
        if code:
            faults.append(f"{place} ended with {code}")
    home = town.fleet.home / "rebuilt"
    home.mkdir()
    log = await PostgresLog.open(town.fleet.database, home, now=time.time)
    try:
        for place, plane in town.fleet.planes.items():
            snapshot = Snapshots(plane.data / "snapshots").load(name())
            if snapshot is None:
                faults.append(f"{place} kept no state at its end")
                continue
            rebuilt = await _upto(log, snapshot.position)
            compared += len(rebuilt)
            if rebuilt != bytes(snapshot.data):
                faults.append(f"what {place} served is not what the log says")
        whole = await _projected(log, home)
        head = (await log.head()).position
        if whole != await _upto(log, head):
            faults.append("a rebuild does not give what folding gives")
    finally:
        await log.close()
    found = f"{compared} bytes of {len(town.fleet.planes)} processes, head {head}"
    return Check("the state served is the state rebuilt", found, faults)


async def _projected(log: PostgresLog, home: Path) -> bytes:
    projecting = Projecting(
        log, Snapshots(home / "none"), mismatched=lambda: None, elsewhere=asyncio.to_thread
    )
    return (await projecting.restore()).dump()


async def _upto(log: PostgresLog, position: int) -> bytes:
    desired = DesiredState(codec.decode)
    async for page in log.scan(0):
        desired.fold([row for row in page if row[0] <= position])
    desired.position = position
    return desired.dump()
