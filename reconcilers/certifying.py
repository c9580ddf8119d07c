"""Certificates: which ones a router shows for the hosts of its table, and until when.

Routers get and renew them by themselves; what they show is looked at, so that an end that comes
near and a request that fails are said while there is time.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, final

from projections.route_table import RouteTable, Row
from reconcilers.router_ports import Certified, Router
from reconcilers.status import Condition

LOOK: Final = 60.0  # seconds between two looks at one host
PACE: Final = 0.5  # the same of many hosts: so long for each
FIRST: Final = 0.25  # seconds until a host without a certificate is looked at again, then twice it
AT_ONCE: Final = 64  # hosts in one look
NEAR: Final = 14 * 86400.0  # seconds before an end, at most, from which it is said to be near
NEAR_PART: Final = 6  # of its life; routers renew what they get at a third

type Reason = tuple[str, str]


@final
class Certifying:
    """What one router shows. `hosts` are those of its table, `now` is seconds since the epoch.

    `changed` is told of hosts of which something else is to be said, if only for the time.
    """

    def __init__(
        self,
        hosts: Callable[[], Iterable[str]],
        clock: Callable[[], float],
        now: Callable[[], float],
        changed: Callable[[frozenset[str]], None],
    ) -> None:
        self._hosts, self._clock, self._now, self._changed = hosts, clock, now, changed
        self._told: dict[str, tuple[Certified, str]] = {}
        self._due: dict[str, float] = {}
        self._without: dict[str, int] = {}
        self._moved = asyncio.Event()
        self.shown: dict[str, Certified] = {}

    def look(self, hosts: Iterable[str]) -> None:
        """These may have another certificate by now."""
        for host in hosts:
            self._due[host] = 0.0
        self._moved.set()

    async def run(self, router: Router) -> None:
        """Look again and again, for ever."""
        while True:
            self._moved.clear()
            present = dict.fromkeys(self._hosts())
            for gone in self.shown.keys() - present:
                del self.shown[gone]
                self._told.pop(gone, None)
            self._due = {host: self._due.get(host, 0.0) for host in present}
            now = self._clock()
            due = sorted((at, host) for host, at in self._due.items() if at <= now)[:AT_ONCE]
            if due:
                await self._ask(router, [host for _, host in due])
                await asyncio.sleep(FIRST)
                continue
            await self._pause(min(self._due.values(), default=now + LOOK) - now)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._moved.wait()
        except TimeoutError:
            return

    async def _ask(self, router: Router, hosts: list[str]) -> None:
        found = await router.certified(hosts)
        now = self._clock()
        later = now + max(LOOK, PACE * len(self._due))
        for host in hosts:
            one = found.get(host)
            self._due[host] = later
            if one is None or one.not_after:
                self._without.pop(host, None)
            else:
                tries = self._without[host] = self._without.get(host, 0) + 1
                self._due[host] = min(later, now + FIRST * 2.0 ** min(tries, 10))
        self.shown |= found
        told = {host: (one, _standing(one, self._now())) for host, one in found.items()}
        news = frozenset(host for host, one in told.items() if self._told.get(host) != one)
        self._told |= told
        if news:
            self._changed(news)


def hosts(table: RouteTable) -> dict[str, str]:
    """Those that are asked for over TLS."""
    return hosts_of(table.rows)


def hosts_of(rows: Iterable[Row]) -> dict[str, str]:
    """The Secret that each host's certificate comes from; empty where the router has it made."""
    found: dict[str, str] = {}
    for row in rows:
        if row.scheme == "https" and row.tls is not None:
            found.setdefault(row.host, row.tls.secret)
    return found


def lacking(rows: Iterable[Row], shown: Mapping[str, Certified]) -> Reason | None:
    """Why nobody can connect to one of the hosts, if there is one without a certificate."""
    for host, secret in hosts_of(rows).items():
        found = shown.get(host)
        if found is None or found.not_after:
            continue
        if secret:
            why = found.trouble or f"{secret} has none for it that has come to the router"
            return "CertificateFailed", f"{host} has no certificate, so nobody can connect: {why}"
        if not found.trouble:
            return "CertificatePending", f"{host} has no certificate yet; it is being asked for"
        return "CertificateFailed", (
            f"{host} has no certificate, so nobody can connect to it; it is asked for again and "
            f"again, and the last request failed: {found.trouble}"
        )
    return None


def condition(rows: Iterable[Row], shown: Mapping[str, Certified], now: float) -> Condition | None:
    """Whether all hosts have a certificate that goes on for a while; None if that is not known."""
    known = {host: shown[host] for host in hosts_of(rows) if host in shown}
    if not known:
        return None
    if (reason := lacking(rows, shown)) is not None:
        return Condition(type="Certified", status="False", reason=reason[0], message=reason[1])
    host, first = min(
        known.items(), key=lambda one: (_ORDER[_standing(one[1], now)], one[1].not_after)
    )
    standing, end = _standing(first, now), f"at {_time(first.not_after)}"
    if standing == "Certified":
        which = f"that of {host} is the first to end" if len(known) > 1 else "it ends"
        message = f"hosts with a certificate: {len(known)}; {which}, {end}"
        for name, secret in hosts_of(rows).items():
            if secret and name in known and known[name].trouble:
                message += f"; {name} goes on with the one before: {known[name].trouble}"
        return Condition(type="Certified", status="True", reason=standing, message=message)
    ends = "ended" if standing == "CertificateExpired" else "ends"
    message = f"the certificate of {host} {ends} {end}"
    if first.trouble:
        message += f"; a newer one was asked for, and refused: {first.trouble}"
    return Condition(type="Certified", status="False", reason=standing, message=message)


_ORDER: Final = {"CertificateExpired": 0, "CertificateExpiring": 1, "Certified": 2}


def _standing(found: Certified, now: float) -> str:
    left = found.not_after - now
    if left <= 0:
        return "CertificateExpired"
    near = min(NEAR, (found.not_after - found.not_before) / NEAR_PART)
    return "CertificateExpiring" if left < near else "Certified"


def ends(rows: Iterable[Row], shown: Mapping[str, Certified]) -> dict[str, float]:
    """When the certificate of each host ends, in seconds since the epoch."""
    return {
        host: shown[host].not_after
        for host in sorted(hosts_of(rows))
        if host in shown and shown[host].not_after
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="minutes")
