"""Converging: without hints, past a long queue, and what a thousand idle apps cost.

The engine is simulated, so that what is measured is the control plane.
"""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import psutil

from adapters.sqlite.schema import LOG_FILE
from domain.names import app as app_ref
from reconcilers.passing import WorkerSettings
from reconcilers.ports import ReplicaState
from reconcilers.queue import Priority
from simulation.faults import Call, Trouble
from stateward import data
from stateward.control_plane import running
from stateward.settings import Api, Data, Engine, Reconcile, Settings
from tests.benchmarks.places import on_disk
from tests.benchmarks.rows import Promise, Row, Times, millis, show
from tests.support.house import House
from tests.support.intents import manifest

APPS: Final = 200
INTERVAL: Final = 10.0  # of the replay tick
WAITING: Final = 10_000  # keys
FRESH: Final = 200  # intents, one after the other
ENGINE_SECONDS: Final = 0.02  # per call
IDLE_APPS: Final = 1_000
IDLE_SECONDS: Final = 30.0

HINTLESS = Promise(f"{APPS} apps over HTTP, hints off", "replay interval", at_most=5, unit="s")
TICK = Promise(f"{APPS} apps over HTTP, hints and tail off", "replay interval", at_most=5, unit="s")
FAIR = Promise(
    f"a fresh intent past {WAITING:,} keys of a tick, p99", "idle system", at_most=50, unit="ms"
)
MEMORY = Promise(f"{IDLE_APPS:,} idle apps: memory", "-", at_most=150, unit="MiB")
CORE = Promise(f"{IDLE_APPS:,} idle apps: CPU", "-", at_most=3, unit="% of a core")
PROBED = Promise(f"{IDLE_APPS:,} idle apps with 10 s HTTP probes: CPU", "-", unit="% of a core")
PROMISES = (HINTLESS, TICK, FAIR, MEMORY, CORE, PROBED)
HOW = (
    f"{APPS} apps are PUT one by one to a control plane that gets no hints; from the last answer"
    f" until every rollout is completed, beyond the interval of {INTERVAL:.0f} s (none lost, none"
    f" doubled). {FRESH} intents while {WAITING:,} keys wait from a tick,"
    f" {1000 * ENGINE_SECONDS:.0f} ms per engine call, from the acknowledgement until the replica"
    f" runs, less the same on an idle system. {IDLE_APPS:,} converged apps in a `stateward serve`"
    f" of its own over {IDLE_SECONDS:.0f} s: the process's memory (RSS) and CPU time."
)


def _spec(*, probed: bool = False) -> dict[str, Any]:
    spec: dict[str, Any] = {"command": ["serve"], "ports": [{"name": "http", "port": 80}]}
    if probed:
        check = {"http": {"path": "/", "port": "http"}, "interval": "10s"}
        spec["health"] = {"readiness": check, "liveness": check}
    return spec


async def _hintless(directory: Path, promise: Promise, *, tail: str) -> Row:
    settings = Settings(
        data=Data(directory=directory),
        api=Api(port=0),
        engine=Engine(default="simulated"),
        reconcile=Reconcile.model_validate({"hints": False, "tail": tail}),
    )
    with data.opened(directory, new_id=lambda: str(uuid.uuid4())) as held:
        async with running(settings, held) as plane:
            token = plane.token_file.read_text().strip()
            headers = {"Authorization": f"Bearer {token}"}
            url = plane.serving.url
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
                for number in range(APPS):
                    path = f"/api/v1/projects/default/apps/a{number}"
                    answer = await client.put(path, json=_put(number))
                    answer.raise_for_status()
                answered = time.perf_counter()
                await asyncio.to_thread(_all_completed, directory)
                extra = time.perf_counter() - answered - INTERVAL
                replicas = await _all_ready(client)
    whole = replicas == [1] * APPS
    told = f"{extra + INTERVAL:.1f} s" + ("" if whole else f", replicas {sorted(set(replicas))}")
    return promise.kept(extra, ours=told, floor=f"{INTERVAL:.0f} s", whole=whole)


def _all_completed(directory: Path) -> None:
    """Wait for every rollout in the log itself: a question to the API would be a hint."""
    connection = sqlite3.connect(f"file:{directory / LOG_FILE}?mode=ro", uri=True)
    until = time.monotonic() + 120
    count = "SELECT count(*) FROM stored_events WHERE topic = 'rollout.completed'"
    while connection.execute(count).fetchone()[0] < APPS and time.monotonic() < until:
        threading.Event().wait(0.05)
    connection.close()


def _put(number: int, *, probed: bool = False) -> Mapping[str, Any]:
    metadata = {"name": f"a{number}", "project": "default"}
    return {
        "apiVersion": "stateward/v1",
        "kind": "App",
        "metadata": metadata,
        "spec": _spec(probed=probed),
    }


