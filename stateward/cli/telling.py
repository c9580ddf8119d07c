"""The verbs that tell what happened and what is going on inside: events, why, logs, exec."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from stateward.cli import flags, tables, times
from stateward.cli.flags import Format
from stateward.cli.resources import parse, path_of, short
from stateward.cli.screen import Cell
from stateward.cli.session import Session, session
from stateward.cli.streams import endless
from stateward.cli.text import clean_lines
from stateward.cli.trouble import BadUse, Trouble

_REPLICA_COLOURS: Final = ("cyan", "green", "yellow", "red")
_EXEC_GRACE: Final = 15.0  # for the answer, beyond the time that the command may take


def events(
    ctx: typer.Context,
    *,
    words: flags.Words = None,
    project: flags.Project = "",
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
    watch: flags.Watch = False,
    output: flags.Output = Format.TABLE,
) -> None:
    """Tell what happened, oldest first: who wanted what, and what was done."""
    at = session(ctx)
    query: dict[str, str | int | bool | None] = {"type": kind, "all": bookkeeping}
    if words:
        named = parse(words, default="App")
        if len(named) != 1 or not named[0].name:
            raise BadUse("name one resource, such as app/web, or none for all")
        query["resource"] = str(at.ref(named[0], project))
    elif not everywhere:
        query["project"] = at.project(project)
    if watch:
        query["after" if after is not None else "last"] = last if after is None else after
        for message in endless(at.api, "/api/v1/events", query):
            _tell(at, message.data, output)
        return
    found = _events(at, query, last, after)
    if output is Format.JSON:
        at.screen.json({"items": found})
    elif output is Format.YAML:
        at.screen.yaml([{"items": found}])
    else:
        for event in found:
            _tell(at, event, output)


def _events(
    at: Session, query: Mapping[str, str | int | bool | None], last: int, after: int | None
) -> list[dict[str, Any]]:
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
    words: flags.AppWords = None,
    project: flags.Project = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="How much of it.")] = 10,
    output: flags.Output = Format.TABLE,
) -> None:
    """Tell why an app is as it is: what was done last, and for which intent."""
    at = session(ctx)
    ref = at.one(words or [], project)
    found = at.api.get(f"{path_of(ref)}/why", {"limit": limit})
    if output in (Format.JSON, Format.YAML):
        at.screen.json(found) if output is Format.JSON else at.screen.yaml([found])
        return
    at.screen.words(Cell(short(ref), "bold"), found["summary"])
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
    """Show what the replicas of an app wrote."""
    at = session(ctx)
    ref = at.one(words or [], project)
    query: dict[str, str | int | bool | None] = {
        "follow": follow,
        "tail": tail,
        "since": since,
        "replica": replica,
        "previous": previous,
    }
    accept = "application/x-ndjson"
    with at.api.lines(f"{path_of(ref)}/logs", query, accept=accept, silence=None) as lines:
        for line in lines:
            if line:
                _log_line(at, json.loads(line), timestamps=timestamps, output=output)


def _log_line(at: Session, line: Mapping[str, Any], *, timestamps: bool, output: Format) -> None:
    if "error" in line:
        raise Trouble(f"the log ends here: {line['error']}")
    if output is Format.JSON:
        at.screen.json_line(line)
        return
    slot = line.get("slot", 0)
    stamp = f"{line.get('at') or '-'} " if timestamps else ""
    prefix = Cell(f"{stamp}{slot} |", _REPLICA_COLOURS[slot % len(_REPLICA_COLOURS)])
    at.screen.output(prefix, line["text"])


def execute(
    ctx: typer.Context,
    words: Annotated[
        list[str], typer.Argument(metavar="APP -- COMMAND...", help="app/NAME -- ls -l")
    ],
    project: flags.Project = "",
    replica: Annotated[
        str,
        typer.Option(
            "--replica",
            help="Its slot or its name; by default the first ready one.",
            show_default=False,
        ),
    ] = "",
    timeout: flags.Timeout = "30s",
) -> None:
    """Run a command inside a replica; its exit code is that of this one."""
    at = session(ctx)
    seconds = times.seconds(timeout, "--timeout")
    app, argv = _app_and_argv(words)
    body: dict[str, object] = {"argv": argv, "timeoutSeconds": seconds}
    if replica:
        body["replica"] = replica
    path = f"{path_of(at.one(app, project))}/exec"
    answer = at.api.write("POST", path, body, timeout=seconds + _EXEC_GRACE)
    for text, stream in ((answer["stdout"], sys.stdout), (answer["stderr"], sys.stderr)):
        stream.write(clean_lines(text) if stream.isatty() else text)
        stream.flush()
    raise typer.Exit(int(answer["exitCode"]) & 0xFF)


def _app_and_argv(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """`app web ls` and `app/web ls` both name an app first, and then a command."""
    first = 2 if words[0].lower() in ("app", "apps") else 1
    if len(words) <= first:
        raise BadUse("say what to run: stateward exec app/web -- ls -l")
    return list(words[:first]), list(words[first:])
