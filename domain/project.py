"""The kind `Project`: what belongs together, shares a network and has a default target."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import StringConstraints, TypeAdapter

from domain.schema import SPEC, Name


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSpec:
    __pydantic_config__ = SPEC
    description: Annotated[str, StringConstraints(max_length=1000)] = ""
    target: Name | None = None


SPEC_ADAPTER: TypeAdapter[ProjectSpec] = TypeAdapter(ProjectSpec)
