"""Routing under load: what is lost while replicas change, how soon a change shows, and its price.

Load comes from `wrk` and `h2load`, which repeat nothing. Losses and delays are of any router of
the contract suite (`tests.contracts.router_world`); the price of our endpoints is Caddy's.
"""

import asyncio
import json
import socket
import statistics
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from projections.route_table import Endpoint, Tls
from tests.benchmarks.places import on_disk
from tests.benchmarks.rows import Promise, Row, Times, millis, per_second, show
from tests.contracts.router_world import WEB, RouterWorld, backend, name_of, row
from tests.support import load
from tests.support.backends import Backend, backends
from tests.support.caddies import CaddyPlace, CaddyWorld, free_port
from tests.support.load import Load
from tests.support.requirements import absence_of, find_program
from tests.support.swapping import swap_often

SWAPS: Final = 50
LOAD_SECONDS: Final = 30.0
CHANGES: Final = 40
REFRESH: Final = 0.25
ROUTES: Final = 50
ROUNDS: Final = 9
ROUND_SECONDS: Final = 3.0
HOST: Final = "a.test"
ROWS: Final = (row(HOST), row(HOST, scheme="https", tls=Tls(mode="internal")))

LOST_1 = Promise(f"Caddy: lost in {SWAPS} swaps, HTTP/1.1", "-", at_most=0, unit="lost")
LOST_2 = Promise(f"Caddy: lost in {SWAPS} swaps, HTTP/2", "-", at_most=0, unit="lost")
VISIBLE = Promise(
    "Caddy: a change of endpoints shows", f"refresh of {millis(REFRESH)}", at_most=50, unit="ms"
)
PRICE = Promise(
    f"Caddy: throughput of {ROUTES} routes with our endpoints", "static upstreams", at_least=0.9
)
PROMISES = (LOST_1, LOST_2, VISIBLE, PRICE)
HOW = (
    f"{load.CONNECTIONS} connections that stay open, by `wrk` (HTTP/1.1) and `h2load` (HTTP/2 over"
    " TLS). A swap is a new replica, its endpoint published, the propagation waited for, the old"
    " one drained and gone; lost is every request without an answer of 2xx. A change shows when"
    f" the last answer of the former endpoint has come: the 95th percentile of {CHANGES}, from"
    f" the call. Throughput alternates {ROUNDS} times between two configurations of one Caddy:"
    " ours, and the same with addresses instead of names; another Caddy is all replicas."
)


def measure() -> Sequence[Row]:
    missing = absence_of("caddy", "load")
    if missing is not None:
        return [promise.unmeasured(missing) for promise in PROMISES]
    return asyncio.run(_measure())


async def _measure() -> list[Row]:
    with on_disk() as directory:
        place = CaddyPlace(directory)
        try:
            async with place.opened() as world:
                return [
                    await lost(world, LOST_1, over_http1),
                    await lost(world, LOST_2, over_http2),
                    await visible(world, VISIBLE, REFRESH),
                    await _price(world, directory),
                ]
        finally:
            await place.close()


# --- what any router is measured by -----------------------------------------------------------


def over_http1(world: RouterWorld) -> Awaitable[Load]:
    return load.over_http1(world.http, HOST, LOAD_SECONDS)


def over_http2(world: RouterWorld) -> Awaitable[Load]:
    return load.over_http2(world.https, HOST, LOAD_SECONDS)


async def lost(
    world: RouterWorld, promise: Promise, way: Callable[[RouterWorld], Awaitable[Load]]
) -> Row:
    """Swap replicas as long as there is load."""
    first = Backend("first")
    await first.start()
    await world.serve(ROWS, {WEB: [first.endpoint()]})
    await world.certified(HOST)
    loading = asyncio.ensure_future(way(world))
    swaps = await swap_often(world, first, loading)
    found = await loading
    ours = f"{swaps} swaps, {found.requests:,} requests, {per_second(found.per_second)}"
    return promise.kept(found.lost, ours=ours, whole=swaps >= SWAPS and found.requests > 0)


