"""Completion of names in the shell: asked of the server, silent when it does not answer soon."""

from collections.abc import Iterator
from typing import Final

import typer

from stateward.cli.resources import WORDS, collection
from stateward.cli.session import session
from stateward.cli.trouble import Trouble

SECONDS: Final = 1.0  # somebody is waiting with a finger on the key
_PLURALS: Final = ("apps", "projects", "targets", "secrets")


def complete_resource(ctx: typer.Context, incomplete: str) -> list[str]:
    """Kinds first, then the names of the kind that was written."""
    words: list[str] = [word for word in ctx.params.get("words") or () if word]
    head, slash, _ = incomplete.partition("/")
    if slash:
        kind = WORDS.get(head.lower())
        names = [f"{head}/{name}" for name in _names(ctx, kind)] if kind else []
    elif words:
        kind = WORDS.get(words[0].lower())
        names = list(_names(ctx, kind)) if kind else []
    else:
        names = list(_PLURALS)
    return [name for name in names if name.startswith(incomplete)]


def complete_project(ctx: typer.Context, incomplete: str) -> list[str]:
    return [name for name in _names(ctx, "Project") if name.startswith(incomplete)]


def _names(ctx: typer.Context, kind: str) -> Iterator[str]:
    try:
        at = session(ctx)
        given = ctx.params.get("project") or at.connection.project
        path = collection(kind, "" if ctx.params.get("everywhere") else given)
        page = at.api.get(path, {"limit": 500}, timeout=SECONDS)
    except Trouble:
        return  # a shell has no place for a message
    for item in page["items"]:
        yield item["metadata"]["name"]
