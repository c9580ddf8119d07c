"""Which version each stream is at, for the streams used lately.

Two generations of a plain dict: what is used moves to the young one, and when that is full the
old one is forgotten. A lookup costs one or two dict accesses, and memory stays bounded.
"""

from collections.abc import Mapping
from typing import final


@final
class Versions:
    def __init__(self, size: int = 100_000) -> None:
        self._size = size
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def get(self, stream: str) -> int | None:
        """The stream's version, or None when it is not known here."""
        version = self._young.get(stream)
        if version is None:
            version = self._old.get(stream)
            if version is not None:
                self.put({stream: version})
        return version

    def put(self, versions: Mapping[str, int]) -> None:
        self._young.update(versions)
        if len(self._young) > self._size:
            self._old, self._young = self._young, {}

    def clear(self) -> None:
        self._young, self._old = {}, {}
