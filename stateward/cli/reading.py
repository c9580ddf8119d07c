"""The verbs that read resources: get, describe, explain, version."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any

import typer

from domain.names import KINDS
from stateward.cli import flags, manifests, tables, urls, watching
from stateward.cli.describing import describe_resource
from stateward.cli.flags import Format
from stateward.cli.resources import Named, parse, path_of, short
from stateward.cli.schema import show_schema
from stateward.cli.session import Session, ref_of, session
from stateward.cli.trouble import BadUse, Refused
from stateward.cli.watching import Wanted


def get(
    ctx: typer.Context,
    *,
    words: flags.Words = None,
    project: flags.Project = "",
    selector: flags.Selector = "",
    everywhere: flags.Everywhere = False,
    filename: flags.Files = None,
    recursive: flags.Recursive = False,
    output: flags.Output = Format.TABLE,
    as_of: flags.AsOf = "",
    watch: flags.Watch = False,
) -> None:
    """List resources, or show those that are named, or that files hold; or `routes`."""
    at = session(ctx)
    if words and words[0] in urls.WORDS:
        if len(words) > 1 or selector or as_of or watch or filename:
            raise BadUse("`get routes` lists all of a project (-n) or of all (-A); no more of it")
        urls.show_routes(at, "" if everywhere else at.project(project), output)
        return
    named = _named(at, words, filename, project, recursive=recursive)
    if watch:
        if as_of:
            raise BadUse("-w goes on from now, and --as-of is the past; leave out one of them")
        wanted = Wanted(named, project, selector, everywhere=everywhere)
        watching.follow(at, wanted, output)
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


def _named(
    at: Session,
    words: Sequence[str] | None,
    filename: Sequence[Path] | None,
    project: str,
    *,
    recursive: bool,
) -> list[Named]:
    """What words name, or files."""
    if not filename:
        return parse(words or [])
    if words:
        raise BadUse("name resources, or files that hold them, not both")
    found = manifests.refs(filename, at.project(project), recursive=recursive)
    return [Named(ref.kind, ref.name, ref.project) for ref in found]


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


def describe(
    ctx: typer.Context,
    *,
    words: flags.Words = None,
    project: flags.Project = "",
    selector: flags.Selector = "",
    everywhere: flags.Everywhere = False,
    filename: flags.Files = None,
    recursive: flags.Recursive = False,
    as_of: flags.AsOf = "",
) -> None:
    """Tell all about resources: spec, conditions, replicas, last events."""
    at = session(ctx)
    if filename:
        named = _named(at, words, filename, project, recursive=recursive)
        refs = [at.ref(one, project) for one in named]
    else:
        refs = at.chosen(
            words or [],
            project=project,
            selector=selector,
            everywhere=everywhere,
            kinds=KINDS,
            as_of=as_of,
        )
    for number, ref in enumerate(refs):
        resource = at.api.get(path_of(ref), {"asOf": as_of})
        query: Mapping[str, str | int] = {"resource": str(ref), "last": 10, "asOf": as_of}
        events = at.api.get("/api/v1/events", query)["items"]
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
