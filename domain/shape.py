"""The shape of an App: the part of its spec that is outside its template, and where it runs.

Most intents need no more of a stored spec, and reading this costs a tenth of decoding the whole.
A stored spec is the template with the shape behind it, so another shape leaves its bytes alone.
"""

from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
from pydantic import TypeAdapter

from domain.app import Rollout

_ROLLOUT: Final[TypeAdapter[Rollout]] = TypeAdapter(Rollout)
_SEAM: Final = b',"replicas":'


class Shape(NamedTuple):
    target: str
    replicas: int
    running: bool
    rollout: Rollout


class _Stored(msgspec.Struct):
    target: str = ""
    replicas: int = 1
    running: bool = True
    rollout: msgspec.Raw = msgspec.Raw(b"{}")


class _Ending(msgspec.Struct, rename="camel"):
    stop_grace: str = "10s"


_decoder = msgspec.json.Decoder(_Stored)
_ending_decoder = msgspec.json.Decoder(_Ending)


def of(stored: bytes) -> Shape:
    """The shape of a stored spec."""
    found = _decoder.decode(stored)
    return Shape(found.target, found.replicas, found.running, _rollout(bytes(found.rollout)))


def stop_grace(stored: bytes) -> str:
    """How long replicas of a stored spec may take to stop: of its template, read on its own."""
    return _ending_decoder.decode(stored).stop_grace


def stored(template: bytes, shape: Shape) -> bytes:
    """The canonical JSON of a complete spec: equal specs give equal bytes."""
    return b'%b%b%d,"running":%b,"rollout":%b}' % (
        template[:-1],
        _SEAM,
        shape.replicas,
        b"true" if shape.running else b"false",
        _rollout_json(shape.rollout),
    )


def reshaped(spec: bytes, shape: Shape) -> bytes:
    """A stored spec with the same template and another shape. The target is of the template."""
    return stored(spec[: spec.rindex(_SEAM)] + b"}", shape)


@lru_cache(maxsize=1024)
def _rollout(data: bytes) -> Rollout:
    return _ROLLOUT.validate_json(data)


@lru_cache(maxsize=1024)
def _rollout_json(rollout: Rollout) -> bytes:
    return _ROLLOUT.dump_json(rollout, by_alias=True, exclude_none=True)
