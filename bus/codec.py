"""Events to bytes and back: the only module that knows that events are JSON.

The registry is closed: a type that it does not know is `Undecodable`, and so is a shape that no
upcaster leads to the present one. Old shapes are upcast as dictionaries, one version at a time.
"""

from collections.abc import Callable, Mapping
from hashlib import blake2b
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


def knowledge() -> str:
    """Which events and shapes this version can read, in 8 hexadecimal digits.

    What was folded with another knowledge may have left out what this one can read.
    """
    known = sorted((kind, CURRENT.get(kind, 1)) for kind in REGISTRY)
    return blake2b(repr(known).encode(), digest_size=4).hexdigest()


def encode(event: Event) -> bytes:
    """The event in the present version of its type's shape."""
    version = CURRENT.get(event.type)
    if version is not None and event.v != version:
        event = msgspec.structs.replace(event, v=version)
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
    """Lead an older shape to the present one; `cause` is why it could not be read as it is."""
    present = CURRENT.get(kind, 1)
    try:
        raw = msgspec.json.decode(data, type=dict[str, Any])
        version = raw.get("v", 1)
        if version == present and cause is not None:
            raise Undecodable(f"{kind!r} cannot be read: {cause}") from cause
        while version != present:
            upcaster = UPCASTERS.get((kind, version)) if isinstance(version, int) else None
            if upcaster is None:
                raise Undecodable(
                    f"{kind!r} has version {version!r}, and only {present} is known here"
                )
            version += 1
            raw = {**upcaster(raw), "v": version}
        return _decoders[kind].decode(msgspec.json.encode(raw))
    except (msgspec.MsgspecError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise Undecodable(f"{kind!r} cannot be read: {error}") from error
