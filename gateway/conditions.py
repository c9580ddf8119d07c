"""Conditions in headers: change it only if it still is what its reader saw."""

import re
from typing import Final

from starlette.requests import Request

from bus.intents import IntentService
from domain import state
from domain.names import Ref
from domain.refusals import BadValue
from gateway.problems import Trouble

_ETAG: Final = re.compile(r'\s*(?:W/)?"?(\d{1,18})"?\s*')


async def generation_asked(request: Request, ref: Ref, intents: IntentService) -> int | None:
    """The generation that `If-Match` or `If-None-Match` make a condition; None without either.

    Raises:
        Trouble: `If-Match: *`, and there is none.
        BadValue: it is no condition that can be kept.
    """
    wanted = request.headers.get("if-match")
    absent = request.headers.get("if-none-match")
    if wanted is None and absent is None:
        return None
    request.state.conditional = True
    if absent is not None:
        if absent.strip() != "*" or wanted is not None:
            rule = "only `*` is offered here, without If-Match: it must not exist yet"
            raise BadValue("header.If-None-Match", absent, rule)
        return 0
    assert wanted is not None
    if wanted.strip() == "*":
        return await _present(ref, intents)
    match = _ETAG.fullmatch(wanted)
    if match is None:
        raise BadValue("header.If-Match", wanted, 'write one generation, as in "42", or *')
    return int(match[1])


async def _present(ref: Ref, intents: IntentService) -> int:
    found = await intents.present(ref.stream)
    if isinstance(found, state.Members | state.Claims) or not found.exists:
        raise Trouble(412, "Stale", f"{ref} does not exist, but If-Match: * needs it to")
    return found.generation
