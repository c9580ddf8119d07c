"""Paths by kind, and routes that refuse a misspelt query instead of ignoring it.

`?dryrun=All` must not become a real change because of one letter.
"""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, override

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from bus.manifests import nearest
from domain.refusals import UnknownField

ITEM_PATHS: Final[Mapping[str, str]] = {
    "App": "/projects/{project}/apps/{name}",  # first, for paths are looked through in order
    "Project": "/projects/{project}",
    "Secret": "/projects/{project}/secrets/{name}",
    "Target": "/targets/{name}",
}


class StrictRoute(APIRoute):
    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        known = tuple(sorted(field.alias for field in self.dependant.query_params))

        async def strictly(request: Request) -> Response:
            if request.scope["query_string"]:
                for name in request.query_params:
                    if name not in known:
                        raise UnknownField(f"query.{name}", nearest(name, known), known)
            return await handle(request)

        return strictly