async def _all_ready(client: httpx.AsyncClient, apps: int = APPS) -> list[int]:
    """Wait until all apps are ready; return how many replicas each has."""
    async with asyncio.timeout(120):
        while True:
            items = await _items(client)
            ready = [item for item in items if (item.get("status") or {}).get("ready") == 1]
            if len(ready) == apps:
                return [len(item["status"]["replicas"]) for item in items]
            await asyncio.sleep(0.1)


async def _items(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor: Any = None
    while True:
        query = {"limit": 1000} | ({"after": cursor} if cursor else {})
        page = (await client.get("/api/v1/apps", params=query)).raise_for_status().json()
        items += page["items"]
        cursor = page.get("next")
        if not cursor:
            return items


def _slow(_call: Call) -> Trouble:
    return Trouble(delay_seconds=ENGINE_SECONDS)


async def _latencies(waiting: int) -> Times:
    """How long fresh intents take while so many keys wait from a replay tick."""
    house = House(settings=WorkerSettings(passes=16, replay_interval=3600.0))
    house.machine.faults.plan = _slow
    await house.furnish()
    for start in range(0, waiting, 500):
        names = range(start, min(start + 500, waiting))
        await house.send(*(manifest("App", f"w{n}", _spec()) for n in names))
    house.desired.fold(house.log.events)
    took = Times()
    async with house.working():
        await asyncio.sleep(2)
        for number in range(FRESH):
            assert house.parts.queue.depth(Priority.REPLAY) > 0 or not waiting
            name = f"f{number}"
            await house.send(manifest("App", name, _spec()))
            with took.taken():
                while not _runs(house, name):
                    await asyncio.sleep(0.001)
    return took


def _runs(house: House, name: str) -> bool:
    found = house.machine.apps.get((house.installation, *app_ref("shop", name)[1:]), {})
    return any(one.seen.state is ReplicaState.RUNNING for one in found.values())


def fairness() -> Row:
    idle, busy = asyncio.run(_latencies(0)), asyncio.run(_latencies(WAITING))
    floor, ours = idle.percentile(0.99), busy.percentile(0.99)
    return FAIR.kept(1000 * (ours - floor), ours=millis(ours), floor=millis(floor))


async def _idle(directory: Path, *, probed: bool) -> tuple[float, float]:
    """MiB and percent of a core of a server with converged apps that nobody asks anything."""
    argv = [sys.executable, "-m", "stateward", "serve", "--engine", "simulated"]
    argv += ["--data", str(directory), "--listen", "127.0.0.1:0", "--log-format", "json"]
    log = (directory.parent / f"{directory.name}.log").open("wb")
    server = subprocess.Popen(argv, stderr=log, stdout=log, env=dict(os.environ))
    try:
        url = await _address(Path(log.name))
        headers = {"Authorization": f"Bearer {(directory / 'token').read_text().strip()}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
            for start in range(0, IDLE_APPS, 100):
                items = [_put(n, probed=probed) for n in range(start, start + 100)]
                body = json.dumps(items)
                kind = {"content-type": "application/json"}
                (await client.post("/api/v1/apply", content=body, headers=kind)).raise_for_status()
            await _all_ready(client, IDLE_APPS)
        await asyncio.sleep(15)
        process = psutil.Process(server.pid)
        before = process.cpu_times()
        await asyncio.sleep(IDLE_SECONDS)
        after = process.cpu_times()
        used = after.user + after.system - before.user - before.system
        return process.memory_info().rss / 2**20, 100 * used / IDLE_SECONDS
    finally:
        server.terminate()
        server.wait(30)
        log.close()


async def _address(log: Path) -> str:
    async with asyncio.timeout(60):
        while True:
            for word in log.read_text().split():
                if word.startswith("http://127.0.0.1:"):
                    return word
            await asyncio.sleep(0.1)


def idle() -> list[Row]:
    with on_disk() as directory:
        for name in ("plain", "probed"):
            (directory / name).mkdir()
        memory, core = asyncio.run(_idle(directory / "plain", probed=False))
        more, busy = asyncio.run(_idle(directory / "probed", probed=True))
    return [
        MEMORY.kept(memory, ours=f"{memory:.0f} MiB"),
        CORE.kept(core, ours=f"{core:.1f} %"),
        PROBED.kept(busy, ours=f"{busy:.1f} %, {more:.0f} MiB"),
    ]


def hintless() -> list[Row]:
    with on_disk() as directory:
        for name in ("hints", "tick"):
            (directory / name).mkdir()
        return [
            asyncio.run(_hintless(directory / "hints", HINTLESS, tail="2s")),
            asyncio.run(_hintless(directory / "tick", TICK, tail="0s")),
        ]


def measure() -> Sequence[Row]:
    return [*hintless(), fairness(), *idle()]


if __name__ == "__main__":
    raise SystemExit(0 if show(measure()) else 1)
