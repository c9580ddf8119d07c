"""`get -w`: what is there, and then whatever changes of it, until Ctrl-C.

The server streams apps. The other kinds are few and change seldom: they are read again and again.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from domain.names import Ref
from stateward.cli import tables
from stateward.cli.flags import Format
from stateward.cli.resources import Named, collection, path_of, short
from stateward.cli.screen import Cell
from stateward.cli.session import Session, ref_of
from stateward.cli.streams import endless, pause
from stateward.cli.trouble import BadUse, Refused

PAUSE: Final = 2.0  # seconds between two looks at a kind that is not streamed

type Resource = Mapping[str, Any]
type Change = tuple[Ref, Resource | None]
"""A resource as it is now; None: it is gone."""


class Wanted(NamedTuple):
    """What is followed: resources of one kind, named or selected."""

    named: Sequence[Named]
    project: str
    selector: str
    everywhere: bool

    @property
    def kind(self) -> str:
        kinds = {one.kind for one in self.named}
        if len(kinds) != 1:
            raise BadUse("-w follows one kind at a time, for each has a table of its own")
        return kinds.pop()

    def names(self, at: Session) -> frozenset[Ref]:
        """The resources that are named; none if all of the kind are meant."""
        return frozenset(at.ref(one, self.project) for one in self.named if one.name)


def follow(at: Session, wanted: Wanted, output: Format) -> None:
    """Write what is wanted, and then each change of it, for ever."""
    kind = wanted.kind
    changes = _streamed(at, wanted) if kind == "App" else _looked_at(at, wanted)
    headed = False
    for ref, resource in changes:
        if resource is not None and output in (Format.TABLE, Format.WIDE) and not headed:
            at.screen.words(*tables.heads(kind, wide=output is Format.WIDE))
            headed = True
        _say(at, output, ref, resource)


def _streamed(at: Session, wanted: Wanted) -> Iterator[Change]:
    names = wanted.names(at)
    query: Mapping[str, bool | str] = {"watch": True, "labelSelector": wanted.selector}
    for message in endless(at.api, _path(at, wanted, names), query):
        if message.event == "gone":
            ref = Ref.parse(message.data["resource"])
        elif message.event == "app":
            ref = ref_of(message.data)
        else:
            continue
        if not names or ref in names:
            yield ref, message.data if message.event == "app" else None


def _path(at: Session, wanted: Wanted, names: frozenset[Ref]) -> str:
    """The narrowest stream that has all apps that are wanted."""
    if len(names) == 1:
        return path_of(next(iter(names)))
    projects = {ref.project for ref in names}
    if not names:
        projects = {"" if wanted.everywhere else at.project(wanted.project)}
    return collection("App", projects.pop() if len(projects) == 1 else "")


def _looked_at(at: Session, wanted: Wanted) -> Iterator[Change]:
    known: dict[Ref, Resource] = {}
    while True:
        present = {ref_of(dict(one)): one for one in _present(at, wanted)}
        for ref, resource in present.items():
            if ref not in known or _lasting(known[ref]) != _lasting(resource):
                yield ref, resource
        for ref in known.keys() - present.keys():
            yield ref, None
        known = present
        pause(PAUSE)


def _present(at: Session, wanted: Wanted) -> Iterator[Resource]:
    names = wanted.names(at)
    if not names:
        owner = "" if wanted.everywhere else at.project(wanted.project)
        yield from at.items(wanted.kind, owner, wanted.selector)
    for ref in sorted(names):
        try:
            yield at.api.get(path_of(ref))
        except Refused as refused:
            if refused.status != 404:
                raise


def _lasting(resource: Resource) -> Resource:
    """Without what changes by the mere passing of time."""
    status = resource.get("status") or {}
    kept = {k: v for k, v in status.items() if k not in ("observedAt", "ageSeconds")}
    return {**resource, "status": kept}


def _say(at: Session, output: Format, ref: Ref, resource: Resource | None) -> None:
    if resource is None:
        at.screen.words(Cell(f"{short(ref)} is gone", "dim"))
    elif output is Format.JSON:
        at.screen.json_line(resource)
    elif output is Format.YAML:
        at.screen.raw("---")
        at.screen.yaml([resource])
    elif output is Format.NAME:
        at.screen.words(short(ref))
    else:
        row = tables.row(resource, at.now(), wide=output is Format.WIDE)
        at.screen.words(*(_padded(cell) for cell in row))


def _padded(cell: Cell | str) -> Cell:
    shown = cell if isinstance(cell, Cell) else Cell(cell)
    return Cell(shown.text.ljust(12), shown.style)
