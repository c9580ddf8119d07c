"""The route that a router polls which comes by itself to read what it is to serve.

It is read by a program, so it has a tag, and an error changes nothing for who reads it.
"""

from typing import Final, final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from domain.access import POLL, READ, authorise, may
from domain.names import Ref
from domain.refusals import Forbidden, NotFound, NotPossible
from gateway import openapi, shapes
from gateway.asking import Freshness, actor_of, ref_in
from gateway.ports import Services
from gateway.problems import RETRY_AFTER_SECONDS, Trouble
from gateway.routes import ITEM_PATHS, StrictRoute
from gateway.views import entry_of
from reconcilers.router_ports import Document, RouterUnavailable

PATH: Final = f"{ITEM_PATHS['Target']}/traefik"


@final
class Polled:
    def __init__(self, services: Services, fresh: Freshness) -> None:
        self._services = services
        self._fresh = fresh
        self.router = APIRouter(route_class=StrictRoute, tags=["routes"])
        self.router.add_api_route(
            PATH,
            self._traefik,
            methods=["GET"],
            operation_id=openapi.operation("GET", PATH),
            summary="What the Traefik of a Target polls: its dynamic configuration.",
            responses=openapi.answers(shapes.TraefikDocument),
            openapi_extra=openapi.reading(PATH),
        )

    async def _traefik(self, request: Request) -> Response:
        target, actor = ref_in(request, "Target"), actor_of(request)
        sees_keys = may(actor, POLL, target)
        if not sees_keys:
            authorise(actor, READ, target)
        request.state.resource = target.stream
        if not actor.everywhere:
            raise Forbidden(
                f"{actor.name} may see some projects only, but routes are of all; "
                "ask an admin for a token of role router (or, without keys, a viewer's for all)",
                resource=str(target),
                verb=READ,
            )
        await self._fresh.reached()
        document = self._document(target, sees_keys=sees_keys)
        headers = {"ETag": document.tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == document.tag:
            return Response(status_code=304, headers=headers)
        return Response(document.body, media_type="application/json", headers=headers)

    def _document(self, target: Ref, *, sees_keys: bool) -> Document:
        if entry_of(self._services.desired, target) is None:
            raise NotFound(target, "`stateward get targets` lists those that do")
        router = self._services.polled_router(target.name)
        if router is None:
            raise NotPossible(
                f"no Traefik serves the routes of {target} from this server; "
                "let its spec say `routing: {router: traefik}`, and ask the server that works on it"
            )
        try:
            return router.read(sees_keys=sees_keys)
        except RouterUnavailable as error:
            raise Trouble(
                503,
                "RoutesUnknown",
                str(error),
                headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
            ) from error
