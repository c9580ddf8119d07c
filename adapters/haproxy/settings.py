"""What the operator decides about HAProxy, and the names of its files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

CONFIGURATION: Final = "haproxy.cfg"
BACKENDS: Final = "backends.cfg"
MAP: Final = "routes.map"
CERTIFICATES: Final = "certificates.list"
STATE: Final = "state.json"
PID: Final = "haproxy.pid"

KEEP_ALIVE_SECONDS: Final = 10
"""How long a client's connection may be idle: as long a worker may live on after a reload, and
then send one more request to the endpoints that it knew."""

IDENTITY_HEADER: Final = "x-forwarded-user"


@dataclass(frozen=True, slots=True, kw_only=True)
class HAProxySettings:
    """One HAProxy.

    `directory` holds all its files. `http` and `https` are addresses to listen on, as in
    `0.0.0.0:80` or `:::443`. `https_port` is what a redirect leads to. `withheld` are headers
    that a client may never send to an app, however it spells them (`_` is `-` to some apps).
    `user` is whom a HAProxy started by root becomes.
    """

    directory: Path
    program: Path
    http: tuple[str, ...]
    https: tuple[str, ...] = ()
    https_port: int = 443
    withheld: tuple[str, ...] = (IDENTITY_HEADER,)
    user: str = ""
