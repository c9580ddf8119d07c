"""Who may come in: before an app sees a request, somebody who knows users does.

What the client says about its user is always taken away. `soft` adds the user if there is one and
lets everybody in, even when nobody answers who it is; `hard` lets in who is known.
"""

from itertools import product
from typing import Any, Final

from adapters.caddy.pages import NO_LOGIN, page
from adapters.caddy.site import Site, Verify, verify_at
from projections.route_table import Auth, Row

JSON = dict[str, Any]

_DONE: Final = "stateward_verified"
_PASS_ON: Final[JSON] = {"handler": "vars", _DONE: "1"}
_DIAL_TIMEOUT: Final = "1s"
_ANSWER_TIMEOUT: Final = "5s"


def spellings(header: str) -> list[str]:
    """All ways to write a header's name that some app may take for it: `_` is `-` to CGI."""
    parts = header.split("-")
    marks = product("-_", repeat=len(parts) - 1)
    return ["".join(map("".join, zip(parts, (*mark, ""), strict=True))) for mark in marks]


def unheard(header: str) -> list[str]:
    """What a client says of itself and of routers before this one: apps may believe it.

    What of it is true is said anew by Caddy: `X-Forwarded-For`, `-Host` and `-Proto`.
    """
    forwarded = [f"X{one}Forwarded{other}*" for one, other in product("-_", repeat=2)]
    return [*spellings(header), *spellings("X-Real-IP"), "Forwarded", *forwarded]


def own_connection() -> JSON:
    """The route that keeps a client from naming headers in `Connection`.

    Caddy takes away what is named there on the way to the app: the user, or what a route sets.
    """
    word = "(upgrade|keep-alive|close|te|http2-settings)"
    plain = {"pattern": rf"(?i)^\s*{word}(\s*,\s*{word})*\s*$"}
    all_lines = "{http.request.header.Connection}"
    match = {"header": {"Connection": []}, "not": [{"vars_regexp": {all_lines: plain}}]}
    return {
        "match": [match],
        "handle": [{"handler": "headers", "request": {"delete": ["Connection"]}}],
    }


def checks(row: Row, site: Site) -> list[JSON]:
    """The handlers between a request and its app."""
    if row.auth == "off":
        return []
    verify = verify_at(row.verify) if row.verify else site.verify
    if verify is None:
        return [] if row.auth == "soft" else [page(503, NO_LOGIN)]
    asking = _ask(verify, row.auth, site.identity_header)
    return [asking] if row.auth == "hard" else [_never_mind(asking)]


def _ask(verify: Verify, auth: Auth, header: str) -> JSON:
    """Ask with a GET that has the request's headers, and tells its method and URL."""
    user = f"{{http.reverse_proxy.header.{header}}}"
    name: JSON = {"handler": "headers", "request": {"set": {header: [user]}}}
    lets_in: JSON = {"routes": [{"handle": [_PASS_ON]}]}
    answers: list[JSON] = [
        {
            "match": {"status_code": [2], "headers": {header: []}},
            "routes": [{"handle": [_PASS_ON, name]}],
        },
        lets_in if auth == "soft" else {"match": {"status_code": [2]}, **lets_in},
    ]
    told = {
        "Host": [verify.host or "{http.reverse_proxy.upstream.hostport}"],
        "X-Forwarded-Method": ["{http.request.method}"],
        "X-Forwarded-Uri": ["{http.request.uri}"],
    }
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": verify.address}],
        "rewrite": {"method": "GET", "uri": f"{verify.path}?auth={auth}"},
        "headers": {"request": {"set": told, "delete": ["Upgrade", "Connection"]}},
        "transport": {
            "protocol": "http",
            "dial_timeout": _DIAL_TIMEOUT,
            "response_header_timeout": _ANSWER_TIMEOUT,
            **({"tls": {"handshake_timeout": _ANSWER_TIMEOUT}} if verify.is_secure else {}),
        },
        "handle_response": answers,
    }


def _never_mind(asking: JSON) -> JSON:
    """Go on without a user when nobody answers; an error of the app itself stays one.

    Whatever follows runs inside this handler, so its errors pass here as well: only before the
    question was answered is one forgiven, or a request would reach the app twice.
    """
    again: JSON = {"handler": "error", "status_code": "{http.error.status_code}"}
    return {
        "handler": "subroute",
        "routes": [{"handle": [asking]}],
        "errors": {
            "routes": [
                {"match": [{"vars": {_DONE: ["1"]}}], "handle": [again]},
                {"handle": [_PASS_ON]},
            ]
        },
    }
