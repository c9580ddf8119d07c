"""Events to bytes and back: the only module that knows that events are JSON.

The registry is closed: a type that it does not know is `Undecodable`, and so is a shape that no
upcaster leads to the present one. Old shapes are upcast as dictionaries, one version at a time.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from domain.events import REGISTRY, Event

type Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

UPCASTERS: Mapping[tuple[str, int], Upcaster] = {}
"""(type, version) to the function that gives the next version's shape."""

CURRENT: Mapping[str, int] = {}
"""The present version of each type whose shape has ever changed; 1 for all others."""

_encoder = msgspec.json.Encoder()
_decoders = {kind: msgspec.json.Decoder(event) for kind, event in REGISTRY.items()}


class Undecodable(Exception):
    """The event is of a kind or shape that this version does not know, or it is damaged."""


def encode(event: Event) -> bytes:
    return _encoder.encode(event)


def decode(kind: str, data: bytes) -> Event:
    """Read an event of the log.

    Raises:
        Undecodable: this version cannot read it; its stream must be left alone.
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        raise Undecodable(f"this version knows no event {kind!r}")
    try:
        event: Event = decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return _upcast(kind, data, error)
    if event.v != CURRENT.get(kind, 1):
        return _upcast(kind, data, None)
    return event


def _upcast(kind: str, data: bytes, cause: Exception | None) -> Event:
    try:
        raw = msgspec.json.decode(data)
        version = raw.get("v", 1)
        while version != CURRENT.get(kind, 1):
            raw = UPCASTERS[kind, version](raw)
            version += 1
            raw["v"] = version
        if cause is not None and raw.get("v", 1) == 1:
            raise cause
        return _decoders[kind].decode(msgspec.json.encode(raw))
    except KeyError:
        raise Undecodable(f"{kind!r} has a version that this one does not know") from cause
    except (msgspec.MsgspecError, UnicodeDecodeError, AttributeError) as error:
        raise Undecodable(f"{kind!r} cannot be read: {error}") from error
