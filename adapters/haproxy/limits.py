"""What HAProxy 2.6 cannot do for a row, said so that its owner knows what to change; pure.

One such row does not stop the others: it is answered with a page, never served without what it
asks for.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from adapters.haproxy.matching import depth_of, key_of, keys_above
from projections.route_table import Header, Row

DEEPEST: Final = 16  # components that can be stripped: one line of configuration for each
LONGEST: Final = 8_000  # bytes of an entry: one command holds 16 KiB
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_TEXT: Final = re.compile(r"[^\x00-\x1f\x7f]*")


def limits_met(
    rows: Iterable[Row], *, has_https: bool, has_lua: bool = True, knows_users: bool = False
) -> dict[str, str]:
    """Return why each row that cannot be served cannot, by its id.

    Args:
        rows: of the table.
        has_https: whether there is an address with TLS.
        has_lua: whether this HAProxy runs programs.
        knows_users: whether there is somebody to ask about users.
    """
    rows = tuple(rows)
    by_key = {key_of(row): row for row in rows}
    found = {}
    for row in rows:
        where = f"{row.scheme}://{row.host}{row.path}"
        found[row.id] = (
            _unasked(row, where, has_lua=has_lua, knows_users=knows_users)
            or _reason(row, where, has_https=has_https)
            or _overtaken(row, by_key)
        )
    return {name: reason for name, reason in found.items() if reason}


def _unasked(row: Row, where: str, *, has_lua: bool, knows_users: bool) -> str:
    if row.auth != "off" and not has_lua:
        return (
            f"{where} asks for auth {row.auth!r}, but this HAProxy was built without Lua, so it "
            "asks nobody whether a request may pass; install one that has it (`haproxy -vv` says "
            "+LUA, as Debian's does), use auth off, or a target whose router is caddy or traefik"
        )
    if row.auth != "off" and (row.verify or row.middlewares):
        return (
            f"{where} is of a domain with users of its own, but HAProxy asks one alone, for all "
            "hosts; leave out verify and middlewares in spec.routing.domains of its target, or "
            "take a target whose router is caddy or traefik"
        )
    if row.auth == "hard" and not knows_users:
        return (
            f"{where} is for users who signed in, but no sign-in is set up here; have the server "
            "know users (setting login.developers, for trying out), or use auth soft or off"
        )
    return ""


def _reason(row: Row, where: str, *, has_https: bool) -> str:
    if row.tls is not None and row.tls.mode == "auto":
        return (
            f"{where} asks for tls mode 'auto', but HAProxy fetches no certificates; "
            "use tls mode internal or secret, or a target whose router is caddy"
        )
    if row.scheme == "https" and not has_https:
        return (
            f"{where} is asked over https, but this router has no address for https; "
            "give its target one, or set tls mode off"
        )
    if row.strip_prefix and depth_of(row.path) > DEEPEST:
        return (
            f"{where} strips {depth_of(row.path)} path components, but HAProxy strips "
            f"{DEEPEST} at most; use a shorter path"
        )
    return _unspeakable(row, where)


def _unspeakable(row: Row, where: str) -> str:
    headers = (*row.request_headers, *row.response_headers)
    named = headers if row.context is None else (*headers, row.context)
    for header in named:
        if not _NAME.fullmatch(header.name) or not _TEXT.fullmatch(header.value):
            return (
                f"{where} names the header {header.name!r}, but HAProxy takes names of letters, "
                "digits, '-', '_' and '.', and values on one line; use another"
            )
    if longest := _longest(row, headers):
        return (
            f"{where} has {longest} bytes in one entry, but HAProxy takes {LONGEST} at most; "
            "use a shorter path or header"
        )
    return ""


def _longest(row: Row, headers: Iterable[Header]) -> int:
    lengths = [len(key_of(row)), *(len(header.value.encode()) for header in headers)]
    return max(lengths) if max(lengths) > LONGEST else 0


def _overtaken(row: Row, rows: Mapping[str, Row]) -> str:
    """HAProxy takes the longest path first: a row above must not have a higher precedence."""
    for key in keys_above(key_of(row)):
        above = rows.get(key)
        if above is not None and above.precedence >= row.precedence:
            return (
                f"{row.scheme}://{row.host}{row.path} comes after the shorter path {above.path!r}, "
                "but HAProxy takes the longest first; give it a higher precedence"
            )
    return ""
