"""Rebuilding desired state from a long log, and starting from a snapshot, in fresh processes.

The floor reads the same rows page by page with plain `sqlite3` and decodes nothing. Each run is a
process of its own that tells its time and its largest resident set.
"""

import asyncio
import gc
import json
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from adapters.files.snapshots import Snapshots
from adapters.sqlite import schema
from adapters.sqlite.log import SqliteLog
from bus import codec
from domain import events as e
from projections.desired import DesiredState
from reconcilers.projecting import Projecting, name
from stateward.collecting import uncollected
from tests.benchmarks import sample
from tests.benchmarks.places import on_disk
from tests.benchmarks.rows import Promise, Row, Times, ratio_of, show

APPS = 100_000
EVENTS = 1_000_000
BEHIND = 1_000  # events that a snapshot does not know
ROUNDS = 5
PAGE = 5000  # rows, as `SqliteLog.scan` reads them

TIME = Promise(f"rebuild of {APPS:,} apps from {EVENTS:,} events", "raw SELECT", at_most=1.5)
MEMORY = Promise(f"rebuild of {APPS:,} apps: memory", "-", at_most=150, unit="MB")
START = Promise(f"start with a snapshot and {BEHIND:,} events", "replay of the whole", at_most=0.1)
PROMISES = (TIME, MEMORY, START)
HOW = (
    f"{EVENTS:,} events of {APPS:,} apps (definitions, scalings, images, rollouts, healings; of"
    f" about 500 bytes) are laid into a log. {ROUNDS} alternating rounds of reading all rows in"
    " pages with plain `sqlite3`, of `Projecting.restore` without a snapshot, and with one, each in"
    " a fresh process; ratios are medians of the rounds' ratios, and memory is the largest resident"
    " set of the whole process."
)

_SELECT = (
    "SELECT notification_id, originator_id, originator_version, topic, state FROM stored_events"
    " WHERE notification_id > ? ORDER BY notification_id LIMIT ?"
)
_INSERT = (
    "INSERT INTO stored_events (notification_id, originator_id, originator_version, topic, state)"
    " VALUES (?, ?, ?, ?, ?)"
)
_SEAL = "INSERT INTO seals (position, seal, digests) VALUES (?, ?, ?)"
_STAMP = {"actor": "user:alice", "cause": "5f0c8f1e7d", "at": datetime(2030, 1, 1, tzinfo=UTC)}
_SPEC = msgspec.Raw(
    b'{"target":"local","image":"registry.example/shop/web:1.27.4","command":[],"args":[],'
    b'"env":{"LOG":"info","REGION":"eu-central","RELEASE":"r55"},"imagePull":{},"ports":[{"name":'
    b'"http","port":8080,"protocol":"tcp"}],"health":{},"resources":{},"volumes":[],"stopSignal":'
    b'"SIGTERM","stopGrace":"10s","replicas":2,"running":true,"rollout":{"strategy":"startFirst",'
    b'"maxSurge":1,"maxUnavailable":0,"progressDeadline":"10m","drain":"0s"}}'
)


def _life() -> Iterator[tuple[str, type[e.Event], dict[str, object]]]:
    """Ten events of an app, in the order in which they happen, with the part of its stream."""
    record = {"uid": 7, "digest": "5eed5eed5eed5eed", "spec": _SPEC}
    image = {"image": "registry.example/shop/web@sha256:" + "1f" * 32}
    for revision in (1, 2, 3):
        yield "", e.AppDefined, {**record, "revision": revision}
        if revision < 3:
            yield "", e.AppImageResolved, {**record, **image, "revision": revision}
            yield "", e.AppScaled, {**record, **image, "revision": revision}
    yield "#status", e.RolloutStarted, {"uid": 7, "revision": 3}
    yield "#status", e.RolloutCompleted, {"uid": 7, "revision": 3, "seconds": 1.25}
    yield "#status", e.ReplicaHealed, {"uid": 7, "revision": 3, "slot": 1, "reason": "removed"}


