"""The verbs for secrets. A value comes from an argument, a file, standard input or a prompt.

No value is ever shown: not in an answer, not in an error, not while it is typed.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from domain.secret import SecretText
from stateward.cli import flags
from stateward.cli.changing import show_answer
from stateward.cli.flags import Format
from stateward.cli.reading import show
from stateward.cli.resources import path_of, short
from stateward.cli.session import Session, session
from stateward.cli.trouble import BadUse, Refused, Trouble

MAX_BYTES: Final = 64 << 10  # of one value, as the server has it

secret = typer.Typer(no_args_is_help=True, help="Set, list and delete secrets.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The secret.")]


@secret.command("set")
def set_values(
    ctx: typer.Context,
    name: Name,
    values: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE...",
            help="KEY=VALUE; KEY=- from standard input; KEY alone asks for it.",
        ),
    ] = None,
    from_file: Annotated[
        list[str] | None,
        typer.Option("--from-file", help="KEY=FILE, or FILE for a key of its name."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Drop the keys that are not given.")
    ] = False,
    project: flags.Project = "",
    dry_run: flags.DryRun = False,
) -> None:
    """Set all values of a secret; apps that use it roll out a new revision."""
    at = session(ctx)
    ref = at.one([f"secret/{name}"], project, kind="Secret")
    data = _from_files(from_file or []) | _from_words(values or [])
    if not data:
        raise BadUse("give at least one value: KEY=VALUE, KEY, or --from-file KEY=FILE")
    known = _present(at, path_of(ref))
    left_out = [key for key in known.get("keys", ()) if key not in data]
    if left_out and not replace:
        raise BadUse(
            f"{short(ref)} also holds {', '.join(left_out)}: give these too, or --replace to drop"
        )
    manifest = {
        "metadata": {"name": ref.name, "project": ref.project, "labels": known.get("labels", {})},
        "spec": {"data": {key: value.reveal() for key, value in data.items()}},
    }
    query = {"dryRun": "All" if dry_run else None}
    show_answer(at, at.api.write("PUT", path_of(ref), manifest, query), Format.TABLE)


def _present(at: Session, path: str) -> Mapping[str, Mapping[str, str]]:
    """The keys and labels that are there now."""
    try:
        found = at.api.get(path)
    except Refused as refused:
        if refused.status == 404:
            return {}
        raise
    return {
        "keys": dict.fromkeys(found["spec"]["keys"], "***"),
        "labels": found["metadata"].get("labels") or {},
    }


def _from_files(given: list[str]) -> dict[str, SecretText]:
    data = {}
    for word in given:
        key, separator, path = word.partition("=")
        file = Path(path if separator else word)
        data[key if separator else file.name] = _file(file)
    return data


def _file(path: Path) -> SecretText:
    try:
        with path.open("rb") as file:
            return _text(file.read(MAX_BYTES + 1), str(path))
    except OSError as error:
        raise Trouble(f"{path} cannot be read: {error.strerror}") from error


def _text(data: bytes, origin: str) -> SecretText:
    if len(data) > MAX_BYTES:
        raise Trouble(f"{origin}: a value has at most {MAX_BYTES >> 10} KiB")
    try:
        return SecretText(data.decode())
    except UnicodeDecodeError:
        raise Trouble(f"{origin}: a value is UTF-8 text; encode other data, as base64") from None


def _from_words(words: list[str]) -> dict[str, SecretText]:
    data = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not key:
            raise BadUse("write KEY=VALUE; a value here had no key")
        if not separator:
            data[key] = _asked(key)
        elif value == "-":
            data[key] = _text(sys.stdin.buffer.read(MAX_BYTES + 1), f"{key} on standard input")
        else:
            data[key] = SecretText(value)
    return data


def _asked(key: str) -> SecretText:
    if not sys.stdin.isatty():
        raise BadUse(f"nobody is there to type {key}; write {key}=- to read standard input")
    return SecretText(typer.prompt(key, hide_input=True, confirmation_prompt=True, err=True))


@secret.command("list")
def list_all(
    ctx: typer.Context,
    project: flags.Project = "",
    selector: flags.Selector = "",
    everywhere: flags.Everywhere = False,
    output: flags.Output = Format.TABLE,
) -> None:
    """List secrets: their names and keys."""
    at = session(ctx)
    owner = "" if everywhere else at.project(project)
    show(at, {"Secret": list(at.items("Secret", owner, selector))}, output)


@secret.command("delete")
def delete_one(
    ctx: typer.Context, name: Name, project: flags.Project = "", dry_run: flags.DryRun = False
) -> None:
    """Delete a secret that no app uses."""
    at = session(ctx)
    ref = at.one([f"secret/{name}"], project, kind="Secret")
    query = {"dryRun": "All" if dry_run else None}
    show_answer(at, at.api.write("DELETE", path_of(ref), None, query), Format.TABLE)
