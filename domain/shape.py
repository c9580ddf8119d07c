"""The shape of an App: the part of its spec that is outside its template, and where it runs.

Most intents need no more of a stored spec, and reading this costs a tenth of decoding the whole.
A stored spec is the template with the shape behind it, so another shape leaves its bytes alone.
"""

from functools import lru_cache
from typing import Final

import msgspec
from pydantic import TypeAdapter

from domain import route
from domain.app import Rollout
from domain.autoscale import Autoscale

_ROLLOUT: Final[TypeAdapter[Rollout]] = TypeAdapter(Rollout)
_AUTOSCALE: Final[TypeAdapter[Autoscale]] = TypeAdapter(Autoscale)
_SEAM: Final = b',"replicas":'
_TARGET: Final = b'{"target":"'  # what a template begins with


class Shape(msgspec.Struct, gc=False, frozen=True):
    """`rollout`, `autoscale` and `routes` are canonical JSON: equal ones are equal bytes.

    `autoscale` and `routes` are empty where there are none.
    """

    target: str
    replicas: int
    running: bool
    rollout: bytes
    autoscale: bytes = b""
    routes: bytes = b""


class _Stored(msgspec.Struct, gc=False):
    target: str = ""
    replicas: int = 1
    running: bool = True
    rollout: msgspec.Raw = msgspec.Raw(b"{}")
    autoscale: msgspec.Raw = msgspec.Raw()
    routes: msgspec.Raw = msgspec.Raw(b"")


class _Drain(msgspec.Struct):
    drain: str | None = None


class _Ending(msgspec.Struct, rename="camel"):
    stop_grace: str = "10s"
    rollout: _Drain = msgspec.field(default_factory=_Drain)


_decoder = msgspec.json.Decoder(_Stored)
_ending_decoder = msgspec.json.Decoder(_Ending)


def of(stored: bytes) -> Shape:
    """The shape of a stored spec."""
    seam = stored.rfind(_SEAM)
    if seam < 0 or not stored.startswith(_TARGET):
        return _shape(stored)
    target = stored[: stored.index(b'"', len(_TARGET)) + 1]
    return _known_shape(b"%b%b" % (target, stored[seam:]))


def _shape(stored: bytes) -> Shape:
    found = _decoder.decode(stored)
    rollout = rollout_json(_ROLLOUT.validate_json(bytes(found.rollout)))
    autoscale = autoscale_json(_autoscale_of(found.autoscale))
    routes = route.encode(route.decode(bytes(found.routes)))
    return Shape(found.target, found.replicas, found.running, rollout, autoscale, routes)


def _autoscale_of(raw: msgspec.Raw) -> Autoscale | None:
    return _AUTOSCALE.validate_json(data) if (data := bytes(raw)) else None


_known_shape = lru_cache(maxsize=1024)(_shape)


def ending(stored: bytes) -> tuple[str | None, str]:
    """How long replicas of a stored spec drain, if it says so, and may take to stop."""
    found = _ending_decoder.decode(stored)
    return found.rollout.drain, found.stop_grace


def stored(template: bytes, shape: Shape) -> bytes:
    """The canonical JSON of a complete spec: equal specs give equal bytes."""
    return b'%b%b%d,"running":%b,"rollout":%b%b%b}' % (
        template[:-1],
        _SEAM,
        shape.replicas,
        b"true" if shape.running else b"false",
        shape.rollout,
        b',"autoscale":' + shape.autoscale if shape.autoscale else b"",
        b',"routes":' + shape.routes if shape.routes else b"",
    )


def reshaped(spec: bytes, shape: Shape) -> bytes:
    """A stored spec with the same template and another shape. The target is of the template."""
    return stored(spec[: spec.rindex(_SEAM)] + b"}", shape)


def rollout_json(rollout: Rollout) -> bytes:
    return _ROLLOUT.dump_json(rollout, by_alias=True, exclude_none=True)


def autoscale_json(autoscale: Autoscale | None) -> bytes:
    if autoscale is None:
        return b""
    return _AUTOSCALE.dump_json(autoscale, by_alias=True, exclude_none=True)
