"""Apps of a control plane that are asked by their names, through its target's router."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.support import load
from tests.support.asking import web
from tests.support.haproxy import quiet_ports
from tests.support.load import Load
from tests.support.serving import ControlPlane

HOST = "shop.localhost"


class Town:
    """A control plane whose target has entries of its own, and a router."""

    def __init__(self, plane: ControlPlane, router: str = "caddy") -> None:
        self.plane = plane
        self.entry, self._secure = (f"127.0.0.1:{port}" for port in quiet_ports(2))
        self.give(router)

    def give(self, router: str) -> None:
        """Let the target have this router, at the same entries."""
        manifest = self.plane.get("/api/v1/targets/local")
        entries = {"http": self.entry, "https": self._secure}
        manifest["spec"]["routing"] = {"router": router, "entries": entries}
        asked = {part: manifest[part] for part in ("apiVersion", "kind", "spec")}
        answer = self.plane.http.put("/api/v1/targets/local", json=asked)
        assert answer.is_success, answer.text

    def get(self, host: str = HOST, **headers: str) -> httpx.Response:
        return httpx.get(f"http://{self.entry}/", headers={"Host": host, **headers})

    def until_said(self, text: str, **headers: str) -> None:
        self.plane.until(lambda: self._says(text, headers), f"{HOST} says {text}")

    def _says(self, text: str, headers: dict[str, str]) -> bool:
        try:
            answer = self.get(**headers)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200 and answer.text == text

    @contextmanager
    def loaded(self, seconds: float) -> "Iterator[Callable[[], Load]]":
        """Under load from now on; the function waits for its end and tells what came of it."""
        found: list[Load] = []

        def work() -> None:
            found.append(asyncio.run(load.over_http1(self.entry, HOST, seconds)))

        thread = threading.Thread(target=work)
        thread.start()

        def ended() -> Load:
            thread.join()
            return found[0]

        try:
            yield ended
        finally:
            thread.join()


def routed(text: str, **spec: Any) -> dict[str, Any]:
    return web(text, routes=[{"host": HOST}], **spec)
