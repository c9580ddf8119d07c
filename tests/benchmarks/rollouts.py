"""Rollouts of an app on Docker through `stateward serve` under load, with Caddy as its router.

Nothing is set that has to do with losses: not how long replicas drain, nor how they stop. The app
ends at SIGTERM, whatever it was asked already. Load comes from `wrk` and `h2load`, which repeat
nothing.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import docker
import httpx

from tests.benchmarks.places import on_disk
from tests.benchmarks.rows import Promise, Row, per_second, show
from tests.support import load
from tests.support.docker_daemon import NoDocker, erase_installation, running_daemon
from tests.support.haproxy import quiet_ports
from tests.support.images import python_image
from tests.support.load import Load
from tests.support.requirements import absence_of
from tests.support.serving import ControlPlane, served

ROLLOUTS: Final = 50
CONTEXTS: Final = 5  # that come and go
ROUND_SECONDS: Final = 10.0  # of load; one round follows the other
PATIENCE: Final = 120.0
HOST: Final = "shop.localhost"
CONTEXT: Final = {"header": "x-context", "value": "feature-1"}
HOW: Final = (
    f"`stateward serve` on Docker and one app with a route, defined {ROLLOUTS} times anew, each"
    f" time rolled out to the end. All the while {load.CONNECTIONS} connections of `wrk` (HTTP/1.1)"
    f" and as many of `h2load` (HTTP/2 over TLS) ask for it, in rounds of {ROUND_SECONDS:.0f} s;"
    f" lost is every request without an answer of 2xx. Then {CONTEXTS} times another app takes the"
    " requests that carry a header, and is deleted again, under load with and without the header."
)

type Way = Callable[[], Awaitable[Load]]


def promises(router: str) -> tuple[Promise, ...]:
    """For HTTP/1.1, HTTP/2, and the context that comes and goes."""
    what = f"{router} on Docker: lost in {ROLLOUTS} rollouts"
    other = f"{router} on Docker: lost while a header context comes and goes {CONTEXTS} times"
    return (
        Promise(f"{what}, HTTP/1.1", "-", at_most=0, unit="lost"),
        Promise(f"{what}, HTTP/2", "-", at_most=0, unit="lost"),
        Promise(other, "-", at_most=0, unit="lost"),
    )


PROMISES: Final = promises("Caddy")


class Shop:
    """A control plane on Docker, and the entries of its router.

    Attributes:
        entry: where requests come in without TLS; `secure`: with.
    """

    def __init__(self, plane: ControlPlane, host: str, image: str, router: str) -> None:
        self.plane, self._image = plane, image
        self.entry, self.secure = (f"127.0.0.1:{port}" for port in quiet_ports(2))
        routing = {"router": router, "entries": {"http": self.entry, "https": self.secure}}
        spec = {"engine": "docker", "docker": {"host": host}, "routing": routing}
        manifest = {"apiVersion": "stateward/v1", "kind": "Target", "spec": spec}
        answer = plane.http.put("/api/v1/targets/local", json=manifest)
        assert answer.is_success, answer.text

    def give(self, name: str, greeting: str, *contexts: dict[str, str]) -> None:
        """Define an app, and wait until it is rolled out and its route serves."""
        secure = {"tls": {"mode": "internal", "redirect": False}}
        check = {"http": {"path": "/healthz", "port": "http"}, "interval": "200ms", "failures": 100}
        spec = {
            "image": self._image,
            "imagePull": {"policy": "IfNotPresent"},
            "env": {"GREETING": greeting},
            "ports": [{"name": "http", "port": 8080}],
            "health": {"readiness": check},
            "routes": [{"host": HOST, "contexts": list(contexts)} | tls for tls in ({}, secure)],
        }
        self.plane.apply(name, spec)
        self.plane.rolled_out(name, within=PATIENCE)
        self._until_routed(name)

    def _until_routed(self, name: str) -> None:
        self.plane.until(
            lambda: self.plane.condition("Routed", name)[0] == "True", f"{name} is routed", PATIENCE
        )

    def until_said(self, text: str, **headers: str) -> None:
        """Wait until both entries answer so."""

        def is_said() -> bool:
            return {self._said(scheme, headers) for scheme in ("http", "https")} == {text}

        self.plane.until(is_said, f"{HOST} says {text}", PATIENCE)

    def _said(self, scheme: str, headers: dict[str, str]) -> str:
        address = self.entry if scheme == "http" else self.secure
        asked = {"Host": HOST, **headers}
        try:
            with httpx.Client(verify=False) as client:  # noqa: S501 -- an authority of its own
                extensions = {"sni_hostname": HOST}
                return client.get(
                    f"{scheme}://{address}/", headers=asked, extensions=extensions
                ).text
        except httpx.HTTPError as error:
            return repr(error)

    def over_http1(self) -> Awaitable[Load]:
        return load.over_http1(self.entry, HOST, ROUND_SECONDS)

    def over_http2(self) -> Awaitable[Load]:
        return load.over_http2(self.secure, HOST, ROUND_SECONDS)

    def in_context(self) -> Awaitable[Load]:
        header = f"{CONTEXT['header']}: {CONTEXT['value']}"
        return load.over_http1(self.entry, HOST, ROUND_SECONDS, header)


@contextmanager
def opened(directory: Path, router: str) -> Iterator[Shop]:
    """The shop, gone afterwards with all that it made.

    Raises:
        NoDocker: there is no daemon to be had.
    """
    with ExitStack() as stack:
        daemon = stack.enter_context(running_daemon())
        client = docker.APIClient(daemon.host, version="auto")
        stack.callback(client.close)
        image = python_image(client)
        options = (f"--docker-host={daemon.host}", "--no-nats")
        plane = stack.enter_context(contextmanager(served)(directory, *options, engine="docker"))
        installation = plane.get("/api/v1/version")["installation"]
        try:
            yield Shop(plane, daemon.host, image, router)
        finally:
            plane.close()  # first, or it heals what is erased
            erase_installation(client, installation)


@contextmanager
def loaded(*ways: Way) -> Iterator[list[list[Load]]]:
    """Under load in each of these ways, round after round; afterwards the lists are complete."""
    is_over = threading.Event()
    found: list[list[Load]] = [[] for _ in ways]

    def work(way: Way, rounds: list[Load]) -> None:
        async def one() -> Load:
            return await way()

        while not is_over.is_set():
            rounds.append(asyncio.run(one()))

    threads = [threading.Thread(target=work, args=about) for about in zip(ways, found, strict=True)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def measure() -> Sequence[Row]:
    return measured("caddy", PROMISES)


def measured(router: str, promised: Sequence[Promise]) -> Sequence[Row]:
    missing = absence_of(router, "load", "pidfd")
    if missing is not None:
        return [promise.unmeasured(missing) for promise in promised]
    with on_disk() as directory:
        try:
            with opened(directory, router) as shop:
                return _measured(shop, promised)
        except NoDocker as reason:
            return [promise.unmeasured(str(reason)) for promise in promised]


def _measured(shop: Shop, promised: Sequence[Promise]) -> list[Row]:
    shop.give("web", "base")
    shop.until_said("base")
    with loaded(shop.over_http1, shop.over_http2) as rolled:
        for number in range(ROLLOUTS):
            shop.give("web", f"round {number}")
    shop.until_said(f"round {ROLLOUTS - 1}")
    with loaded(shop.over_http1, shop.in_context, shop.over_http2) as contexts:
        _come_and_go(shop, CONTEXTS)
    found = [*rolled, [one for rounds in contexts for one in rounds]]
    return [_row(promise, rounds) for promise, rounds in zip(promised, found, strict=True)]


def _come_and_go(shop: Shop, times: int) -> None:
    carried = {CONTEXT["header"]: CONTEXT["value"]}
    for number in range(times):
        shop.give("feature", f"feature {number}", CONTEXT)
        shop.until_said(f"feature {number}", **carried)
        shop.plane.delete("feature")
        shop.until_said(f"round {ROLLOUTS - 1}", **carried)


def _row(promise: Promise, rounds: list[Load]) -> Row:
    requests, lost = sum(one.requests for one in rounds), sum(one.lost for one in rounds)
    speed = requests / sum(one.seconds for one in rounds)
    ours = f"{requests:,} requests, {per_second(speed)}"
    return promise.kept(lost, ours=ours, whole=requests > 0)


if __name__ == "__main__":
    raise SystemExit(0 if show(measure()) else 1)
