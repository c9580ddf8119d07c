"""What to do about a server that cannot be used, by what nats-py, OpenSSL or the server said."""

from typing import Final, NamedTuple

from bus.nats.credentials import Credentials
from bus.nats.session import NatsUnavailable, Server


class _Remedy(NamedTuple):
    """`sign` is a part of what was said, in lower case."""

    sign: str
    remedy: str


_CUT_OFF: Final = (
    *("unknown ca", "unknown_ca", "bad certificate", "bad_certificate"),
    *("broken pipe", "connection reset", "empty response"),
)
"""What may be heard of a server that refuses us: no more than the end of the connection."""
_NOT_LET_IN: Final = "the server does not let us in (Authorization Violation)"
_BAD_CERTIFICATE: Final = (
    "it does not take our certificate: "
    "give one that its ca_file vouches for as nats.tls_certificate and nats.tls_key"
)
SILENT: Final = "no answer"
_NO_NATS: Final = (
    "it cannot be reached, or hangs, or it is no NATS server, or begins with TLS: "
    "start it, correct nats.servers, or turn handshake_first off there"
)
_REMEDIES: Final = (
    _Remedy("hostname mismatch", "its certificate is for another name: use a name that is in it"),
    _Remedy("ip address mismatch", "its certificate is for another name: use a name that is in it"),
    _Remedy(
        "certificate has expired", "its certificate is too old: renew it, or look at the clock"
    ),
    _Remedy(
        "certificate verify failed",
        "it speaks TLS with a certificate of an authority that is unknown here: "
        "give that authority's certificate as nats.tls_ca",
    ),
    _Remedy(
        "wants a certificate",
        "give nats.tls_certificate and nats.tls_key",
    ),
    _Remedy(  # the alert may come before the greeting is read
        "certificate required",
        "the server wants a certificate of its clients: give nats.tls_certificate and nats.tls_key",
    ),
    _Remedy("account authentication expired", "the account's JWT has expired: renew it there"),
    _Remedy(
        "authentication expired", "the user's JWT has expired: make a new nats.credentials_file"
    ),
    _Remedy(
        "authentication timeout", "it got no credentials in time: look at its load, or at the way"
    ),
    _Remedy("maximum connections", "it takes no more connections: raise its max_connections"),
    _Remedy("connect call failed", "start it, or correct nats.servers"),
    _Remedy("name or service not known", "correct the name in nats.servers"),
    _Remedy("no address associated", "correct the name in nats.servers"),
    _Remedy(
        "offers no tls",
        "give it a certificate (tls), or write nats:// in nats.servers and leave out nats.tls_*",
    ),
    _Remedy("credentials file", "give another nats.credentials_file or nats.nkey_file"),
    _Remedy("nkey seed", "give another nats.credentials_file or nats.nkey_file"),
    _Remedy("expecting info", _NO_NATS),
    _Remedy(SILENT, _NO_NATS),
)


class Greeting(NamedTuple):
    """What a server says of itself before anybody logs in."""

    wants_login: bool = False
    wants_certificate: bool = False


def refusal(said: str, server: Server, greeting: Greeting) -> NatsUnavailable:
    """What went wrong when connecting, with what to do about it if that is known.

    A server that does not let us in says so, and ends the connection; the end may be all that
    arrives. Lest the reason changes at each attempt, both are told alike.
    """
    lower = said.lower()
    cut_off = any(sign in lower for sign in _CUT_OFF)
    if "authorization violation" in lower or (cut_off and greeting.wants_login):
        login = _not_let_in(server.credentials)
        both = cut_off and greeting.wants_certificate
        return NatsUnavailable(_NOT_LET_IN, f"{login}; or {_BAD_CERTIFICATE}" if both else login)
    if cut_off and greeting.wants_certificate:
        return NatsUnavailable("the connection ended during TLS", _BAD_CERTIFICATE)
    return NatsUnavailable(said, next((what for sign, what in _REMEDIES if sign in lower), ""))


def _not_let_in(given: Credentials) -> str:
    if given.creds_file is not None:
        return (
            f"it does not let in the user of {str(given.creds_file)!r}: make its account known to "
            "the server (resolver), or make a new file if the user was revoked or has expired"
        )
    if given.nkey_seed_file is not None:
        return (
            f"it knows no user with the nkey of {str(given.nkey_seed_file)!r}: "
            "add the public key (U...) to its users, or give the seed of one that is there"
        )
    if given.token:
        return "its token is another: correct nats.token"
    if given.user:
        return (
            f"it knows no user {given.user!r} with this password: "
            "correct nats.user and nats.password, or add the user there"
        )
    return (
        "it wants credentials: give nats.user and nats.password, nats.token, nats.nkey_file "
        "or nats.credentials_file"
    )
