"""Claims: what only one app may have, such as a URL or a port of a host.

All claims of a host are one stream, and all ports of a target: who takes one does so on condition
that nobody took any there meanwhile, so of two who want the same, one is told who has it. A claim
is written as `https://shop.example.org/api x-feature: blue` or `tcp/5432`.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

from domain.names import target as target_ref
from domain.route import Publish, Route


def host_stream(host: str) -> str:
    return f"Host/{host}#claims"


def ports_stream(target: str) -> str:
    return f"{target_ref(target).stream}#claims"


class Url(NamedTuple):
    """What a route claims. `context` is `name: value` of a header, or empty."""

    scheme: str
    host: str
    path: str
    context: str = ""

    def __str__(self) -> str:
        url = f"{self.scheme}://{self.host}{self.path}"
        return f"{url} {self.context}" if self.context else url

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote; neither scheme, host nor path holds a space."""
        url, _, context = text.partition(" ")
        scheme, _, rest = url.partition("://")
        host, _, path = rest.partition("/")
        return cls(scheme, host, f"/{path}", context)

    def overlaps(self, other: "Url") -> bool:
        """Whether some request could mean both, if it were not for contexts."""
        if (self.scheme, self.host) != (other.scheme, other.host):
            return False
        return covers(self.path, other.path) or covers(other.path, self.path)


def covers(path: str, below: str) -> bool:
    """Whether a path is another or above it: `/api` covers `/api/x`, not `/apix`."""
    return path in ("/", below) or below.startswith(f"{path}/")


class Claim(NamedTuple):
    """A claim, the stream that it is kept in, and the field that asks for it."""

    stream: str
    text: str
    field: str


def wanted(target: str, routes: Sequence[Route], publish: Sequence[Publish]) -> list[Claim]:
    """What an app on a target has to hold."""
    found: list[Claim] = []
    for index, route in enumerate(routes):
        stream = host_stream(route.host)
        found += [Claim(stream, str(url), f"spec.routes[{index}]") for url in urls(route)]
    for index, one in enumerate(publish):
        text = f"{one.protocol}/{one.host_port}"
        found.append(Claim(ports_stream(target), text, f"spec.publish[{index}].hostPort"))
    return found


def urls(route: Route) -> Iterator[Url]:
    """Every URL of a route: one for each scheme and context."""
    contexts = [f"{one.header}: {one.value}" for one in route.contexts] or [""]
    for scheme in schemes(route):
        for context in contexts:
            yield Url(scheme, route.host, route.path, context)


def schemes(route: Route) -> tuple[str, ...]:
    if route.tls.mode == "off":
        return ("http",)
    return ("https", "http") if route.tls.redirect else ("https",)


def is_port(text: str) -> bool:
    """Whether a claim is that of a port."""
    return "://" not in text
