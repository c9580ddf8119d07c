"""What the resolvers answer: a file that is replaced whole, and what its names mean.

A pool stands for the shares of rows: `shares` are answered with, each with its part; when none of
them has an endpoint, `fallback` is; and when that has none either, the address of the page that
says so. So neither a rollout nor the end of a context changes anything in Caddy. Nothing but the
standard library is imported here.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from adapters.caddy.dns import packed_ip

DOMAIN = "internal"  # reserved for private use; only our resolvers are ever asked for it

type Shares = tuple[tuple[str, int], ...]
"""Keys of backends, and the weight of each."""


class Place(NamedTuple):
    """An endpoint as it is written down: `host` is an IP address."""

    host: str
    port: int
    weight: int


class Pool(NamedTuple):
    """Where requests go, and where to when nothing is there."""

    shares: Shares
    fallback: Shares


class Target(NamedTuple):
    """What one SRV record says, and how often beside the others."""

    name: str
    port: int
    weight: int


class Snapshot(NamedTuple):
    """Of one router. `page` is the port of this host where the page for 503 is."""

    page: int
    pools: Mapping[str, Pool]
    places: Mapping[str, tuple[Place, ...]]

    def targets(self, name: str) -> list[Target]:
        """What a pool leads to now, with weights as small as they get; never nothing.

        The name of a context's pool ends with that of its base, which answers for one that is gone:
        a request may have found its row a moment before.
        """
        pool = self.pools.get(name) or self.pools.get(_base(name))
        if pool is None:
            return [Target(host_name("127.0.0.1"), self.page, 1)]
        return (
            self._weighed(pool.shares)
            or self._weighed(pool.fallback)
            or [Target(host_name("127.0.0.1"), self.page, 1)]
        )

    def _weighed(self, shares: Shares) -> list[Target]:
        """A backend's part is its own, however many endpoints it has."""
        alive = [
            (weight, found, sum(place.weight for place in found))
            for key, weight in shares
            if weight > 0 and (found := [p for p in self.places.get(key, ()) if p.weight > 0])
        ]
        common = math.lcm(*(total for _, _, total in alive))
        targets = [
            Target(host_name(place.host), place.port, weight * place.weight * common // total)
            for weight, found, total in alive
            for place in found
        ]
        smallest = math.gcd(*(target.weight for target in targets))
        return [target._replace(weight=target.weight // smallest) for target in targets]

    def encode(self) -> bytes:
        pools = {name: [pool.shares, pool.fallback] for name, pool in self.pools.items()}
        written = {"page": self.page, "pools": pools, "places": dict(self.places)}
        return json.dumps(written, separators=(",", ":"), sort_keys=True).encode()

    @classmethod
    def decode(cls, written: bytes) -> "Snapshot":
        read: dict[str, Any] = json.loads(written)
        pools = {
            name: Pool(_shares(shares), _shares(fallback))
            for name, (shares, fallback) in read["pools"].items()
        }
        places = {
            key: tuple(Place(host, port, weight) for host, port, weight in found)
            for key, found in read["places"].items()
        }
        return cls(read["page"], pools, places)


def _shares(read: list[list[Any]]) -> Shares:
    return tuple((key, weight) for key, weight in read)


def _base(name: str) -> str:
    return ".".join(name.split(".")[2:])


def host_name(ip: str) -> str:
    """The name that stands for an IP address, which SRV records cannot name."""
    return f"{packed_ip(ip).hex()}.{DOMAIN}"


def ip_of(name: str) -> str | None:
    """The address that a name stands for; None for a name of another kind."""
    digits, _, domain = name.partition(".")
    if domain != DOMAIN or len(digits) not in (8, 32):
        return None
    try:
        packed = bytes.fromhex(digits)
    except ValueError:
        return None
    if len(packed) == 4:
        return ".".join(str(byte) for byte in packed)
    return ":".join(digits[at : at + 4] for at in range(0, 32, 4))
