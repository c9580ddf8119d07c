"""A stand-in for Traefik's HTTP provider: it polls as that does, and knows what it took.

Its habits are those of the documentation and of what is known about its source: a body that is
unchanged is skipped, so is a configuration in which there is nothing, and an answer that is no 200,
or can not be read, leaves what it has. It also follows names, as Traefik does when it builds its
handlers: a router whose service or middleware is missing serves nothing.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, final

import httpx
import jsonschema_rs

JSON = dict[str, Any]

SCHEMA: Final = jsonschema_rs.validator_for(
    json.loads((Path(__file__).parent / "traefik_schema.json").read_text())
)


@final
class Traefik:
    """One that polls `url` by a client that is authenticated.

    Attributes:
        taken: what it serves.
        tls: the certificates that it shows.
        switches: how often it took something else.
        skipped: why it did not, each time but for unchanged bodies.
    """

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client, self._url = client, url
        self._body = b""
        self.taken: JSON = {}
        self.tls: JSON = {}
        self.switches = 0
        self.skipped: list[str] = []

    async def poll(self) -> None:
        answer = await self._client.get(self._url)
        if answer.status_code != 200:
            self.skipped.append(f"status {answer.status_code}")
            return
        if answer.content == self._body:
            return
        self._body = answer.content
        try:
            document: JSON = json.loads(answer.content)
        except ValueError:
            self.skipped.append("unreadable")
            return
        if not any(document.get("http", {}).values()):
            self.skipped.append("empty")
            return
        self.taken, self.tls = document["http"], document.get("tls", {})
        self.switches += 1

    def copied_to(self, router: str) -> dict[str, int]:
        """The URLs that copies of a router's requests may go to, and how many of a hundred do."""
        service = self.taken["services"][self.taken["routers"][router]["service"]]
        return {
            url: mirror["percent"]
            for mirror in service.get("mirroring", {}).get("mirrors", [])
            for url in servers_of(self.taken, mirror["name"])
        }

    def servers_of(self, router: str) -> list[str]:
        """The URLs that the requests of a router may go to."""
        return sorted(servers_of(self.taken, self.taken["routers"][router]["service"]))


def faults_of(document: JSON) -> list[str]:
    """What Traefik would not take, or not be able to serve."""
    http = document["http"]
    faults = [f"{error.instance_path}: {error.message}" for error in SCHEMA.iter_errors(document)]
    for name, router in http["routers"].items():
        faults += [
            f"router {name} names no middleware {one}"
            for one in router.get("middlewares", [])
            if "@" not in one and one not in http["middlewares"]  # else it is of another provider
        ]
        try:
            list(servers_of(http, router["service"]))
        except KeyError as missing:
            faults.append(f"router {name} leads to no service {missing}")
    return faults


def servers_of(http: JSON, name: str) -> Iterator[str]:
    """The URLs that a service of a configuration leads to."""
    service = http["services"][name]
    for part in service.get("weighted", {}).get("services", []):
        yield from servers_of(http, part["name"])
    mirroring = service.get("mirroring")
    if mirroring is not None:
        yield from servers_of(http, mirroring["service"])
        for mirror in mirroring["mirrors"]:  # has to be there, and answers nobody
            list(servers_of(http, mirror["name"]))
    for server in service.get("loadBalancer", {}).get("servers", []):
        yield server["url"]
