"""Caddy as a container of a Docker target: where this host has no such program."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from adapters.caddy.programs import Caged, Contained, Container
from adapters.docker.standing import ContainerOrder, StandingContainer
from domain.target import DockerSettings, TargetSpec

_MARK: Final = "container"  # a file that says that there may be one


def host(spec: TargetSpec) -> str:
    """The daemon of a target."""
    return (spec.docker or DockerSettings()).host


def container(root: Path, target: str, host: str, image: str) -> Container:
    """The container of one target's Caddy; its name is of this data directory and target."""
    owner = hashlib.sha256(str(root).encode()).hexdigest()[:8]

    def made(caged: Caged, began: Callable[[], None]) -> Contained:
        order = ContainerOrder(image, caged.argv, caged.env, caged.directory, caged.listens)
        return StandingContainer(host, f"stateward-router-{owner}-{target}", order, began)

    return made


def may_be(spec: TargetSpec) -> str:
    """The image that the operator named; empty if no container of it can serve this host."""
    is_here = host(spec).startswith("unix://")
    named = spec.routing.image if spec.routing is not None else None
    return named if named and spec.engine == "docker" and is_here else ""


def remember(root: Path, target: str, spec: TargetSpec, image: str) -> None:
    folder = root / target
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / _MARK).write_text(f"{image}\n{host(spec)}")


def remembered(root: Path, target: str) -> str:
    """The image of the container that may run; empty if there is none."""
    return _marked(root, target)[0]


def host_of(root: Path, target: str) -> str:
    """The daemon that it may run on, also when its target is gone; empty if nobody knows."""
    return _marked(root, target)[1]


def _marked(root: Path, target: str) -> tuple[str, str]:
    try:
        image, _, host = (root / target / _MARK).read_text().partition("\n")
    except FileNotFoundError:
        return "", ""
    return image, host


def forget(root: Path, target: str) -> None:
    (root / target / _MARK).unlink(missing_ok=True)
