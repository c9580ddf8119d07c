"""HTTP messages of the server: bodies as they come in, objects as they go out."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from tests.support.kubernetes.answers import Refused
from tests.support.kubernetes.requests import APPLY, Request
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.writing import Written

LARGEST = 3 * 1024 * 1024  # bytes of a request's body


async def body_of(http: web.Request, request: Request) -> Any:
    """What was sent, decoded; of an apply as it came.

    Raises:
        Refused: 400, it is no JSON; 413, it is too large.
    """
    sent = await http.read()
    if len(sent) > LARGEST:
        said = f"Request entity too large: limit is {LARGEST}"
        raise Refused(413, said)
    if not sent:
        return None
    if request.content_type == APPLY:
        return _decoded_ifanswer(sent)
    try:
        return msgspec.json.decode(sent)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, f"the body of the request could not be decoded: {error}") from error


def _decoded_ifanswer(sent: bytes) -> Any:
    """JSON is YAML, and decodes a hundred times faster as JSON."""
    try:
        return msgspec.json.decode(sent)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return sent


def answer_to_write(written: Written) -> web.Response:
    response = answer(written.object, written.code)
    for warning in written.warnings:
        response.headers.add("Warning", f"299 - {json.dumps(warning)}")
    return response


def answer(body: Object, code: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    encoded = msgspec.json.encode(body)
    return web.Response(body=encoded, status=code, headers=headers, content_type="application/json")
