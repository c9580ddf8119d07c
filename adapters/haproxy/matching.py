"""Rows as entries of the one map that the running HAProxy asks; pure.

The map holds two kinds of entries. One leads from a place, `<scheme>://<host><path>/`, to a row,
and HAProxy finds the longest that a request's place begins with: the slash at its end keeps
`/apix` out of `/api`. The place of a context has `<header>=<value>@` in front. The other kind leads
from `@<row>@<header>` to the value of a header that a row sets. Places and values are
percent-encoded, so that no character can be mistaken for another.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from adapters.haproxy.pool import Group
from projections.route_table import Header, Row

REDIRECT: Final = "r"
SETS_REQUEST: Final = "q"
SETS_RESPONSE: Final = "s"
UNSERVED: Final = "u"
ASKS_SOFT: Final = "f"
ASKS_HARD: Final = "h"
"""Marks of a row, in the fourth field of its entry."""

_ENCODED_SLASH: Final = re.compile("%2f", re.IGNORECASE)

_SLASH: Final = "%2F"
_ROOT: Final = "%3A%2F%2F"  # what ends `<scheme>://`


def entries_of(
    rows: Iterable[Row], unserved: Iterable[Row], backends: Mapping[Group, str]
) -> dict[str, str]:
    """Return the map's entries, by key. `unserved` rows are answered with a page that says so."""
    entries = {}
    for row in rows:
        backend = "-" if row.redirect else backends[Group.of(row)]
        entries[key_of(row)] = _entry(row, backend, _marks(row))
        for kind, headers in (
            (SETS_REQUEST, row.request_headers),
            (SETS_RESPONSE, row.response_headers),
        ):
            for header in headers:
                entries[f"@{row.id}@{kind}@{header.name}"] = f"={header.value}"
    for row in unserved:
        entries[key_of(row)] = _entry(row, "-", UNSERVED)
    return entries


def marked(mark: str) -> str:
    """Return the condition that the row of a request has a mark."""
    return f"{{ var(txn.row),field(4,:) -m sub {mark} }}"


def key_of(row: Row) -> str:
    place = _quoted(f"{row.scheme}://{row.host}".encode() + path_of(row.path))
    return place if row.context is None else f"{_condition(row.context)}@{place}"


def path_of(path: str) -> bytes:
    """Return a path as it is compared: decoded but for encoded slashes, with a slash at its end."""
    decoded = unquote_to_bytes(_ENCODED_SLASH.sub("%252F", path))
    return decoded.rstrip(b"/") + b"/"


def depth_of(path: str) -> int:
    """Return of how many components a path is made."""
    return path_of(path).count(b"/") - 1


def keys_above(key: str) -> Iterable[str]:
    """Return the keys of the paths above that of `key`, the nearest first."""
    while not key.endswith(_ROOT):
        key = key[: key.rindex(_SLASH, 0, -len(_SLASH)) + len(_SLASH)]
        if not key.endswith(_ROOT):
            yield key


def _condition(context: Header) -> str:
    return f"{context.name}={_quoted(context.value.encode())}"


def _quoted(text: bytes) -> str:
    return quote(text, safe="")


def _entry(row: Row, backend: str, marks: str) -> str:
    strip = depth_of(row.path) if row.strip_prefix else 0
    return f"{row.precedence}:{backend}:{strip}:{marks or '-'}:{row.id}"


def _marks(row: Row) -> str:
    marks = {
        REDIRECT: row.redirect,
        SETS_REQUEST: bool(row.request_headers),
        SETS_RESPONSE: bool(row.response_headers),
        ASKS_SOFT: row.auth == "soft",
        ASKS_HARD: row.auth == "hard",
    }
    return "".join(mark for mark, is_set in marks.items() if is_set)
