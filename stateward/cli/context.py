"""The verbs for contexts: which servers are known, and which one is spoken to."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from domain.secret import SecretText
from stateward.cli import contexts, flags
from stateward.cli.contexts import Context
from stateward.cli.flags import Format
from stateward.cli.screen import Cell
from stateward.cli.session import session
from stateward.cli.trouble import BadUse

context = typer.Typer(no_args_is_help=True, help="Choose the server that is spoken to.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The context.")]


@context.command("list")
def list_all(ctx: typer.Context, output: flags.Output = Format.TABLE) -> None:
    """List the known contexts; the current one is marked."""
    at = session(ctx)
    known = contexts.read(at.environment.client_config)
    facts = [
        {
            "name": name,
            "current": name == known.current,
            "server": one.server,
            "project": one.project,
            "token": "here" if one.token else str(one.token_file or ""),
        }
        for name, one in known.by_name.items()
    ]
    if output in (Format.JSON, Format.YAML):
        items = {"items": facts}
        at.screen.json(items) if output is Format.JSON else at.screen.yaml([items])
    elif not facts:
        origin = contexts.LOCAL_SERVER
        at.screen.note(f"No context is set; commands speak to {origin}.", "dim")
    else:
        at.screen.table(
            ("", "NAME", "SERVER", "PROJECT", "TOKEN"),
            [
                (
                    Cell("*" if fact["current"] else "", "green"),
                    Cell(str(fact["name"]), "bold"),
                    str(fact["server"]),
                    str(fact["project"]) or "-",
                    str(fact["token"]) or "-",
                )
                for fact in facts
            ],
        )


@context.command("use")
def use(ctx: typer.Context, name: Name) -> None:
    """Make a context the current one."""
    at = session(ctx)
    contexts.read(at.environment.client_config).use(name).write()
    at.screen.line(f"commands now speak to {name}")


@context.command("set")
def set_one(
    ctx: typer.Context,
    name: Name,
    server: Annotated[
        str, typer.Option("--server", help="http://HOST:PORT", show_default=False)
    ] = "",
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="Where the token stands.")
    ] = None,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read the token from standard input, and keep it.")
    ] = False,
    project: Annotated[
        str | None, typer.Option("-n", "--project", help="The project if none is named.")
    ] = None,
) -> None:
    """Add a context, or change the given fields of one."""
    at = session(ctx)
    if token_file and token_stdin:
        raise BadUse("give --token-file or --token-stdin, not both")
    known = contexts.read(at.environment.client_config)
    before = known.by_name.get(name, Context())
    token = before.token if not token_file else None
    if token_stdin:
        token = SecretText(sys.stdin.readline().strip())
    file = None if token_stdin else before.token_file
    changed = Context(
        server=contexts.checked_server(server) if server else before.server,
        token=token,
        token_file=token_file.absolute() if token_file else file,
        project=before.project if project is None else project,
    )
    known.put(name, changed).write()
    at.screen.line(f"context {name} speaks to {changed.server}")


@context.command("delete")
def delete_one(ctx: typer.Context, name: Name) -> None:
    """Forget a context."""
    at = session(ctx)
    contexts.read(at.environment.client_config).without(name).write()
    at.screen.line(f"context {name} is forgotten")
