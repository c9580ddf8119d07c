"""The verbs that read resources: get, describe, explain, version."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version as installed_version
from typing import Annotated, Any

import typer

from stateward.cli import flags, tables
from stateward.cli.describing import describe_resource
from stateward.cli.flags import Format
from stateward.cli.resources import Named, collection, parse, path_of, short
from stateward.cli.schema import show_schema
from stateward.cli.screen import Cell
from stateward.cli.session import Session, ref_of, session
from stateward.cli.streams import endless
from stateward.cli.trouble import BadUse, Refused


def get(
    ctx: typer.Context,
    words: flags.Words = None,
    project: flags.Project = "",
    selector: flags.Selector = "",
    everywhere: flags.Everywhere = False,
    output: flags.Output = Format.TABLE,
    as_of: flags.AsOf = "",
    watch: flags.Watch = False,
) -> None:
    """List resources, or show the named ones."""
    at = session(ctx)
    named = parse(words or [])
    if watch:
        _watch(at, named, project=project, selector=selector, everywhere=everywhere, output=output)
        return
    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    for one in named:
        owner = "" if everywhere else one.project or at.project(project)
        found = by_kind.setdefault(one.kind, [])
        if one.name:
            found.append(at.api.get(path_of(at.ref(one, project)), {"asOf": as_of}))
        else:
            found += at.items(one.kind, owner, selector, as_of)
    show(at, by_kind, output, alone=len(named) == 1 and bool(named[0].name))


def show(
    at: Session,
    by_kind: Mapping[str, Sequence[Mapping[str, Any]]],
    output: Format,
    *,
    alone: bool = False,
) -> None:
    """Write resources in the format that was asked for; a table for each kind.

    In JSON what was asked for `alone` is the resource itself; a list stays one, even a list of one.
    """
    resources = [resource for found in by_kind.values() for resource in found]
    if output is Format.JSON:
        at.screen.json(resources[0] if alone else {"items": resources})
    elif output is Format.YAML:
        at.screen.yaml(resources)
    elif output is Format.NAME:
        for resource in resources:
            at.screen.line(short(ref_of(dict(resource))))
    else:
        for number, (kind, found) in enumerate(by_kind.items()):
            if number:
                at.screen.line()
            _table(at, kind, found, wide=output is Format.WIDE)


def _table(at: Session, kind: str, found: Sequence[Mapping[str, Any]], *, wide: bool) -> None:
    if not found:
        at.screen.note(f"There is no {kind.lower()} here.", "dim")
        return
    now = at.now()
    rows = [tables.row(resource, now, wide=wide) for resource in found]
    at.screen.table(tables.heads(kind, wide=wide), rows)


def _watch(
    at: Session,
    named: Sequence[Named],
    *,
    project: str,
    selector: str,
    everywhere: bool,
    output: Format,
) -> None:
    """Every app that is chosen, and then whatever changes of them."""
    if any(one.kind != "App" for one in named):
        raise BadUse("-w follows apps only; see the others again by `stateward get`")
    if len(named) == 1 and named[0].name:
        path = path_of(at.ref(named[0], project))
    else:
        path = collection("App", "" if everywhere else at.project(project))
    chosen = {at.ref(one, project) for one in named if one.name}
    printed = False
    for message in endless(at.api, path, {"watch": True, "labelSelector": selector}):
        if message.event == "gone":
            _say_change(at, Format.NAME, message.data["resource"], {})
        elif message.event == "app" and (not chosen or ref_of(message.data) in chosen):
            if output in (Format.TABLE, Format.WIDE) and not printed:
                at.screen.words(*tables.heads("App", wide=output is Format.WIDE))
            printed = True
            _say_change(at, output, short(ref_of(message.data)), message.data)


def _say_change(at: Session, output: Format, name: str, resource: Mapping[str, Any]) -> None:
    if not resource:
        at.screen.line(f"{name} is gone", "dim")
    elif output is Format.JSON:
        at.screen.json_line(resource)
    elif output is Format.YAML:
        at.screen.raw("---")
        at.screen.yaml([resource])
    elif output is Format.NAME:
        at.screen.line(name)
    else:
        row = tables.row(resource, at.now(), wide=output is Format.WIDE)
        at.screen.words(*(_padded(cell) for cell in row))


def _padded(cell: Cell | str) -> Cell:
    shown = cell if isinstance(cell, Cell) else Cell(cell)
    return Cell(shown.text.ljust(12), shown.style)


def describe(
    ctx: typer.Context,
    words: flags.Words = None,
    project: flags.Project = "",
    as_of: flags.AsOf = "",
) -> None:
    """Tell all about the named resources: spec, conditions, replicas, last events."""
    at = session(ctx)
    named = parse(words or [])
    if not all(one.name for one in named):
        raise BadUse("name what to describe, such as app/web; `stateward get` lists names")
    for number, one in enumerate(named):
        ref = at.ref(one, project)
        resource = at.api.get(path_of(ref), {"asOf": as_of})
        events: list[Any] = []
        if not as_of:
            events = at.api.get("/api/v1/events", {"resource": str(ref), "last": 10})["items"]
        if number:
            at.screen.line()
        describe_resource(at.screen, resource, events, at.now())


def explain(
    ctx: typer.Context,
    place: Annotated[
        str, typer.Argument(metavar="KIND[.FIELD]...", help="app, app.health.readiness")
    ],
    output: flags.Output = Format.TABLE,
) -> None:
    """Explain a kind, or a field of its spec: what it is, its type, its limits."""
    at = session(ctx)
    kind, *way = place.split(".")
    found = at.api.get(f"/api/v1/explain/{parse([kind])[0].kind}")
    if output in (Format.JSON, Format.YAML):
        at.screen.json(found) if output is Format.JSON else at.screen.yaml([found])
        return
    show_schema(at.screen, found, [part for part in way if part != "spec"])


def version(ctx: typer.Context, output: flags.Output = Format.TABLE) -> None:
    """Say which version this is, and which the server has."""
    at = session(ctx)
    answer: dict[str, Any] = {"client": installed_version("stateward"), "server": None}
    try:
        answer["server"] = at.api.get("/api/v1/version")
    except Refused as refused:
        answer["problem"] = str(refused)
    if output in (Format.JSON, Format.YAML):
        at.screen.json(answer) if output is Format.JSON else at.screen.yaml([answer])
        return
    at.screen.line(f"client {answer['client']}")
    server = answer["server"]
    if server is None:
        at.screen.note(f"server at {at.connection.server}: {answer['problem']}")
        return
    at.screen.line(
        f"server {server['version']} at {at.connection.server}, {server['apiVersion']}, "
        f"installation {server['installation']}, position {server['position']}"
    )
