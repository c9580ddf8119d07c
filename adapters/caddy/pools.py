"""From routes and replicas to what the resolvers are told: pools by name, and places by backend."""

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from adapters.caddy.snapshot import DOMAIN, Place, Pool
from projections.route_table import Backend, Endpoints, Row, Share

_HEX: Final = 16


def key(backend: Backend) -> str:
    """What a backend is called in a snapshot."""
    return f"{backend.app} {backend.uid} {backend.port}"


def pool(row: Row) -> Pool:
    return Pool(_shares(row.shares), _shares(row.fallback))


@lru_cache(maxsize=16_384)  # asked for again with every change of any route
def name(found: Pool) -> str:
    """Equal pools have one name, and so one question; a name never changes its meaning."""
    digest = hashlib.sha256(msgspec.json.encode(found)).hexdigest()
    return f"p{digest[:_HEX]}.{DOMAIN}"


def pools(rows: Iterable[Row]) -> dict[str, Pool]:
    """The pools of all rows that lead somewhere, by name."""
    found = (pool(row) for row in rows if not row.redirect)
    return {name(one): one for one in found}


def places(endpoints: Endpoints, address_of: Mapping[str, str]) -> dict[str, tuple[Place, ...]]:
    """The endpoints by their backend's key.

    Args:
        endpoints: as published.
        address_of: the IP address of each host that is named; one without is left out.
    """
    return {
        key(backend): tuple(
            Place(address_of[one.host], one.number, one.weight)
            for one in found
            if one.host in address_of
        )
        for backend, found in endpoints.items()
    }


def _shares(shares: tuple[Share, ...]) -> tuple[tuple[str, int], ...]:
    return tuple((key(share.backend), share.weight) for share in shares)
