"""What the operator decides about HAProxy, and the names of its files."""

from dataclasses import dataclass
from typing import Final

CONFIGURATION: Final = "haproxy.cfg"
BACKENDS: Final = "backends.cfg"
MAP: Final = "routes.map"
CERTIFICATES: Final = "certificates.list"
STATE: Final = "state.json"

KEEP_ALIVE_SECONDS: Final = 10
"""How long a client's connection may be idle: as long a worker may live on after a reload, and
then send one more request to the endpoints that it knew."""

IDENTITY_HEADER: Final = "x-forwarded-user"
CONTEXT_HEADERS: Final = ("x-context",)


@dataclass(frozen=True, slots=True, kw_only=True)
class HAProxySettings:
    """What an operator says about the HAProxy of a target.

    Attributes:
        program: a name or path.
        http: addresses to listen on without TLS, each `HOST:PORT`, `:PORT` for all hosts.
        https: addresses to listen on with TLS; the first one's port is where redirects lead to.
        withheld: headers that a client may never send to an app, however it spells them
            (`_` is `-` to some apps).
        context_headers: that contexts may ask for without a reload, from the beginning.
        user: whom workers of a HAProxy that root started become; empty: nobody else.
    """

    program: str = "haproxy"
    http: tuple[str, ...] = (":80",)
    https: tuple[str, ...] = (":443",)
    withheld: tuple[str, ...] = (IDENTITY_HEADER,)
    context_headers: tuple[str, ...] = CONTEXT_HEADERS
    user: str = ""
