"""What a registry wants to be shown before it answers. Pure.

Source: https://distribution.github.io/distribution/spec/auth/token/, and RFC 9110 section 11.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from domain.addresses import is_closed, is_loopback

_SCHEME: Final = re.compile(r"\s*([A-Za-z]+)(?:\s+|$)")
_PARAMETER: Final = re.compile(r'\s*([a-z_]+)=(?:"([^"]*)"|([^",\s]+))\s*,?')


class Challenge(NamedTuple):
    """`scheme` in lower case, and what it says of itself."""

    scheme: str
    parameters: Mapping[str, str]

    @property
    def realm(self) -> str:
        return self.parameters.get("realm", "")

    def asked(self, scope: str) -> dict[str, str]:
        """What a token has to be for; a registry that does not say wants that of an image."""
        service = self.parameters.get("service", "")
        named = {"scope": self.parameters.get("scope") or scope}
        return named | ({"service": service} if service else {})


def challenges(headers: Sequence[str]) -> list[Challenge]:
    """What the headers `WWW-Authenticate` ask for, one each."""
    found = []
    for header in headers:
        if (begins := _SCHEME.match(header)) is None:
            continue
        told = _PARAMETER.finditer(header, begins.end())
        parameters = {one[1]: one[2] if one[2] is not None else one[3] for one in told}
        found.append(Challenge(begins[1].lower(), parameters))
    return found


def may_ask(url: str) -> bool:
    """Whether credentials may be sent there: by HTTPS, or on this host, and nowhere closed."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if not host or is_closed(host):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
