"""What a project has on this host besides its replicas: a mark, and the volumes of its apps.

Volumes are directories, DATA/volumes/PROJECT/APP/VOLUME/SLOT; a program finds one by the variable
`VOLUME_<NAME>`, since a process has no mounts of its own. Their size is not limited.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final, override

from adapters.keeping.files import folders
from domain.secret import SecretText
from reconcilers.ports import Grounds, Images, ImageUnavailable, StartReplica


@final
class ProcessGrounds(Grounds):
    """The grounds of one installation; its mark in a project's folder makes it its own."""

    def __init__(self, data: Path, installation: str) -> None:
        self._replicas = data / "replicas"
        self._volumes = data / "volumes"
        self._mark = f".{installation}"

    @override
    async def prepare(self, project: str) -> None:
        await asyncio.to_thread(self._prepare, self._replicas / project)

    def _prepare(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self._mark).touch()

    @override
    async def clear(self, project: str) -> None:
        await asyncio.to_thread(self._clear, self._replicas / project)

    def _clear(self, folder: Path) -> None:
        (folder / self._mark).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # Not there, or not empty: somebody else's.
            folder.rmdir()

    @override
    async def projects(self) -> Sequence[str]:
        return await asyncio.to_thread(self._marked)

    def _marked(self) -> list[str]:
        found = map(Path, folders(str(self._replicas)))
        return sorted(path.name for path in found if (path / self._mark).exists())

    @override
    async def remove_volumes(self, project: str, app: str) -> None:
        await asyncio.to_thread(self._remove, self._volumes / project / app)

    def _remove(self, folder: Path) -> None:
        if folder.exists():
            shutil.rmtree(folder)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()

    def volumes(self, order: StartReplica) -> dict[str, str]:
        """Make the volumes of a replica when missing; the variables that lead to them."""
        name = order.name
        paths: dict[str, str] = {}
        for volume in order.volumes:
            slot = "app" if volume.scope == "app" else str(name.slot)
            path = self._volumes / name.project / name.app / volume.name / slot
            path.mkdir(parents=True, exist_ok=True)
            paths[variable("VOLUME", volume.name)] = str(path)
        return paths


@final
class ProcessImages(Images):
    """There are none: a process runs what is installed on the host."""

    @override
    async def resolve(
        self, image: str, *, policy: str, credentials: Mapping[str, SecretText] | None
    ) -> str:
        raise ImageUnavailable(
            f"a process target runs commands of its host, not images; remove image {image!r} "
            "from the spec and give a command, or choose a Docker target"
        )


def variable(prefix: str, name: str) -> str:
    """The variable about a named thing: `PORT_MY_ADMIN` for port `my-admin`."""
    return f"{prefix}_{name.upper().replace('-', '_')}"
