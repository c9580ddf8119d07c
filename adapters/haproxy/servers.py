"""Endpoints in the server slots of backends: which, and the commands that bring them there; pure.

A slot keeps its endpoint as long as that lives, so a change touches only what changes. A backend
gets slots as it needs them, and keeps them. Commands add before they take away: at no moment has a
backend less than it had or gets.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import zip_longest
from math import gcd, lcm
from typing import Final, NamedTuple

from adapters.haproxy.config import laid_out
from adapters.haproxy.pool import H2C, Group
from projections.route_table import Endpoint, Endpoints, Share

HEAVIEST: Final = 256  # the greatest weight of a server
SPARE: Final = 4  # slots of a backend from the beginning
_IN_MAINTENANCE: Final = 0x01  # of `srv_admin_state`: somebody said so at run time
_NOWHERE: Final = "0.0.0.0:80"  # where a slot without endpoint leads: it is disabled


class Server(NamedTuple):
    host: str
    number: int
    weight: int

    @property
    def address(self) -> str:
        return f"{self.host}:{self.number}"


class InUse(NamedTuple):
    """How many connections to a slot's server, be it the present or the last one, are in use."""

    backend: str
    slot: int
    endpoint: Endpoint
    connections: int


type Slots = tuple[Server | None, ...]
"""What the servers `s1`, `s2`, ... of a backend lead to; None: nowhere."""

EMPTY: Final[Slots] = (None,) * SPARE


def servers_of(group: Group, endpoints: Endpoints) -> tuple[Server, ...]:
    """Return where requests of a group go: its shares, or its fallback if these have nothing."""
    return _weighed(group.shares, endpoints) or _weighed(group.fallback, endpoints)


def _weighed(shares: Iterable[Share], endpoints: Endpoints) -> tuple[Server, ...]:
    """Divide each share among its endpoints, and bring all to whole numbers up to `HEAVIEST`."""
    parts: dict[Endpoint, Fraction] = {}
    for share in shares:
        healthy = endpoints.get(share.backend, ())
        total = sum(endpoint.weight for endpoint in healthy)
        for endpoint in healthy:
            if part := Fraction(share.weight * endpoint.weight, total or 1):
                place = endpoint._replace(weight=1)
                parts[place] = parts.get(place, Fraction()) + part
    if not parts:
        return ()
    scale = lcm(*(part.denominator for part in parts.values()))
    whole = [int(part * scale) for part in parts.values()]
    common = gcd(*whole)
    heaviest = max(whole) // common
    return tuple(
        Server(place.host, place.number, _weight(number // common, heaviest))
        for place, number in zip(parts, whole, strict=True)
    )


def _weight(number: int, heaviest: int) -> int:
    return number if heaviest <= HEAVIEST else max(1, round(number * HEAVIEST / heaviest))


def slots_with(slots: Slots, servers: Iterable[Server], held: Container[int] = ()) -> Slots:
    """Return slots that lead to `servers`, each where it was if it was there.

    A slot that becomes free is not taken at once: its server goes when the new one is there. Nor
    are those at the indexes `held`, whose former server has something in hand: it would be the new
    one's in all counts.
    """
    coming = {server.address: server for server in servers}
    after = [server and coming.pop(server.address, None) for server in slots]
    free = [at for at, server in enumerate(slots) if server is None and at not in held]
    for at, server in zip_longest(free[: len(coming)], coming.values()):
        if at is None:
            after.append(server)
        else:
            after[at] = server
    return tuple(after)


def commands(backend: str, before: Slots, after: Slots) -> Iterator[str]:
    """Yield what turns `before` into `after`."""
    known = {server.address for server in before if server}
    for at, server in enumerate(after):
        old = before[at] if at < len(before) else None
        if server is not None and server.address not in known:
            yield from _placed(f"{backend}/s{at + 1}", server, is_new=at >= len(before))
        elif server is not None and old is not None and server.weight != old.weight:
            yield f"set server {backend}/s{at + 1} weight {server.weight}"
    for at, old in enumerate(before):
        if old is not None and after[at] is None:
            yield f"set server {backend}/s{at + 1} state maint"


def _placed(name: str, server: Server, *, is_new: bool) -> Iterator[str]:
    if is_new:
        protocol = " proto h2" if name.startswith(H2C) else ""
        yield f"add server {name} {_bracketed(server)} weight {server.weight}{protocol}"
        yield f"enable server {name}"
        return
    yield f"set server {name} addr {server.host} port {server.number}"
    yield f"set server {name} weight {server.weight}"
    yield f"set server {name} state ready"


def configured(slots: Mapping[str, Slots]) -> str:
    """Return the part of the configuration that declares all backends, as they are now."""
    return laid_out({f"backend {name}": _lines(name, each) for name, each in slots.items()})


def _lines(backend: str, slots: Slots) -> Iterator[str]:
    protocol = " proto h2" if backend.startswith(H2C) else ""
    for at, server in enumerate(slots):
        if server is None:
            yield f"server s{at + 1} {_NOWHERE}{protocol} disabled"
        else:
            yield f"server s{at + 1} {_bracketed(server)} weight {server.weight}{protocol}"


def _bracketed(server: Server) -> str:
    return f"[{server.host}]:{server.number}" if ":" in server.host else server.address


def in_use(listing: str) -> Iterator[InUse]:
    """Read the answer to `show servers conn`."""
    for line in listing.splitlines():
        words = line.split()
        backend, _, server = words[0].partition("/") if words else ("", "", "")
        if len(words) > 6 and server[:1] == "s" and server[1:].isdigit():
            place = Endpoint(words[2], int(words[3]))
            yield InUse(backend, int(server[1:]) - 1, place, int(words[6]))


def observed(listing: str) -> dict[str, Slots]:
    """Read the answer to `show servers state`."""
    found: dict[str, dict[int, Server | None]] = {}
    for line in listing.splitlines():
        words = line.split()
        if len(words) < 19 or words[0] == "#" or not words[3][1:].isdigit():
            continue
        server = Server(words[4], int(words[18]), int(words[7]))
        is_away = int(words[6]) & _IN_MAINTENANCE or words[5] == "0"
        found.setdefault(words[1], {})[int(words[3][1:])] = None if is_away else server
    return {
        name: tuple(by_number.get(at + 1) for at in range(max(by_number)))
        for name, by_number in found.items()
    }
