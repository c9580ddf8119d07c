"""What an operator says about the Traefik of a target: how it was started, since we do not.

Its static configuration names our endpoint, and these; `docs/how-to/route-with-traefik.md`.
"""

from dataclasses import dataclass
from typing import Final

IDENTITY_HEADER: Final = "X-Forwarded-User"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraefikSettings:
    """One Traefik, of version 3.

    Attributes:
        http: its entry point without TLS.
        https: its entry point with TLS.
        https_port: where redirects lead to.
        cert_resolver: who issues certificates of rows with `auto`; empty: nobody.
        verify: the URL that is asked about users where a row names none (`?auth=soft|hard` is
            added); empty: nobody.
        identity_header: names the user to apps; what a client sends under it never arrives.
        poll_seconds: its `providers.http.pollInterval`.
        throttle_seconds: its `providers.providersThrottleDuration`.
    """

    http: str = "web"
    https: str = "websecure"
    https_port: int = 443
    cert_resolver: str = ""
    verify: str = ""
    identity_header: str = IDENTITY_HEADER
    poll_seconds: float = 1.0
    throttle_seconds: float = 0.2
