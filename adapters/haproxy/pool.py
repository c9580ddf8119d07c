"""The pool of backends that the configuration declares, and which of them serves what.

HAProxy 2.6 makes no backend at run time, so there are some in stock. One backend belongs to a
`Group`: what rows have in common that ask the same apps in the same proportions. A backend that
lost its group is taken again only by a later table, the one that is free the longest first: no
map, running or on disk, may still lead to it.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, Self

import msgspec

from projections.route_table import Row, Share

PLAIN: Final = "b"  # names of backends that speak HTTP/1.1 to replicas start so
H2C: Final = "h"  # and of those that speak HTTP/2 in clear
STOCK: Final = {PLAIN: 32, H2C: 4}
"""Backends of a fresh pool. It doubles when it is full, and never shrinks."""


class Group(NamedTuple):
    shares: tuple[Share, ...]
    fallback: tuple[Share, ...]
    h2c: bool

    @classmethod
    def of(cls, row: Row) -> Self:
        return cls(row.shares, row.fallback, row.h2c)

    @property
    def kind(self) -> str:
        return H2C if self.h2c else PLAIN


class Taken(msgspec.Struct, frozen=True):
    """A backend that serves a group; for the file, which knows no tuples as keys."""

    group: Group
    backend: str


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """Which backend serves which group. `free` starts with what is free the longest."""

    sizes: Mapping[str, int]
    taken: tuple[Taken, ...] = ()
    free: tuple[str, ...] = ()

    @classmethod
    def fresh(cls) -> Self:
        return cls(sizes=dict(STOCK), free=tuple(_names(STOCK)))

    @property
    def backends(self) -> Mapping[Group, str]:
        return {one.group: one.backend for one in self.taken}

    @property
    def names(self) -> tuple[str, ...]:
        """All backends, in the order of the configuration."""
        return tuple(_names(self.sizes))

    def taking(self, groups: Iterable[Group]) -> "Pool":
        """Return a pool in which each of `groups` has a backend; it grows when it must."""
        taken = self.backends
        missing = [group for group in dict.fromkeys(groups) if group not in taken]
        free, sizes = list(self.free), dict(self.sizes)
        added = []
        for group in missing:
            at = next((at for at, name in enumerate(free) if name[0] == group.kind), None)
            if at is None:
                size = sizes[group.kind]
                sizes[group.kind] = size * 2
                free += [f"{group.kind}{number}" for number in range(size + 1, size * 2 + 1)]
                at = next(at for at, name in enumerate(free) if name[0] == group.kind)
            added.append(Taken(group, free.pop(at)))
        return Pool(sizes=sizes, taken=(*self.taken, *added), free=tuple(free))

    def keeping(self, groups: Iterable[Group]) -> "Pool":
        """Return a pool in which only `groups` have backends."""
        kept = frozenset(groups)
        dropped = tuple(one.backend for one in self.taken if one.group not in kept)
        taken = tuple(one for one in self.taken if one.group in kept)
        return Pool(sizes=self.sizes, taken=taken, free=(*self.free, *dropped))


def _names(sizes: Mapping[str, int]) -> Iterable[str]:
    return (f"{kind}{number}" for kind, size in sizes.items() for number in range(1, size + 1))
