"""The kind `Project`: what belongs together, shares a network and has a default target."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from pydantic import StringConstraints, TypeAdapter

from domain.schema import SPEC, Name


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSpec:
    __pydantic_config__ = SPEC
    description: Annotated[str, StringConstraints(max_length=1000)] = ""
    target: Name | None = None


SPEC_ADAPTER: TypeAdapter[ProjectSpec] = TypeAdapter(ProjectSpec)


def encode(spec: ProjectSpec) -> bytes:
    """The canonical JSON of a spec: equal specs give equal bytes."""
    return SPEC_ADAPTER.dump_json(spec, by_alias=True, exclude_none=True)


@lru_cache(maxsize=1024)  # every intent for an app asks for its project's
def decode(data: bytes) -> ProjectSpec:
    """Read a stored spec; raises `ValueError` when it is not one."""
    return SPEC_ADAPTER.validate_json(data)
