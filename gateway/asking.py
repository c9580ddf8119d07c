"""What routes ask about their own request: who sends it, may they, and is the answer fresh.

Reads wait until the projection has seen everything this server acknowledged, so whoever writes
and then reads sees what they wrote.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, cast, final

import msgspec
from starlette.requests import HTTPConnection
from starlette.responses import Response

from domain.access import READ, Actor, authorise
from domain.names import Ref, check_name
from domain.refusals import Forbidden
from gateway.ports import Services
from gateway.problems import Trouble

PATIENCE_SECONDS: Final = 5.0  # a projection lags by milliseconds; seconds mean it is stuck


def actor_of(request: HTTPConnection) -> Actor:
    return cast(Actor, request.state.actor)


def still_valid(request: HTTPConnection) -> Callable[[], bool]:
    """Tells whether the token that the request came with is still good."""
    return cast(Callable[[], bool], request.state.still_valid)


def ref_in(request: HTTPConnection, kind: str) -> Ref:
    """The resource that the request's path names; refuses what is no name."""
    given: dict[str, str] = request.path_params
    project = check_name(given["project"], "path.project") if "project" in given else ""
    if kind == "Project":
        return Ref(kind, "", project)
    return Ref(kind, project, check_name(given["name"], "path.name"))


def may_read(actor: Actor, ref: Ref) -> bool:
    try:
        authorise(actor, READ, ref)
    except Forbidden:
        return False
    return True


def reply(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        media_type="application/json",
        headers=headers,
    )


@final
class Freshness:
    """Waits for the projection to have seen what this process acknowledged, by whatever way."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def reached(self, position: int = 0) -> None:
        """Return once the projection has seen `position`, and all that was acknowledged.

        Raises:
            Trouble: it does not get there.
        """
        wanted = max(position, self._services.intents.acknowledged)
        if self._services.desired.position >= wanted:
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._services.catch_up(wanted)
        except TimeoutError:
            detail = (
                f"the desired state has been folded up to position "
                f"{self._services.desired.position}, but {wanted} is on disk; "
                "nothing is lost: ask again, and see /readyz?verbose"
            )
            raise Trouble(503, "NotReady", detail, headers={"Retry-After": "1"}) from None
