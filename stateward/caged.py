"""Caddy as a container of a Docker target: where this host has no such program."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from adapters.caddy.programs import Caged, Contained, Container
from adapters.docker.standing import ContainerOrder, StandingContainer
from domain.target import DockerSettings, TargetSpec

_MARK: Final = "container"  # a file that says that there may be one


def container(root: Path, target: str, spec: TargetSpec, image: str) -> Container:
    """The container of one target's Caddy; its name is of this data directory and target."""
    host = (spec.docker or DockerSettings()).host
    owner = hashlib.sha256(str(root).encode()).hexdigest()[:8]

    def made(caged: Caged, began: Callable[[], None]) -> Contained:
        order = ContainerOrder(image, caged.argv, caged.env, caged.directory, caged.listens)
        return StandingContainer(host, f"stateward-router-{owner}-{target}", order, began)

    return made


def may_be(spec: TargetSpec) -> str:
    """The image that the operator named; empty if no container of it can serve this host."""
    is_here = (spec.docker or DockerSettings()).host.startswith("unix://")
    named = spec.routing.image if spec.routing is not None else None
    return named if named and spec.engine == "docker" and is_here else ""


def remember(root: Path, target: str, image: str) -> None:
    folder = root / target
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / _MARK).write_text(image)


def remembered(root: Path, target: str) -> str:
    """The image of the container that may run; empty if there is none."""
    try:
        return (root / target / _MARK).read_text()
    except FileNotFoundError:
        return ""


def forget(root: Path, target: str) -> None:
    (root / target / _MARK).unlink(missing_ok=True)
