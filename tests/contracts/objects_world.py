"""A cluster to try the port of objects on: two installations, and somebody else with an account."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from reconcilers.object_labels import DIGEST
from reconcilers.object_ports import Applied, AppOrder, Json, Manifest, ObjectKey, Objects
from tests.support.k8s_orders import SHOP, order

OWNER = ("shop", "web")
SHARED = ("shop", "")
SPEC: Mapping[str, Any] = {
    "image": "web:1",
    "ports": [{"name": "http", "port": 8080}],
    "env": {"PASSWORD": {"secretRef": {"name": "db", "key": "password"}}, "LEVEL": "info"},
}


class Place(Protocol):
    """What a test does to a cluster from outside. Each names an object that is there."""

    def get(self, key: ObjectKey) -> Json | None:
        """As it is now, whatever a copy shows."""
        ...

    def edit(self, key: ObjectKey, changes: Mapping[str, Any]) -> None: ...

    def lose(self, key: ObjectKey) -> None:
        """Delete it by hand."""
        ...

    def squat(self, key: ObjectKey) -> None:
        """Somebody makes one of their own, where none is."""
        ...

    def hold(self, key: ObjectKey) -> None:
        """Whatever deletes it, it lingers for longer than any test lasts."""
        ...


class World:
    """`ours` is what is tried, `theirs` that of another installation; `place` is what is there."""

    def __init__(self, ours: Objects, theirs: Objects, place: Place) -> None:
        self.ours, self.theirs, self.place = ours, theirs, place

    def order(self, **spec: Any) -> AppOrder:
        return order({**SPEC, **spec}, replicas=2)

    def rendered(self, **spec: Any) -> dict[str, Manifest]:
        """The objects of the app, by kind; of configuration the set's parent is left out."""
        made = self.ours.renderer.app(self.order(**spec))
        return {one.key.kind: one for one in made if not one.key.name.endswith("--set")}

    async def furnish(self, objects: Objects | None = None) -> None:
        """Make what the project's apps share."""
        engine = objects or self.ours
        for manifest in engine.renderer.project(SHOP):
            await self.apply(manifest, objects=engine, owner=SHARED)

    async def apply(
        self,
        manifest: Manifest,
        uid: str | None = None,
        *,
        objects: Objects | None = None,
        owner: tuple[str, str] = OWNER,
        dry_run: bool = False,
    ) -> Applied:
        return await (objects or self.ours).engine.apply(
            manifest, owner=owner, uid=uid, position=7, dry_run=dry_run
        )

    async def deploy(self, **spec: Any) -> dict[str, Json]:
        """Apply the app whole; what came of it by kind."""
        made = self.ours.renderer.app(self.order(**spec))
        done = {manifest.key: (await self.apply(manifest)).body for manifest in made}
        return {key.kind: body for key, body in done.items() if not key.name.endswith("--set")}

    async def listed(self) -> dict[ObjectKey, Json]:
        return {ObjectKey.of(one): one for one in await self.ours.engine.list(OWNER)}

    async def until(self, holds: Callable[[Sequence[Json]], object]) -> None:
        """Wait until the objects of the app are seen to be so."""
        async with asyncio.timeout(60):
            while not holds(await self.ours.engine.list(OWNER)):
                await asyncio.sleep(0.05)


def with_digest(manifest: Manifest, body: Json) -> Manifest:
    """The same with another body, and a digest that says so."""
    labels = {**body["metadata"]["labels"], DIGEST: "another"}
    changed = {**body, "metadata": {**body["metadata"], "labels": labels}}
    return Manifest(
        stage=manifest.stage, body=changed, digest="another", confidential=manifest.confidential
    )
