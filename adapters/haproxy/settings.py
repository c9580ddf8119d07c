"""What the operator decides about HAProxy, and the names of its files."""

from dataclasses import dataclass
from typing import Final, NamedTuple

CONFIGURATION: Final = "haproxy.cfg"
BACKENDS: Final = "backends.cfg"
MAP: Final = "routes.map"
CERTIFICATES: Final = "certificates.list"
STATE: Final = "state.json"
ASKING: Final = "ask.lua"

KEEP_ALIVE_SECONDS: Final = 10
"""How long a client's connection may be idle: as long a worker may live on after a reload, and
then send one more request to the endpoints that it knew."""

IDENTITY_HEADER: Final = "X-Forwarded-User"
CONTEXT_HEADERS: Final = ("x-context",)


class Verify(NamedTuple):
    """Who is asked whether a request's user is known: `GET PATH?auth=soft|hard` at `HOST:PORT`.

    Any 2xx lets it in, with the identity header of the answer, if there is one. A redirect to the
    login, or another refusal (3xx, 4xx), of `hard` goes to the client. It is asked without TLS.
    """

    address: str
    path: str = "/auth/verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class HAProxySettings:
    """What an operator says about the HAProxy of a target.

    Attributes:
        program: a name or path.
        http: addresses to listen on without TLS, each `HOST:PORT`, `:PORT` for all hosts.
        https: addresses to listen on with TLS; the first one's port is where redirects lead to.
        verify: who knows users; None: nobody does.
        identity_header: names the user to apps; what a client sends under it never arrives,
            however it spells it (`_` is `-` to some apps).
        context_headers: that contexts may ask for without a reload, from the beginning.
        user: whom workers of a HAProxy that root started become; empty: nobody else.
    """

    program: str = "haproxy"
    http: tuple[str, ...] = (":80",)
    https: tuple[str, ...] = (":443",)
    verify: Verify | None = None
    identity_header: str = IDENTITY_HEADER
    context_headers: tuple[str, ...] = CONTEXT_HEADERS
    user: str = ""