async def visible(world: RouterWorld, promise: Promise, floor: float) -> Row:
    """How long after the call the former endpoint still answers."""
    times = Times()
    async with backends("one", "two") as servers, world.client(HOST) as client:
        await world.serve(ROWS, {WEB: [servers[0].endpoint()]})
        for number in range(CHANGES):
            old, new = servers[number % 2], servers[1 - number % 2]
            began = time.perf_counter()
            await world.router.publish({WEB: (new.endpoint(),)})
            last = began
            while time.perf_counter() - began < floor + 0.2:
                if name_of(await client.get("/")) == old.name:
                    last = time.perf_counter()
            times.append(last - began)
    late = times.percentile(0.95)
    ours = f"{millis(late)} (median {millis(times.median)}, worst {millis(max(times))})"
    return promise.kept(1000 * (late - floor), ours=ours)


# --- the price of endpoints by DNS ------------------------------------------------------------


async def _price(world: CaddyWorld, directory: Path) -> Row:
    hosts = [f"h{number}.test" for number in range(ROUTES)]
    apps = [backend(f"app{number}") for number in range(ROUTES)]
    ports = [free_port() for _ in hosts]
    rows = [row(host, to=app) for host, app in zip(hosts, apps, strict=True)]
    script = directory / "hosts.lua"
    ours: list[Load] = []
    floor: list[Load] = []
    with _replicas(ports, directory):
        places = [[Endpoint("127.0.0.1", port)] for port in ports]
        await world.serve(rows, dict(zip(apps, places, strict=True)))
        theirs = _static(json.loads((await world.ask("GET", "/config/")).content), ports)
        for _ in range(ROUNDS):
            await world.ask("POST", "/config/", json.dumps(theirs).encode())
            floor.append(await load.over_many_hosts(world.http, hosts, ROUND_SECONDS, script))
            await world.apply(*rows)
            ours.append(await load.over_many_hosts(world.http, hosts, ROUND_SECONDS, script))
    ratios = [one.per_second / raw.per_second for one, raw in zip(ours, floor, strict=True)]
    return PRICE.kept(
        statistics.median(ratios),
        ours=per_second(statistics.median(one.per_second for one in ours)),
        floor=per_second(statistics.median(one.per_second for one in floor)),
        whole=not any(one.lost for one in (*ours, *floor)),
    )


def _static(config: dict[str, Any], ports: Sequence[int]) -> dict[str, Any]:
    """The same configuration, with a proxy to an address in each route instead of a name."""
    routes = config["apps"]["http"]["servers"]["http"]["routes"]
    proxy = next(one for one in routes if "match" in one and "vars" in one["match"][0])["handle"][0]
    blocks = [one for one in routes if one.get("group") == "blocks"]
    ours = [one for block in blocks for one in block["handle"][0]["routes"]]
    for route, port in zip(ours, ports, strict=True):
        theirs = {key: value for key, value in proxy.items() if key != "dynamic_upstreams"}
        theirs["upstreams"] = [{"dial": f"127.0.0.1:{port}"}]
        route["handle"][-1] = theirs
    return config


@contextmanager
def _replicas(ports: Sequence[int], directory: Path) -> Iterator[None]:
    """Servers that answer as fast as Caddy does."""
    answer = {"handler": "static_response", "body": "here"}
    servers = {
        f"s{port}": {
            "listen": [f"127.0.0.1:{port}"],
            "automatic_https": {"disable": True},
            "routes": [{"handle": [answer]}],
        }
        for port in ports
    }
    config = {"admin": {"disabled": True}, "apps": {"http": {"servers": servers}}}
    path = directory / "replicas.json"
    path.write_text(json.dumps(config | {"logging": {"logs": {"default": {"level": "ERROR"}}}}))
    home = {"HOME": str(directory), "XDG_DATA_HOME": str(directory)}
    process = subprocess.Popen(
        [str(find_program("caddy")), "run", "--config", str(path)],
        env=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _listens(ports[-1]):
            assert process.poll() is None, "the replicas do not start"
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    raise SystemExit(0 if show(measure()) else 1)
