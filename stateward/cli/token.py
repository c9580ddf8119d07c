"""The verbs for tokens: who may speak to the server."""

from enum import StrEnum
from typing import Annotated
from urllib.parse import quote

import typer

from stateward.cli import flags, times
from stateward.cli.flags import Format
from stateward.cli.screen import Cell
from stateward.cli.session import session

token = typer.Typer(no_args_is_help=True, help="Create, list and revoke tokens.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The token.")]


class Role(StrEnum):
    """What a token allows."""

    ADMIN = "admin"
    EDITOR = "editor"
    VIEWER = "viewer"
    ROUTER = "router"


@token.command("create")
def create(
    ctx: typer.Context,
    name: Name,
    role: Annotated[Role, typer.Option("--role", help="What it allows.")] = Role.VIEWER,
    projects: Annotated[
        list[str] | None,
        typer.Option("-n", "--project", help="Only in these projects.", show_default=False),
    ] = None,
    expires: Annotated[
        str, typer.Option("--expires", help="After so long: 24h.", show_default=False)
    ] = "",
    output: flags.Output = Format.TABLE,
) -> None:
    """Create a token; it is shown this once."""
    at = session(ctx)
    body: dict[str, object] = {"name": name, "role": role.value, "projects": projects or []}
    if expires:
        times.seconds(expires, "--expires")
        body["expiresIn"] = expires
    answer = at.api.write("POST", "/api/v1/tokens", body)
    if output in (Format.JSON, Format.YAML):
        at.screen.json(answer) if output is Format.JSON else at.screen.yaml([answer])
        return
    at.screen.note(f"{answer['actor']} as {answer['role']}; keep this, it is shown only now:", "")
    at.screen.line(answer["token"])


@token.command("list")
def list_all(ctx: typer.Context, output: flags.Output = Format.TABLE) -> None:
    """List the tokens: whose they are and what they allow."""
    at = session(ctx)
    found = at.api.get("/api/v1/tokens")
    if output in (Format.JSON, Format.YAML):
        at.screen.json(found) if output is Format.JSON else at.screen.yaml([found])
        return
    now = at.now()
    at.screen.table(
        ("NAME", "ACTOR", "ROLE", "PROJECTS", "AGE", "EXPIRES"),
        [
            (
                Cell(one["name"], "bold"),
                one["actor"],
                one["role"],
                ", ".join(one.get("projects") or ()) or "all",
                times.since(one.get("createdAt"), now),
                times.stamp(one.get("expiresAt"), now) if one.get("expiresAt") else "never",
            )
            for one in found["items"]
        ],
    )


@token.command("revoke")
def revoke(ctx: typer.Context, name: Name) -> None:
    """Refuse a token from now on."""
    at = session(ctx)
    at.api.write("DELETE", f"/api/v1/tokens/{quote(name, safe='')}")
    at.screen.line(f"token {name} is revoked")
