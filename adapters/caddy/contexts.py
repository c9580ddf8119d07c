"""Contexts that come and go without a change of Caddy's configuration.

Each such change closes connections that clients are about to use. So where a context differs from
its base in nothing but who answers, it is no route of its own: a request that carries the header
has the pool of its context if there is a file for it (`name_of_file`), which Caddy looks for with
each such request. Clients choose the values that they send, so only a value that has a file ever
becomes a question to the resolvers (`name_of_pool`).
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from adapters.caddy import pools
from adapters.caddy.snapshot import Pool
from projections.route_table import Row

JSON = dict[str, Any]

MOST_HEADERS: Final = 8  # that are looked for in every request
ROW, POOL = "stateward_row", "stateward_pool"  # variables of a request that found its row
_VALUE: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"  # a label of DNS, which knows no case
_ID: Final = "context:"
_HEX: Final = 16
_CAPTURED: Final = "{http.regexp.context.0}"


class Switched(NamedTuple):
    """What is left to be routes, and what is asked for at each request: pools by their names.

    `files` are the names of those that say so.
    """

    rows: tuple[Row, ...]
    pools: Mapping[str, Pool]
    files: frozenset[str]


def headers_to_know(
    wanted: Iterable[str], rows: Iterable[Row], known: Iterable[str]
) -> tuple[str, ...]:
    """The headers to look for: the operator's, those of rows, and then what was looked for before.

    One that is looked for already costs no change, so none is forgotten without need.
    """
    found = (row.context.name for row in rows if row.context is not None)
    plain = (name for name in (*wanted, *found, *known) if re.fullmatch(r"[a-z0-9_-]+", name))
    return tuple(sorted([*dict.fromkeys(plain)][:MOST_HEADERS]))


def headers_known(config: JSON | None) -> tuple[str, ...]:
    """The headers that a configuration looks for."""
    try:
        routes = (config or {})["apps"]["http"]["servers"]["http"]["routes"]
        ids = [str(route.get("@id", "")) for route in routes]
    except (KeyError, TypeError, AttributeError):
        return ()
    return tuple(one.removeprefix(_ID) for one in ids if one.startswith(_ID))


def switched(rows: Sequence[Row], headers: Iterable[str]) -> Switched:
    """Take the contexts out of `rows` that need no route of their own."""
    known = frozenset(headers)
    of_host: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        of_host.setdefault((row.scheme, row.host), []).append(row)
    gone: set[str] = set()
    found: dict[str, Pool] = {}
    files: set[str] = set()
    for beside in of_host.values():
        contexts = [row for row in beside if row.context is not None]
        bases = [row for row in beside if row.context is None]
        if not contexts or not _is_switch(contexts, bases, known):
            continue
        gone.update(row.id for row in contexts)
        for base, context in _answers(contexts, bases):
            found[_name_of_pool(base, context)] = pools.pool(context)
            files.add(_name_of_file(base, context))
    return Switched(tuple(row for row in rows if row.id not in gone), found, frozenset(files))


def _is_switch(contexts: Sequence[Row], bases: Sequence[Row], known: frozenset[str]) -> bool:
    """Whether all contexts of a host are; two headers could both be in one request."""
    names = {row.context.name for row in contexts if row.context is not None}
    sets = {header.name for row in (*contexts, *bases) for header in row.request_headers}
    if len(names) != 1 or not names <= known or names & sets:
        return False
    return all(
        row.context is not None
        and re.fullmatch(_VALUE, row.context.value)
        and any(base.path == row.path for base in bases)
        and all(_is_alike(row, base) for base in bases if _covers(row.path, base.path))
        for row in contexts
    )


def _is_alike(context: Row, base: Row) -> bool:
    """Whether both treat a request and its answer in the same way."""
    if context.strip_prefix and context.path != base.path:
        return False
    return _treatment(context) == _treatment(base)


def _treatment(row: Row) -> tuple[object, ...]:
    way = (row.strip_prefix, row.redirect, row.h2c, row.tls)
    return *way, row.auth, row.verify, row.request_headers, row.response_headers


def _answers(contexts: Sequence[Row], bases: Sequence[Row]) -> Iterator[tuple[Row, Row]]:
    """For each base and value, the context with the longest path above it."""
    longest_last = sorted(contexts, key=lambda row: len(row.path))
    for base in bases:
        if not base.redirect:
            above = [row for row in longest_last if _covers(row.path, base.path)]
            yield from ((base, row) for row in {row.context: row for row in above}.values())


def _covers(path: str, other: str) -> bool:
    short, long = unquote(path), unquote(other)
    return short in ("/", long) or long.startswith(f"{short}/")


def mark(row: Row) -> str:
    """What a row is called in names of files and pools."""
    return f"r{hashlib.sha256(row.id.encode()).hexdigest()[:_HEX]}"


def _name_of_pool(base: Row, context: Row) -> str:
    assert context.context is not None
    return f"{context.context.value}.{mark(base)}.{pools.name(pools.pool(base))}"


def _name_of_file(base: Row, context: Row) -> str:
    assert context.context is not None
    return f"{mark(base)}.{context.context.name}.{context.context.value}"


def route(header: str, directory: str) -> JSON:
    """Ask for the pool of a context instead, if the row that was found has one with this value."""
    file = f"/{{http.vars.{ROW}}}.{header}.{_CAPTURED}"
    pool = f"{_CAPTURED}.{{http.vars.{ROW}}}.{{http.vars.{POOL}}}"
    return {
        "@id": f"{_ID}{header}",
        "match": [{"header_regexp": {header: {"name": "context", "pattern": f"^{_VALUE}$"}}}],
        "handle": [
            {
                "handler": "subroute",
                "routes": [
                    {
                        "match": [{"file": {"root": directory, "try_files": [file]}}],
                        "handle": [{"handler": "vars", POOL: pool}],
                    }
                ],
            }
        ],
    }
