"""The verbs that tell what happened and what is going on inside: events, why, logs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from domain.names import KINDS, Ref
from stateward.cli import flags, tables, times, urls
from stateward.cli.flags import Format
from stateward.cli.resources import parse, path_of, short
from stateward.cli.screen import Cell
from stateward.cli.session import Session, session
from stateward.cli.streams import endless
from stateward.cli.trouble import BadUse, Trouble

type Query = dict[str, str | int | bool | None]

_REPLICA_COLOURS: Final = ("cyan", "green", "yellow", "red")


def events(
    ctx: typer.Context,
    *,
    words: flags.Words = None,
    project: flags.Project = "",
    selector: flags.Selector = "",
    everywhere: flags.Everywhere = False,
    kind: Annotated[
        str, typer.Option("--type", help="app.scaled, or a prefix: app.", show_default=False)
    ] = "",
    last: Annotated[int, typer.Option("--last", min=1, max=1000, help="How many.")] = 50,
    after: Annotated[
        int | None,
        typer.Option("--after", min=0, help="All after a position.", show_default=False),
    ] = None,
    bookkeeping: Annotated[bool, typer.Option("--all", help="Bookkeeping as well.")] = False,
    as_of: flags.AsOf = "",
    watch: flags.Watch = False,
    output: flags.Output = Format.TABLE,
) -> None:
    """Tell what happened, oldest first: who wanted what, and what was done."""
    at = session(ctx)
    query: Query = {"type": kind, "all": bookkeeping}
    refs = _about(at, words or [], project, selector, everywhere=everywhere)
    if not everywhere and not refs:
        query["project"] = at.project(project)
    if watch:
        if as_of:
            raise BadUse("-w goes on from now, and --as-of is the past; leave out one of them")
        query["after" if after is not None else "last"] = last if after is None else after
        _follow(at, query, refs, output)
        return
    found = _events_of(at, {**query, "asOf": as_of}, refs, last, after)
    if output is Format.JSON:
        at.screen.json({"items": found})
    elif output is Format.YAML:
        at.screen.yaml([{"items": found}])
    else:
        for event in found:
            _tell(at, event, output)


def _about(
    at: Session, words: list[str], project: str, selector: str, *, everywhere: bool
) -> list[Ref] | None:
    """The resources that are told of; None for all."""
    if selector:
        words = words or ["apps"]
        return at.chosen(
            words, project=project, selector=selector, everywhere=everywhere, kinds=KINDS
        )
    if not words:
        return None
    named = parse(words, default="App")
    if not all(one.name for one in named):
        raise BadUse("name resources, such as app/web, choose by -l, or name none for all")
    return [at.ref(one, project) for one in named]


def _follow(at: Session, query: Query, refs: Sequence[Ref] | None, output: Format) -> None:
    """What happens from now on, for ever; the stream has one resource, or all."""
    if refs is not None and len(refs) == 1:
        query = {**query, "resource": str(refs[0])}
    names = None if refs is None else {str(ref) for ref in refs}
    for message in endless(at.api, "/api/v1/events", query):
        if names is None or message.data["resource"] in names:
            _tell(at, message.data, output)


def _events_of(
    at: Session, query: Query, refs: Sequence[Ref] | None, last: int, after: int | None
) -> list[dict[str, Any]]:
    """Events of some resources, or of all, in order of position."""
    if refs is None:
        return _events(at, query, last, after)
    found = [e for ref in refs for e in _events(at, {**query, "resource": str(ref)}, last, after)]
    found.sort(key=lambda event: int(event["position"]))
    return found if after is not None else found[-last:]


def _events(at: Session, query: Query, last: int, after: int | None) -> list[dict[str, Any]]:
    if after is None:
        return list(at.api.get("/api/v1/events", {**query, "last": last})["items"])
    pages = at.api.pages("/api/v1/events", {**query, "after": after})
    return [event for page in pages for event in page["items"]]


def _tell(at: Session, event: Mapping[str, Any], output: Format) -> None:
    if output is Format.JSON:
        at.screen.json_line(event)
    elif output is Format.YAML:
        at.screen.raw("---")
        at.screen.yaml([event])
    elif output is Format.NAME:
        at.screen.line(f"{event['position']} {event['resource']} {event['type']}")
    else:
        at.screen.words(*tables.event_words(event, at.now()))


def why(
    ctx: typer.Context,
    *,
    words: flags.AppWords = None,
    project: flags.Project = "",
    selector: flags.Selector = "",
    everywhere: flags.Everywhere = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="How much of it.")] = 10,
    header: Annotated[
        list[str] | None,
        typer.Option("-H", "--header", help="Of `why route`: x-feature: blue", show_default=False),
    ] = None,
    output: flags.Output = Format.TABLE,
) -> None:
    """Tell why an app is as it is, or (`why route URL`) which route a request would hit."""
    at = session(ctx)
    if words and words[0] in urls.WORDS:
        urls.tell_why(at, words[1:], header or [], output)
        return
    if header:
        raise BadUse("-H is for `why route URL`")
    refs = at.chosen(words or [], project=project, selector=selector, everywhere=everywhere)
    found = {ref: at.api.get(f"{path_of(ref)}/why", {"limit": limit}) for ref in refs}
    if output is Format.JSON:
        told = list(found.values())
        at.screen.json(told[0] if len(told) == 1 else {"items": told})
    elif output is Format.YAML:
        at.screen.yaml(found.values())
    else:
        several = len({ref.project for ref in refs}) > 1
        for ref, reasons in found.items():
            _show_reasons(at, short(ref, with_project=several), reasons)


def _show_reasons(at: Session, name: str, found: Mapping[str, Any]) -> None:
    at.screen.words(Cell(name, "bold"), found["summary"])
    now = at.now()
    for item in found["items"]:
        at.screen.words("", *tables.event_words(item, now))
        because = item.get("because")
        if because:
            said = because.get("sentence") or because["type"]
            when = times.stamp(because.get("at"), now)
            who = f"{because['actor']} at {when}: {said} (position {because['position']})"
            at.screen.words(Cell("     because of"), Cell(who, "dim"))


def logs(
    ctx: typer.Context,
    *,
    words: flags.AppWords = None,
    project: flags.Project = "",
    selector: flags.Selector = "",
    everywhere: flags.Everywhere = False,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new lines.")] = False,
    tail: Annotated[str, typer.Option("--tail", help="How many lines a replica, or all.")] = "100",
    since: Annotated[
        str, typer.Option("--since", help="A while ago (5m) or a time.", show_default=False)
    ] = "",
    replica: Annotated[
        str, typer.Option("--replica", help="Its slot or its name.", show_default=False)
    ] = "",
    previous: Annotated[
        bool, typer.Option("-p", "--previous", help="Replicas that ended as well.")
    ] = False,
    timestamps: Annotated[bool, typer.Option("--timestamps", help="Begin with the time.")] = False,
    output: flags.Output = Format.TABLE,
) -> None:
    """Show what the replicas of apps wrote, of one app after the other."""
    at = session(ctx)
    if output is Format.NAME:
        raise BadUse("a line of a log has no name; take -o json, yaml or table")
    refs = at.chosen(words or [], project=project, selector=selector, everywhere=everywhere)
    if follow and len(refs) > 1:
        raise BadUse("-f follows one app, for its log never ends; leave it out, or name one app")
    query: Query = {
        "follow": follow,
        "tail": tail,
        "since": since,
        "replica": replica,
        "previous": previous,
    }
    several = len(refs) > 1
    with_project = len({ref.project for ref in refs}) > 1
    for ref in refs:
        name = short(ref, with_project=with_project) if several else ""
        for line in _log_lines(at, ref, query):
            told = {"resource": str(ref), **line} if several else line
            _show_log_line(at, told, name=name, timestamps=timestamps, output=output)


def _log_lines(at: Session, ref: Ref, query: Query) -> Iterator[dict[str, Any]]:
    accept = "application/x-ndjson"
    with at.api.lines(f"{path_of(ref)}/logs", query, accept=accept, silence=None) as lines:
        for text in lines:
            line: dict[str, Any] = json.loads(text) if text else {}
            if "error" in line:
                raise Trouble(f"the log of {short(ref)} ends here: {line['error']}")
            if line:
                yield line


def _show_log_line(
    at: Session, line: Mapping[str, Any], *, name: str, timestamps: bool, output: Format
) -> None:
    if output is Format.JSON:
        at.screen.json_line(line)
        return
    if output is Format.YAML:
        at.screen.raw("---")
        at.screen.yaml([line])
        return
    slot = line.get("slot", 0)
    words = [line.get("at") or "-" if timestamps else "", name, str(slot), "|"]
    prefix = Cell(" ".join(filter(None, words)), _REPLICA_COLOURS[slot % len(_REPLICA_COLOURS)])
    at.screen.output(prefix, line["text"])
