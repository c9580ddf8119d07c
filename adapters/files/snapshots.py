"""Snapshots of projections: caches in files, worth nothing when there is any doubt.

A snapshot carries the position and the seal it was taken at, so that one of another history is
recognised. A damaged or unfinished file is as good as none.
"""

import re
from collections.abc import Iterator
from hashlib import sha256
from mmap import ACCESS_READ, mmap
from os import fstat
from pathlib import Path
from struct import Struct
from typing import NamedTuple, final

from adapters.files.durable import replace_file

KEPT = 2  # the newest, and the one before it in case the newest is damaged

_HEADER = Struct(">8sQ32s32s")  # magic, position, seal, checksum over what follows and these
_MAGIC = b"SWSNAP01"
_NAME = re.compile(r"(?P<name>.+)-(?P<position>\d+)\.snap")


class Snapshot(NamedTuple):
    """`data` lies in the file, which may be replaced, but is never changed."""

    name: str
    position: int
    seal: bytes
    data: bytes | memoryview
    checksum: bytes

    def is_whole(self) -> bool:
        """Whether it is as it was saved; takes as long as reading it."""
        return self.checksum == _checksum(self.name, self.position, self.seal, self.data)


@final
class Snapshots:
    """Blocking: call it in a thread where data is large."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, name: str, position: int, seal: bytes, data: bytes) -> None:
        """Keep a snapshot and the one before it; later ones are of a history that is gone.

        Raises:
            OSError: it could not be written; what was there is still there.
        """
        self._directory.mkdir(mode=0o700, exist_ok=True)
        header = _HEADER.pack(_MAGIC, position, seal, _checksum(name, position, seal, data))
        replace_file(self._path(name, position), header + data)
        found = self._positions(name)
        older = [at for at in found if at <= position]
        for at in set(found).difference(older[-KEPT:]):
            self._path(name, at).unlink(missing_ok=True)

    def load(self, name: str) -> Snapshot | None:
        """Return the newest snapshot that is whole, or None."""
        return next((found for found in self.found(name) if found.is_whole()), None)

    def found(self, name: str) -> Iterator[Snapshot]:
        """Yield what looks like a snapshot, newest first: whether it is whole is to be asked."""
        for position in reversed(self._positions(name)):
            snapshot = self._read(name, position)
            if snapshot is not None:
                yield snapshot

    def _read(self, name: str, position: int) -> Snapshot | None:
        try:
            with self._path(name, position).open("rb") as file:
                if fstat(file.fileno()).st_size < _HEADER.size:
                    return None
                content = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))
        except OSError:
            return None
        magic, at, seal, checksum = _HEADER.unpack_from(content)
        data = content[_HEADER.size :]
        if magic != _MAGIC or at != position:
            return None
        return Snapshot(name, at, seal, data, checksum)

    def _positions(self, name: str) -> list[int]:
        """The positions of which there is a file, oldest first."""
        if not self._directory.is_dir():
            return []
        matches = (_NAME.fullmatch(path.name) for path in self._directory.iterdir())
        return sorted(int(m["position"]) for m in matches if m is not None and m["name"] == name)

    def _path(self, name: str, position: int) -> Path:
        return self._directory / f"{name}-{position}.snap"


def _checksum(name: str, position: int, seal: bytes, data: bytes | memoryview) -> bytes:
    checksum = sha256(f"{name} {position} ".encode() + seal)
    checksum.update(data)
    return checksum.digest()
