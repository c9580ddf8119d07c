"""The HTTP API, put together: routes, the edge around them, and problems for every error."""

import re
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic.alias_generators import to_camel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from bus.log import LogError
from bus.manifests import nearest
from domain.refusals import BadValue, Refusal, UnknownField
from gateway import openapi, problems
from gateway.about import About
from gateway.asking import Freshness, reply
from gateway.conversing import Conversations
from gateway.edge import Edge
from gateway.foreign import Strangers
from gateway.inside import Inside
from gateway.login import Login
from gateway.past import Past
from gateway.polled import Polled
from gateway.ports import Services
from gateway.problems import Trouble
from gateway.reading import Reading
from gateway.signing import Signing
from gateway.stories import Stories
from gateway.urls import Urls
from gateway.watching import Watching
from gateway.writing import Writing
from reconcilers.ports import EngineError


def build(services: Services) -> FastAPI:
    """The application that answers for `services`."""
    app = FastAPI(
        title="Stateward",
        version=services.version,
        summary="An event-sourced control plane for applications.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    fresh = Freshness(services)
    about = About(services)
    past = Past(services.log, services.now)
    reading = Reading(services, fresh, past, Watching(services))
    for part in (
        Writing(services, fresh),
        reading,
        Stories(services, fresh, past),
        Inside(services, fresh),
        Conversations(services, fresh),
        Strangers(services, fresh),
        Urls(services, fresh),
        Polled(services, fresh),
        about,
    ):
        app.include_router(part.router, prefix="/api/v1")
    app.include_router(about.health)
    if services.login_key is not None:
        app.include_router(Login(Signing(services.login_key, services.now)).router)
    _describe(app)
    _explain_errors(app)
    app.add_middleware(Edge, services=services)
    return app


def build_health(services: Services) -> FastAPI:
    """What answers for a process that is no gateway: its health and its metrics."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(About(services).health)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(Edge, services=services)
    return app


def _describe(app: FastAPI) -> None:
    async def openapi_file() -> Response:
        return reply(app.openapi_schema or openapi.complete(app.openapi()))

    app.add_api_route("/api/openapi.json", openapi_file, methods=["GET"], include_in_schema=False)


def _explain_errors(app: FastAPI) -> None:
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(LogError, _refused)
    app.add_exception_handler(Trouble, _trouble)
    app.add_exception_handler(EngineError, _engine)
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(HTTPException, _http)


async def _refused(request: Request, error: Exception) -> Response:
    state = request.state
    response = problems.of_error(
        cast(Refusal | LogError, error),
        resource=getattr(state, "resource", None),
        conditional=getattr(state, "conditional", False),
    )
    return _keyed(request, response)


async def _trouble(request: Request, error: Exception) -> Response:
    return _keyed(request, problems.of_trouble(cast(Trouble, error)))


async def _engine(_request: Request, error: Exception) -> Response:
    return problems.of_engine(cast(EngineError, error))


async def _http(_request: Request, error: Exception) -> Response:
    problem = cast(HTTPException, error)
    headers = problem.headers
    if problem.status_code == 404:
        detail = "there is no such path; GET /api/openapi.json lists all"
        return problems.answer(404, "NoSuchPath", detail)
    if problem.status_code == 405:
        offered = (headers or {}).get("Allow", "")
        detail = f"this path does not offer that method; it offers {offered or 'others'}"
        return problems.answer(405, "MethodNotAllowed", detail, headers=headers)
    return problems.answer(problem.status_code, "Refused", problem.detail, headers=headers)


async def _unreadable(request: Request, error: Exception) -> Response:
    """What FastAPI could not read, as the refusal or the malformed body that it is."""
    fault: dict[str, Any] = cast(RequestValidationError, error).errors()[0]
    place = fault["loc"]
    path = ".".join(str(part) for part in place)
    if fault["type"] == "json_invalid":
        at = place[-1] if isinstance(place[-1], int) else 0
        body = await request.body()
        line = body.count(b"\n", 0, at) + 1
        column = at - body.rfind(b"\n", 0, at)
        detail = f"the body is no JSON at line {line}, column {column}: {fault['msg']}"
        return problems.answer(400, "Malformed", detail, {"line": line, "column": column})
    if fault["type"] == "extra_forbidden":
        known = _known_members(request)
        near = nearest(str(place[-1]), known)
        return problems.of_error(UnknownField(path, near, known))
    rule = re.sub(r"^Value error, ", "", fault["msg"])
    return problems.of_error(BadValue(path, fault.get("input"), rule[:1].lower() + rule[1:]))


def _known_members(request: Request) -> tuple[str, ...]:
    """The members of the body that the route reads."""
    for field in request.scope["route"].dependant.body_params:
        return tuple(to_camel(name) for name in field.field_info.annotation.model_fields)
    return ()


def _keyed(request: Request, response: Response) -> Response:
    """Tell the idempotency key, so that the same can be asked again."""
    key = getattr(request.state, "key", None)
    if key is not None:
        response.headers["Idempotency-Key"] = key
    return response
