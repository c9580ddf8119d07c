"""An intent service over a log in memory, and manifests to send it."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count

from bus import manifests
from bus.intents import Answer, Asked, IntentService
from domain.access import Actor
from simulation.log import SimulatedLog
from simulation.secrets import SimulatedSecrets

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
ALICE = Actor(name="user:alice", role="admin")


def manifest(
    kind: str,
    name: str,
    spec: Mapping[str, object],
    *,
    project: str = "shop",
    labels: Mapping[str, str] | None = None,
    generation: int | None = None,
) -> Asked:
    """A resource as somebody would have written it."""
    metadata: dict[str, object] = {"name": name, "labels": labels or {}}
    if kind not in ("Project", "Target"):
        metadata["project"] = project
    if generation is not None:
        metadata["generation"] = generation
    raw = {"apiVersion": "stateward/v1", "kind": kind, "metadata": metadata, "spec": spec}
    return manifests.read(json.dumps(raw).encode())


class Desk:
    """Somewhere to hand in intents: every submission gets a key of its own unless it has one."""

    def __init__(self, log: SimulatedLog | None = None, installation: str = "") -> None:
        self.log = log or SimulatedLog()
        self.secrets = SimulatedSecrets()
        self.service = IntentService(
            self.log, self.secrets, now=lambda: NOON, installation=installation
        )
        self._keys = count(1)

    async def send(self, *asked: Asked, key: str | None = None, actor: Actor = ALICE) -> Answer:
        return await self.service.submit(asked, actor=actor, key=key or f"k{next(self._keys)}")

    async def furnish(self, engine: str = "simulated") -> None:
        """The target `local` and the project `shop`."""
        await self.send(
            manifest("Target", "local", {"engine": engine}), manifest("Project", "shop", {})
        )

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.log.events]
