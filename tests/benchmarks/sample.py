"""A fleet of apps as the benchmarks ask for it: manifests of about 400 bytes, and their service."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from bus import manifests
from bus.intents import IntentService
from bus.log import Log
from domain.access import Actor
from simulation.secrets import SimulatedSecrets

APPS = 10_000
PROJECTS = 100
PAGE = 100  # apps made by one submission
ADMIN = Actor(name="program:stateward", role="admin")


def app(number: int, release: int) -> dict[str, object]:
    """The manifest of one of the apps; another release is another revision."""
    return {
        "apiVersion": "stateward/v1",
        "kind": "App",
        "metadata": {"name": f"a{number}", "project": f"p{number % PROJECTS}"},
        "spec": {
            "image": "registry.example/shop/web:1.27.4",
            "args": ["--workers=4"],
            "env": {"LOG": "info", "RELEASE": f"r{release}", "REGION": "eu-central"},
            "ports": [{"name": "http", "port": 8080}],
            "health": {"readiness": {"http": {"path": "/ready", "port": "http"}}},
            "replicas": 2,
        },
    }


def manifest(number: int, release: int) -> bytes:
    return msgspec.json.encode(app(number, release))


def stream(number: int) -> str:
    return f"App/p{number % PROJECTS}/a{number}"


def outer(kind: str, name: str, spec: Mapping[str, object]) -> dict[str, object]:
    """The manifest of a Project or Target."""
    return {"apiVersion": "stateward/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def service(log: Log) -> IntentService:
    return IntentService(log, SimulatedSecrets(), now=lambda: datetime.now(UTC))


async def furnish(intents: IntentService) -> None:
    """Make the target, the projects and the apps."""
    await _apply(intents, [outer("Target", "local", {"engine": "simulated"})], "target")
    await _apply(intents, [outer("Project", f"p{n}", {}) for n in range(PROJECTS)], "projects")
    for start in range(0, APPS, PAGE):
        await _apply(intents, [app(n, -1) for n in range(start, start + PAGE)], f"apps-{start}")


async def _apply(intents: IntentService, items: Sequence[Mapping[str, object]], key: str) -> None:
    asked = [manifests.read(msgspec.json.encode(item)) for item in items]
    await intents.submit(asked, actor=ADMIN, key=key)
