"""How a command line names resources: `app web`, `apps web api`, `app/web`, `App/shop/web`."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final, NamedTuple
from urllib.parse import quote

from domain.names import KINDS_WITHOUT_PROJECT, Ref
from stateward.cli.trouble import BadUse

WORDS: Final = {
    "app": "App",
    "apps": "App",
    "project": "Project",
    "projects": "Project",
    "proj": "Project",
    "target": "Target",
    "targets": "Target",
    "tgt": "Target",
    "secret": "Secret",
    "secrets": "Secret",
}
"""Every word for a kind, in lower case."""

COMMANDS: Final = {
    "events": "events",
    "logs": "logs",
    "tokens": "token list",
    "contexts": "context list",
}
"""What is looked for as if it were a kind, and the command that shows it."""


class Named(NamedTuple):
    """What was named: all of a kind when `name` is empty. `project` only if it was written."""

    kind: str
    name: str = ""
    project: str = ""


def kind_of(word: str) -> str:
    """The kind that a word means.

    Raises:
        BadUse: none; names the nearest word.
    """
    kind = WORDS.get(word.lower())
    if kind is None:
        near = get_close_matches(word.lower(), WORDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "kinds are app, project, target and secret"
        if command := COMMANDS.get(f"{word.lower().removesuffix('s')}s"):
            hint = f"`stateward {command}` shows them"
        raise BadUse(f"{word!r} is no kind of resource; {hint}")
    return kind


def parse(words: Sequence[str], *, kinds: Sequence[str] = (), default: str = "") -> list[Named]:
    """Read `app web`, `app/web project/shop`, `apps` or `apps,secrets`.

    Args:
        words: the arguments of a command.
        kinds: those that the command is for; empty for all.
        default: the kind of words that name none: `logs web` needs no `app`.

    Raises:
        BadUse: a word is no kind, or the command is not for that kind.
    """
    if not words:
        raise BadUse("name what is meant, such as app/web, or all of a kind: apps")
    if "," in words[0] and len(words) == 1:
        found = [Named(kind_of(word)) for word in words[0].split(",")]
    elif "/" in words[0]:
        found = [_slashed(word) for word in words]
    elif default and words[0].lower() not in WORDS:
        found = [_slashed(word) if "/" in word else Named(default, word) for word in words]
    else:
        kind = kind_of(words[0])
        found = [_checked_name(kind, word) for word in words[1:]] or [Named(kind)]
    for named in found:
        if kinds and named.kind not in kinds:
            allowed = " or ".join(kind.lower() for kind in kinds)
            raise BadUse(f"this command is for {allowed} resources, and {named.kind} is another")
    return found


def _checked_name(kind: str, word: str) -> Named:
    if "/" in word:
        raise BadUse(f"write either {kind.lower()} NAME or {kind.lower()}/NAME, not both: {word!r}")
    return Named(kind, word)


def _slashed(word: str) -> Named:
    parts = word.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise BadUse(f"{word!r} names nothing; write KIND/NAME, such as app/web")
    kind = kind_of(parts[0])
    if len(parts) == 2:
        return Named(kind, parts[1])
    if kind in KINDS_WITHOUT_PROJECT:
        raise BadUse(f"{word!r}: a {kind} belongs to no project; write {kind.lower()}/{parts[2]}")
    return Named(kind, parts[2], parts[1])


def path_of(ref: Ref) -> str:
    """Where the API has one resource."""
    return f"{collection(ref.kind, ref.project)}/{quote(ref.name, safe='')}"


def collection(kind: str, project: str = "") -> str:
    """Where the API lists a kind: of one project, or of all."""
    plural = f"{kind.lower()}s"
    if kind in KINDS_WITHOUT_PROJECT or not project:
        return f"/api/v1/{plural}"
    return f"/api/v1/projects/{quote(project, safe='')}/{plural}"


def short(ref: Ref, *, with_project: bool = False) -> str:
    """`app/web`, or `app/shop/web` where several projects are spoken of."""
    if with_project and ref.project:
        return f"{ref.kind.lower()}/{ref.project}/{ref.name}"
    return f"{ref.kind.lower()}/{ref.name}"
