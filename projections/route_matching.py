"""Which row of a route table a request would hit, and why not the others. Pure.

This is what a table means; whoever renders one for a router has to come to the same rows.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from domain.claims import covers
from projections.route_table import RouteTable, Row, Scheme


class Request(NamedTuple):
    """What of a request a table looks at; header names are in lower case."""

    scheme: Scheme
    host: str
    path: str
    headers: Mapping[str, str]


class Passed(msgspec.Struct, frozen=True):
    """A row of the request's host that did not answer, and why."""

    row: Row
    why: str


class Match(msgspec.Struct, frozen=True):
    """The row that answers (None: nobody does, with 404), and the others of the host in order."""

    row: Row | None
    passed: tuple[Passed, ...]


def match(table: RouteTable, request: Request) -> Match:
    """The first row that fits; of its host, why each other one is not asked."""
    found: Row | None = None
    passed: list[Passed] = []
    for row in table.rows:
        if row.host != request.host:
            continue
        why = misfit(row, request)
        if not why and found is None:
            found = row
        else:
            passed.append(Passed(row, why or f"{_named(found)} goes before it"))
    return Match(found, tuple(passed))


def misfit(row: Row, request: Request) -> str:
    """Why a row of the request's host does not fit; empty if it does."""
    if row.scheme != request.scheme:
        return f"it is for {row.scheme}, and this is {request.scheme}"
    if not covers(row.path, request.path):
        return f"{request.path} is not {row.path}, and not below it"
    if row.context is None:
        return ""
    given = request.headers.get(row.context.name)
    if given is None:
        return f"the request has no header {row.context.name}"
    if given != row.context.value:
        return f"the header {row.context.name} is {given!r}, not {row.context.value!r}"
    return ""


def _named(row: Row | None) -> str:
    assert row is not None, "only what was found goes before"
    header = f" with {row.context.name}: {row.context.value}" if row.context else ""
    return f"{row.path}{header} (precedence {row.precedence})"