def _rows() -> Iterator[tuple[int, str, int, str, bytes]]:
    """The whole history: all apps live the same life at the same pace."""
    position = 0
    versions = {"": 0, "#status": 0}
    for part, event, fields in _life():
        versions[part] += 1
        data = codec.encode(event(**_STAMP, **fields))  # type: ignore[arg-type]
        for app in range(APPS):
            position += 1
            yield position, f"{sample.stream(app)}{part}", versions[part], event.type, data


def lay(directory: Path) -> None:
    """Make the log, far faster than by appending."""
    path = directory / schema.LOG_FILE
    with closing(schema.open_writer(path, synchronous="NORMAL", busy_seconds=1)) as connection:
        connection.execute("BEGIN")
        connection.executemany(_INSERT, _rows())
        connection.execute(_SEAL, (EVENTS - BEHIND, b"s" * 32, b""))
        connection.execute(_SEAL, (EVENTS, b"S" * 32, b""))
        connection.execute("COMMIT")


# -- what runs in processes of their own ------------------------------------------------------


def read_raw(directory: Path) -> int:
    with closing(sqlite3.connect(directory / schema.LOG_FILE)) as connection:
        after = count = 0
        while page := connection.execute(_SELECT, (after, PAGE)).fetchall():
            after = page[-1][0]
            count += len(page)
    return count


def rebuild(directory: Path) -> DesiredState:
    return asyncio.run(_restore(directory, "nowhere"))


def start(directory: Path) -> DesiredState:
    return asyncio.run(_restore(directory, "snapshots"))


async def _restore(directory: Path, snapshots: str) -> DesiredState:
    log = await SqliteLog.open(directory, now=time.monotonic)
    try:
        projecting = Projecting(
            log,
            Snapshots(directory / snapshots),
            mismatched=_impossible,
            elsewhere=asyncio.to_thread,
        )
        with uncollected():
            return await projecting.restore()
    finally:
        await log.close()


def save(directory: Path) -> int:
    """Make the snapshot that `start` uses, `BEHIND` events before the end."""
    state = DesiredState(codec.decode)
    upto = EVENTS - BEHIND
    with closing(sqlite3.connect(directory / schema.LOG_FILE)) as connection:
        while page := connection.execute(_SELECT, (state.position, PAGE)).fetchall():
            state.fold([row for row in page if row[0] <= upto])
            if page[-1][0] >= upto:
                break
    Snapshots(directory / "snapshots").save(name(), upto, b"s" * 32, state.dump())
    return EVENTS


def _impossible() -> None:
    raise AssertionError("nobody compares the snapshot here")


JOBS: dict[str, Callable[[Path], int | DesiredState]] = {
    job.__name__: job for job in (read_raw, rebuild, start, save)
}


def main(job: str, directory: str) -> None:
    gc.collect()
    began = time.perf_counter()
    made = JOBS[job](Path(directory))
    took = time.perf_counter() - began
    count = made if isinstance(made, int) else made.position
    assert count == EVENTS, count
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": took, "megabytes": memory}))


# -- the measurement --------------------------------------------------------------------------


def _run(job: str, directory: Path) -> tuple[float, float]:
    words = [sys.executable, "-m", "tests.benchmarks.rebuilding", job, str(directory)]
    told = json.loads(subprocess.check_output(words, timeout=300))
    return told["seconds"], told["megabytes"]


def measure() -> Sequence[Row]:
    times = {"read_raw": Times(), "rebuild": Times(), "start": Times()}
    memory = []
    with on_disk() as directory:
        lay(directory)
        _run("save", directory)
        for _ in range(ROUNDS):
            for job, taken in times.items():
                seconds, megabytes = _run(job, directory)
                taken.append(seconds)
                if job == "rebuild":
                    memory.append(megabytes)
    raw, whole, quick = (taken.median for taken in times.values())
    return [
        TIME.kept(
            ratio_of(times["rebuild"], times["read_raw"]),
            ours=f"{whole:.2f} s",
            floor=f"{raw:.2f} s",
        ),
        MEMORY.kept(max(memory), ours=f"{max(memory):.0f} MB"),
        START.kept(
            ratio_of(times["start"], times["rebuild"]),
            ours=f"{quick:.2f} s",
            floor=f"{whole:.2f} s",
        ),
    ]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(*sys.argv[1:])
    else:
        raise SystemExit(0 if show(measure()) else 1)
