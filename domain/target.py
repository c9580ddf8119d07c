"""The kind `Target`: one registered engine, such as this host's processes or a Docker daemon."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, TypeAdapter

from domain import addresses
from domain.refusals import BadValue
from domain.schema import SPEC


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerSettings:
    """Where the daemon listens, and how many replicas may start at the same time."""

    __pydantic_config__ = SPEC
    host: Annotated[str, StringConstraints(pattern=r"^(unix|tcp|https?)://\S+$")] = (
        "unix:///var/run/docker.sock"
    )
    parallel_starts: Annotated[int, Field(ge=1, le=64)] = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSettings:
    """Where a simulated engine listens that several processes share; without one each has its own.

    It is for trying things out, and for measuring them.
    """

    __pydantic_config__ = SPEC
    host: Annotated[str, StringConstraints(pattern=r"^unix:///\S+$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpec:
    __pydantic_config__ = SPEC
    engine: Literal["process", "docker", "simulated"]
    docker: DockerSettings | None = None
    simulated: SimulatedSettings | None = None
    description: Annotated[str, StringConstraints(max_length=1000)] = ""


type Place = tuple[str, str]
"""Where a target's replicas are: its engine, and the address of a daemon (or nothing)."""


def place(spec: TargetSpec) -> Place:
    """The place that a spec leads to; what is left in one is never reached through another."""
    if spec.simulated is not None:
        return spec.engine, spec.simulated.host
    if spec.engine != "docker":
        return spec.engine, ""
    return spec.engine, (spec.docker or DockerSettings()).host


SPEC_ADAPTER: TypeAdapter[TargetSpec] = TypeAdapter(TargetSpec)


def check(spec: TargetSpec) -> None:
    """Refuse settings of one engine that are given to another, and hosts that nobody may ask.

    Raises:
        BadValue: names the field and the rule.
    """
    if spec.docker and spec.engine != "docker":
        raise BadValue("spec.docker", "set", f"engine {spec.engine} has no docker settings")
    if spec.simulated and spec.engine != "simulated":
        raise BadValue("spec.simulated", "set", f"engine {spec.engine} has no simulated settings")
    if spec.docker:
        _check_host(spec.docker.host)


def _check_host(url: str) -> None:
    try:
        host = addresses.host_of(url)
    except ValueError as error:
        raise BadValue("spec.docker.host", url, f"it is no URL: {error}") from None
    if addresses.is_closed(host):
        raise BadValue("spec.docker.host", url, addresses.RULE)


def encode(spec: TargetSpec) -> bytes:
    """The canonical JSON of a spec: equal specs give equal bytes."""
    return SPEC_ADAPTER.dump_json(spec, by_alias=True, exclude_none=True)


@lru_cache(maxsize=1024)  # every intent for an app asks for its target's
def decode(data: bytes) -> TargetSpec:
    """Read a stored spec; raises `ValueError` when it is not one."""
    return SPEC_ADAPTER.validate_json(data)
