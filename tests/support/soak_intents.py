"""Producers of a soak: each owns some apps, and asks under one key until that is answered.

Two come by HTTP, through whichever gateway answers; one by NATS requests, one by the submit stream.
An app is only ever asked for by its owner, one intent after the other, so the last that was
acknowledged is what has to be.
"""

import asyncio
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final, NamedTuple, Protocol, final, override

import httpx

from bus.client import Producer, Refused, Unanswered
from tests.support.soak_town import NATS_USER, Door, Town, ask_door

MOST: Final = 3  # replicas of an app
AGAIN_SECONDS: Final = 0.2
PATIENCE: Final = 20.0  # seconds until a NATS producer begins anew


class Wanted(NamedTuple):
    """What an app should be after its last acknowledged intent."""

    replicas: int
    image: str
    generation: int


class Asked(NamedTuple):
    """An intent. `verb` is `apply` or `scale`."""

    app: str
    verb: str
    spec: Mapping[str, Any]
    key: str

    @property
    def manifest(self) -> dict[str, Any]:
        metadata = {"name": self.app, "project": "default"}
        return {
            "apiVersion": "stateward/v1",
            "kind": "App",
            "metadata": metadata,
            "spec": dict(self.spec),
        }


class Acknowledged(NamedTuple):
    """What was answered. `repeated` says that it had been done when it was asked again."""

    generation: int
    repeated: bool


class Way(Protocol):
    """How intents get in. `actor` is who they are from."""

    actor: str

    async def ask(self, asked: Asked) -> Acknowledged | str:
        """Ask until it is answered; a text is why it was refused."""
        ...


@final
class OverHttp(Way):
    def __init__(self, client: httpx.AsyncClient, doors: Mapping[str, Door], first: int) -> None:
        self.actor = "user:admin"
        self._client, self._doors, self._next = client, doors, first

    @override
    async def ask(self, asked: Asked) -> Acknowledged | str:
        path = f"/api/v1/projects/default/apps/{asked.app}"
        body: Any = asked.manifest
        method = "PUT"
        if asked.verb == "scale":
            method, path, body = "POST", f"{path}/actions/scale", dict(asked.spec)
        key = {"Idempotency-Key": asked.key}
        while True:
            door = list(self._doors.values())[self._next % len(self._doors)]
            how = {"method": method, "json": body, "headers": key}
            answer = await ask_door(self._client, door, path, **how)
            if answer is None:
                self._next += 1
                await asyncio.sleep(AGAIN_SECONDS)
            elif answer.is_success:
                told = answer.json()
                return Acknowledged(told["generation"], bool(told.get("repeated")))
            else:
                return f"{answer.status_code} {answer.text}"


@final
class OverNats(Way):
    """Args: `by_stream` leaves intents in the submit stream and waits for what became of them."""

    def __init__(self, producer: Producer, *, by_stream: bool) -> None:
        self.actor = f"program:{NATS_USER}"
        self._producer, self._by_stream = producer, by_stream

    @override
    async def ask(self, asked: Asked) -> Acknowledged | str:
        data = asked.manifest if asked.verb == "apply" else dict(asked.spec)
        words = (asked.verb, f"App/default/{asked.app}", data)
        while True:
            try:
                if self._by_stream:
                    left = await self._producer.submit(*words, key=asked.key, patience=PATIENCE)
                    answer = await self._producer.outcome(left, patience=3 * PATIENCE)
                else:
                    answer = await self._producer.ask(*words, key=asked.key, patience=PATIENCE)
            except Unanswered:
                continue
            except Refused as refused:
                return str(refused)
            return Acknowledged(answer.changes[0].generation, answer.repeated)


@final
class Owner:
    """One producer with its apps. `docker` is the image of those that run there, if it has any."""

    def __init__(
        self, name: str, way: Way, apps: Sequence[str], chance: Random, docker: str
    ) -> None:
        self.name, self.way, self._apps, self._docker = name, way, apps, docker
        self._chance = chance
        self.wanted: dict[str, Wanted] = {}
        self.keys: dict[str, int] = {}
        """The generation that was answered to each key."""
        self.refused: list[str] = []
        self.repeated = 0

    async def begin(self) -> None:
        for app in self._apps:
            await self._ask(app, "apply", 1, "web:1")

    async def go_on(self, intents: int, seconds: float) -> None:
        """So many intents, spread over the time; late ones follow as soon as they can."""
        clock = asyncio.get_running_loop().time
        began = clock()
        for number in range(intents):
            await asyncio.sleep(max(began + number * seconds / intents - clock(), 0.0))
            app, replicas = self._chance.choice(self._apps), self._chance.randint(1, MOST)
            before = self.wanted[app].image
            if self._chance.random() < 0.75:
                await self._ask(app, "scale", replicas, before)
            else:
                await self._ask(app, "apply", replicas, f"web:{self._chance.randint(1, 5)}")

    async def _ask(self, app: str, verb: str, replicas: int, image: str) -> None:
        spec: dict[str, Any] = {"replicas": replicas}
        if verb == "apply":
            spec |= self._whole(app, image)
        asked = Asked(app, verb, spec, f"{self.name}-{len(self.keys)}")
        told = await self.way.ask(asked)
        if isinstance(told, str):
            self.refused.append(f"{asked.key}: {told}")
            self.keys[asked.key] = 0
            return
        self.keys[asked.key] = told.generation
        self.repeated += told.repeated
        self.wanted[app] = Wanted(replicas, image, told.generation)

    def _whole(self, app: str, image: str) -> dict[str, Any]:
        if not app.startswith("d"):
            return {"image": image, "target": "fleet"}
        check = {"http": {"path": "/healthz", "port": "http"}, "interval": "1s", "failures": 100}
        return {
            "image": self._docker,
            "imagePull": {"policy": "IfNotPresent"},
            "target": "dock",
            "env": {"GREETING": image},
            "ports": [{"name": "http", "port": 8080}],
            "health": {"readiness": check},
            "stopGrace": "1s",
        }


def owners(
    town: Town, client: httpx.AsyncClient, producer: Producer, apps: Sequence[str], chance: Random
) -> list[Owner]:
    """Four of them, each with every fourth app."""
    ways = {
        "http1": OverHttp(client, town.doors, 0),
        "http2": OverHttp(client, town.doors, 1),
        "request": OverNats(producer, by_stream=False),
        "stream": OverNats(producer, by_stream=True),
    }
    image = town.dock.image if town.dock is not None else ""
    return [
        Owner(name, way, apps[number :: len(ways)], Random(chance.random()), image)
        for number, (name, way) in enumerate(ways.items())
    ]
