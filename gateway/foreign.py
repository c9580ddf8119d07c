"""The routes that show what is not ours on a target, and whether it is adopted here."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final, final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from domain.access import READ, Actor, authorise
from domain.names import app
from domain.refusals import NotFound
from gateway import openapi, shapes
from gateway.asking import Freshness, actor_of, may_read, ref_in, reply
from gateway.ports import Services
from gateway.replicas import known
from gateway.routes import ITEM_PATHS, StrictRoute
from gateway.views import entry_of
from reconcilers.object_adopting import InTheWay
from reconcilers.ports import ForeignReplica, ReplicaState

PATH: Final = f"{ITEM_PATHS['Target']}/foreign"
OF_APP: Final = f"{ITEM_PATHS['App']}/foreign"


@final
class Strangers:
    def __init__(self, services: Services, fresh: Freshness) -> None:
        self._services = services
        self._fresh = fresh
        self.router = APIRouter(route_class=StrictRoute, tags=["replicas"])
        self.router.add_api_route(
            PATH,
            self._foreign,
            methods=["GET"],
            operation_id=openapi.operation("GET", PATH),
            summary="What other installations run on a Target.",
            responses=openapi.answers(shapes.ForeignApps),
            openapi_extra=openapi.reading(PATH),
        )

        self.router.add_api_route(
            OF_APP,
            self._in_the_way,
            methods=["GET"],
            operation_id=openapi.operation("GET", OF_APP),
            summary="What of others on its cluster has names that an App needs.",
            responses=openapi.answers(shapes.ObjectsInTheWay),
            openapi_extra=openapi.reading(OF_APP),
        )

    async def _in_the_way(self, request: Request) -> Response:
        ref = await known(self._services, self._fresh, request, READ)
        found = await self._services.in_the_way(ref.stream)
        return reply({"resource": ref.stream, "items": list(map(_object, found))})

    async def _foreign(self, request: Request) -> Response:
        target, actor = ref_in(request, "Target"), actor_of(request)
        authorise(actor, READ, target)
        request.state.resource = target.stream
        await self._fresh.reached()
        if entry_of(self._services.desired, target) is None:
            raise NotFound(target, "`stateward get targets` lists those that do")
        listed = await self._services.foreign(target.name)
        return reply(
            {"target": target.name, "items": list(self._items(actor, target.name, listed))}
        )

    def _items(
        self, actor: Actor, target: str, listed: Sequence[ForeignReplica]
    ) -> Iterator[dict[str, Any]]:
        """One item for each installation's app of a project that the actor may see."""
        apps: dict[tuple[str, str, str], list[ForeignReplica]] = defaultdict(list)
        for one in listed:
            apps[one.installation, one.name.project, one.name.app].append(one)
        desired = self._services.desired
        for (installation, project, name), replicas in sorted(apps.items()):
            ref = app(project, name)
            if not may_read(actor, ref):
                continue
            ours = desired.app(ref.stream)
            adoptions = desired.adoptions(ref.stream)
            yield {
                "installation": installation,
                "project": project,
                "app": name,
                "revisions": sorted({one.name.revision for one in replicas}),
                "running": sum(one.state is ReplicaState.RUNNING for one in replicas),
                "replicas": [
                    {"name": one.name.of(installation), "state": one.state.value}
                    for one in sorted(replicas, key=lambda one: one.name)
                ],
                "applied": ours is not None and ours.target == target,
                "volumes": [volume.name for volume in ours.spec.volumes] if ours else [],
                "adopting": any(one.installation == installation for one in adoptions),
            }


def _object(found: InTheWay) -> dict[str, Any]:
    named = found.object
    return {
        "object": {
            "apiVersion": named.api_version,
            "kind": named.kind,
            "namespace": named.namespace,
            "name": named.name,
            "uid": named.uid,
        },
        "installation": found.installation,
        "managers": list(found.managers),
        "outcome": found.outcome,
        "fields": list(found.fields),
        "data": found.is_data,
    }
