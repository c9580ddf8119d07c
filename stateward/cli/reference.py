"""The reference of the command line as Markdown, written from the commands themselves.

Pure: the same commands give the same text, whatever the terminal.
"""

from collections.abc import Iterator
from enum import Enum
from typing import Any

from typer.main import get_command

from stateward.cli.app import app

_HEAD = (
    "# The command line\n\nGenerated from the commands; `stateward VERB --help` says the same.\n"
)


def markdown() -> str:
    """The whole page."""
    root = get_command(app)
    parts = [_HEAD, _paragraph(root.epilog), "## For every command\n", *_options(root)]
    for name, command in _commands(root):
        parts += _section(f"stateward {name}", command, level=2)
    return "\n".join(part for part in parts if part).rstrip() + "\n"


def _section(name: str, command: Any, *, level: int) -> Iterator[str]:
    yield f"{'#' * level} {name}\n"
    yield _paragraph(command.help)
    children = list(_commands(command))
    if not children:
        yield f"    {name}{_usage(command)}\n"
    yield from _options(command)
    for child_name, child in children:
        yield from _section(f"{name} {child_name}", child, level=level + 1)


def _commands(group: Any) -> Iterator[tuple[str, Any]]:
    """The commands of a group in the order in which its help lists them."""
    commands: dict[str, Any] = getattr(group, "commands", {})
    yield from ((name, command) for name, command in commands.items() if not command.hidden)


def _usage(command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    words = "".join(f" {p.metavar or p.name.upper()}" for p in arguments)
    return f" [OPTIONS]{words}" if len(arguments) < len(command.params) else words


def _options(command: Any) -> Iterator[str]:
    """A table of arguments and flags."""
    rows = [_row(p) for p in command.params if not getattr(p, "hidden", False)]
    if rows:
        yield "| | |\n|---|---|\n" + "\n".join(rows) + "\n"


def _row(parameter: Any) -> str:
    text = (getattr(parameter, "help", None) or "").replace("|", "\\|").replace("\n", " ")
    if parameter.param_type_name == "argument":
        return f"| `{parameter.metavar or parameter.name.upper()}` | {text} |"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    return f"| {names}{_value(parameter)} | {text}{_default(parameter)} |"


def _value(parameter: Any) -> str:
    """What follows a flag: its choices, or the kind of its value."""
    if parameter.is_flag:
        return ""
    if parameter.metavar:
        return f" {parameter.metavar}"
    kind = parameter.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " " + "\\|".join(str(choice.value) for choice in kind)
    words = str(kind)
    return " N" if "int" in words else " PATH" if "Path" in words else " TEXT"


def _default(parameter: Any) -> str:
    default = parameter.default
    if default in (None, "", False, True) or callable(default) or not parameter.show_default:
        return ""
    return f" Default: `{getattr(default, 'value', default)}`."


def _paragraph(text: str | None) -> str:
    return " ".join((text or "").split()) + "\n" if text else ""
