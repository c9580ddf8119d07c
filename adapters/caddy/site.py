"""What Caddy is told beside the routes: where it listens, who issues certificates, who knows users.

All of it is the operator's; rendering reads nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

type Version = tuple[int, int, int]

IDENTITY_HEADER = "X-Forwarded-User"
CONTEXT_HEADERS = ("x-context",)


class Acme(NamedTuple):
    """An issuer of certificates. `roots` are PEM files to trust it by; empty: the system's.

    `challenges` are the ways in which hosts are proven to it: `http`, `tls-alpn`.
    """

    directory: str = "https://acme-v02.api.letsencrypt.org/directory"
    email: str = ""
    roots: tuple[str, ...] = ()
    challenges: tuple[str, ...] = ("http", "tls-alpn")


class Verify(NamedTuple):
    """Who is asked whether a request's user is known: `GET PATH?auth=soft|hard` at `HOST:PORT`.

    Any 2xx lets it in, with the identity header of the answer, if there is one. What else it
    answers to `hard` goes to the client: a redirect to the login, say.
    """

    address: str
    path: str = "/auth/verify"
    host: str = ""  # that it is asked for, where that is not the address
    is_secure: bool = False


def verify_at(url: str) -> Verify:
    """Who answers at a URL that has a host, and no query."""
    parts = urlsplit(url)
    is_secure = parts.scheme == "https"
    port = parts.port or (443 if is_secure else 80)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return Verify(f"{host}:{port}", parts.path or "/", parts.netloc, is_secure)


class CertificateFiles(NamedTuple):
    """Paths of PEM files: a chain that begins with the certificate, and its key."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One Caddy.

    Attributes:
        http: where it listens without TLS, each `HOST:PORT` or `:PORT`.
        https: where it does with; the first one's port is where redirects lead to.
        inner_port: of loopback: UDP, the resolvers; TCP, the page that nothing serves.
        admin: the path of its socket, from where it runs.
        storage: the directory of its certificates.
        refresh: seconds until it asks the resolvers again.
        drain: seconds that WebSockets have left after a change of routes, where Caddy can wait.
        acme: who issues certificates of rows with `auto`.
        certificates: files by the stream of the Secret that they came from.
        contexts: the directory of files that say which contexts there are.
        context_headers: that are looked for in every request.
        verify: who knows users where a row names nobody; None: nobody does.
        identity_header: names the user to apps; what a client sends under it never arrives.
        version: of the program.
    """

    http: tuple[str, ...]
    https: tuple[str, ...] = ()
    inner_port: int
    admin: str
    storage: str
    contexts: str
    refresh: float = 0.25
    drain: float = 30.0
    acme: Acme = field(default_factory=Acme)
    certificates: Mapping[str, CertificateFiles] = field(default_factory=dict)
    verify: Verify | None = None
    identity_header: str = IDENTITY_HEADER
    context_headers: tuple[str, ...] = ()
    version: Version = (2, 6, 2)

    @property
    def closes_streams_late(self) -> bool:
        """Whether WebSockets may outlive a change of routes: an older Caddy refuses the field."""
        return self.version >= (2, 7, 0)


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])
