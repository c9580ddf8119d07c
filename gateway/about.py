"""The routes about the server itself: version, who one is, kinds, health, metrics, tokens."""

import asyncio
from typing import Any, Final, final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from bus.manifests import API_VERSION
from domain import quantities
from domain.names import check_name
from domain.refusals import BadValue, Forbidden
from gateway import openapi, shapes
from gateway.asking import actor_of, reply
from gateway.explaining import explain
from gateway.ports import Check, Services
from gateway.routes import StrictRoute
from gateway.times import shown
from gateway.tokens import Token

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_VERBOSE: Final = {
    "name": "verbose",
    "in": "query",
    "required": False,
    "allowEmptyValue": True,
    "schema": {"type": "string"},
}


@final
class About:
    def __init__(self, services: Services) -> None:
        self._services = services
        self.router = router = APIRouter(route_class=StrictRoute, tags=["about"])
        for path, handler, model, summary in (
            ("/version", self._version, shapes.Version, "What this server is."),
            ("/whoami", self._who_am_i, shapes.WhoAmI, "Who one is here."),
            ("/explain/{kind}", self._explain, shapes.Explanation, "What a kind's spec may hold."),
            ("/tokens", self._list_tokens, shapes.TokenList, "The tokens; for admins."),
        ):
            router.add_api_route(
                path,
                handler,
                methods=["GET"],
                operation_id=openapi.operation("GET", path),
                summary=summary,
                responses=openapi.answers(model),
                openapi_extra=openapi.reading(path),
            )
        router.add_api_route(
            "/tokens",
            self._issue,
            methods=["POST"],
            operation_id="post_tokens",
            status_code=201,
            summary="Make a token; its text is shown this once.",
            responses=openapi.answers(shapes.NewToken, 201),
        )
        router.add_api_route(
            "/tokens/{name}",
            self._revoke,
            methods=["DELETE"],
            operation_id="delete_tokens_name",
            status_code=204,
            summary="Revoke a token; it is refused at once.",
            responses={204: {"description": "Revoked."}, "default": openapi.PROBLEM},
            openapi_extra=openapi.reading("/tokens/{name}"),
        )
        self.health = APIRouter(tags=["health"])
        for path, look in (("/livez", self._live), ("/readyz", self._ready)):
            self.health.add_api_route(
                path,
                look,
                methods=["GET"],
                operation_id=path[1:],
                summary="Do the loops make progress?" if path == "/livez" else "Is it of use now?",
                responses=openapi.health(shapes.Health),
                openapi_extra={"parameters": [_VERBOSE]},
            )
        self.health.add_api_route(
            "/metrics",
            self._metrics,
            methods=["GET"],
            summary="For Prometheus.",
            responses={200: {"description": "Metrics.", "content": {"text/plain": {}}}},
        )

    async def _version(self) -> Response:
        head = await self._services.log.head()
        return reply(
            {
                "version": self._services.version,
                "apiVersion": API_VERSION,
                "installation": self._services.installation,
                "position": head.position,
            }
        )

    async def _who_am_i(self, request: Request) -> Response:
        actor = actor_of(request)
        projects = sorted(actor.projects)
        return reply({"actor": actor.name, "role": actor.role, "projects": projects})

    async def _explain(self, request: Request) -> Response:
        asked = request.path_params["kind"]
        request.state.resource = f"kind {asked[:40]!r}"
        return reply(explain(asked))

    async def _list_tokens(self, request: Request) -> Response:
        _administer(request)
        return reply({"items": [_token(token) for token in self._services.tokens.all()]})

    async def _issue(self, request: Request, body: shapes.TokenRequest) -> Response:
        _administer(request)
        lifetime = None
        if body.expires_in is not None:
            try:
                lifetime = quantities.seconds(body.expires_in)
            except ValueError as error:
                raise BadValue("body.expiresIn", body.expires_in, str(error)) from error
            if not 0 < lifetime <= 100 * 365 * 86_400:
                rule = "a token lives longer than nothing, and at most 100 years"
                raise BadValue("body.expiresIn", body.expires_in, rule)
        check_name(body.name, "body.name")
        for project in body.projects:
            check_name(project, "body.projects")
        token, text = await asyncio.to_thread(
            self._services.tokens.issue,
            body.name,
            body.role,
            projects=body.projects,
            lifetime_seconds=lifetime,
        )
        return reply({**_token(token), "token": text}, 201)

    async def _revoke(self, request: Request) -> Response:
        _administer(request)
        name = request.path_params["name"]
        request.state.resource = f"token {name!r}"
        await asyncio.to_thread(self._services.tokens.revoke, name)
        return Response(status_code=204)

    async def _live(self, request: Request) -> Response:
        return _health([c for c in self._services.checks() if c.vital], request)

    async def _ready(self, request: Request) -> Response:
        return _health(list(self._services.checks()), request)

    async def _metrics(self) -> Response:
        return Response(self._services.metrics(), media_type=METRICS_TYPE)


def _administer(request: Request) -> None:
    actor = actor_of(request)
    if actor.role != "admin" or not actor.everywhere:
        raise Forbidden(
            f"{actor.name} may not see or change tokens: only an admin of all projects may",
            verb="administer",
        )


def _token(token: Token) -> dict[str, Any]:
    return {
        "name": token.name,
        "role": token.role,
        "projects": token.projects,
        "actor": token.actor.name,
        "createdAt": shown(token.created_at),
        "expiresAt": shown(token.expires_at),
    }


def _health(checks: list[Check], request: Request) -> Response:
    failed = [check.name for check in checks if not check.passed]
    status = 503 if failed else 200
    if "verbose" not in request.query_params:
        text = f"failed: {', '.join(failed)}\n" if failed else "ok\n"
        return PlainTextResponse(text, status_code=status)
    told = [{"name": c.name, "ok": c.passed, "message": c.message} for c in checks]
    return reply({"ok": not failed, "checks": told}, status)
