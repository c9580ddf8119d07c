"""WebSockets and answers without end, through real routers: a rollout gives them its drain."""

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support import stream_app
from tests.support.asking import PATIENCE
from tests.support.serving import ControlPlane
from tests.support.town import HOST, Town, routed

pytestmark = pytest.mark.timeout(300)

DRAIN = 4.0  # seconds: far more than even a slow machine takes from one answer to the next


def speaking(word: str) -> dict[str, Any]:
    command = [sys.executable, "-I", str(Path(stream_app.__file__))]
    how = {"rollout": {"drain": f"{DRAIN:g}s"}, "stopGrace": "200ms"}
    return routed(word, command=command, **how)


class Conversation:
    """One that goes on until the other side ends it.

    Attributes:
        said: what the other side said, each once.
        ended: when it was over (of the monotonic clock); None while it goes on.
    """

    def __init__(self, hold: Callable[[set[str]], None]) -> None:
        self.said: set[str] = set()
        self.ended: float | None = None
        self._hold = hold
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._hold(self.said)
        self.ended = time.monotonic()


def over_a_websocket(town: Town) -> Conversation:
    def hold(said: set[str]) -> None:
        host, port = town.entry.split(":")
        opened = socket.create_connection((host, int(port)))
        with (
            suppress(ConnectionClosed),
            connect(f"ws://{HOST}/socket", sock=opened, close_timeout=1) as spoken,
        ):
            while True:
                spoken.send("who?")
                said.add(str(spoken.recv(PATIENCE)))
                time.sleep(0.02)

    return Conversation(hold)


def over_a_stream(town: Town) -> Conversation:
    def hold(said: set[str]) -> None:
        url = f"http://{town.entry}/stream"
        with (
            suppress(httpx.TransportError),
            httpx.stream("GET", url, headers={"Host": HOST}, timeout=PATIENCE) as answer,
        ):
            said.update(answer.iter_lines())

    return Conversation(hold)


@contextmanager
def asked_all_the_time(town: Town) -> Iterator[dict[str, float]]:
    """For each word that answered: when the last request was sent that it answered."""
    sent: dict[str, float] = {}
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            now = time.monotonic()
            sent[town.get().text] = now
            is_over.wait(0.02)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield sent
    finally:
        is_over.set()
        thread.join()


@pytest.fixture(
    params=[
        pytest.param("caddy", marks=pytest.mark.needs("caddy")),
        pytest.param("haproxy", marks=pytest.mark.needs("haproxy")),
    ],
)
def town(shared: ControlPlane, request: pytest.FixtureRequest) -> Iterator[Town]:
    town = Town(shared, request.param)
    yield town
    shared.delete("web")
    town.give("none")


def test_a_websocket_and_a_stream_end_with_the_drain_and_not_before(town: Town) -> None:
    """The drain begins after the last new request went to the old replica: no earlier end counts.

    However slow the machine is, it can only make them last longer; so the drain is long enough that
    one which is not waited for shows nevertheless.
    """
    plane = town.plane
    plane.apply("web", speaking("one"))
    plane.rolled_out()
    town.until_said("one")
    held = [over_a_websocket(town), over_a_stream(town)]
    plane.until(lambda: all(one.said == {"one"} for one in held), "both speak")
    with asked_all_the_time(town) as sent:
        plane.apply("web", speaking("two"))
        plane.until(lambda: all(one.ended for one in held), "both are ended")
    for one in held:
        assert one.said == {"one"}
        assert one.ended is not None
        assert one.ended - sent["one"] >= DRAIN
    assert set(sent) == {"one", "two"}
