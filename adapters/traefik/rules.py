"""Which requests a row is for, in the words of Traefik 3; pure.

A value stands in backticks, or in quotes if it has one itself. A prefix in Traefik is a prefix of
the text, not of components; so `/api` and `/api/...` are asked for one by one. Traefik compares
paths decoded, but for characters that mean something in a URL.
"""

import re
from typing import Final
from urllib.parse import unquote

import msgspec

from projections.route_table import Row

EVERYTHING: Final = "PathPrefix(`/`)"
MOST_COPIED: Final = 1024 * 1024  # bytes of a body: longer ones are not copied, nor kept for it
_KEPT: Final = re.compile(r"((?:%(?:2[1346789ABCFabcf5]|3[ABDFabdf]|40|5[BDbd]))+)")
"""Encoded characters that RFC 3986 reserves, and the percent sign: these stay encoded."""


def rule(row: Row) -> str:
    parts = [f"Host({_word(row.host)})", *_path(compared(row.path))]
    if row.context is not None:
        parts.append(f"Header({_word(row.context.name)}, {_word(row.context.value)})")
    return " && ".join(parts)


def _path(path: str) -> list[str]:
    if path == "/":
        return []
    return [f"(Path({_word(path)}) || PathPrefix({_word(path + '/')}))"]


def compared(path: str) -> str:
    """Return a path as Traefik compares it."""
    parts = _KEPT.split(path)
    return "".join(part.upper() if at % 2 else unquote(part) for at, part in enumerate(parts))


def _word(text: str) -> str:
    if "`" not in text:
        return f"`{text}`"
    return msgspec.json.encode(text).decode()
