"""What a command shows: tables for people, JSON and YAML for programs, trouble on stderr.

Colours and live displays only where somebody looks: on a terminal, unless `NO_COLOR` is set.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, final

from stateward.cli.text import clean, clean_lines, clean_log

if TYPE_CHECKING:
    from rich.console import Console

_ANSI: Final = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
}


class Cell(NamedTuple):
    """Text for a table. Cleaned when it is shown, so it may come from anywhere."""

    text: str
    style: str = ""


type Row = Sequence[Cell | str]


@final
class Screen:
    """The two streams of a command.

    Args:
        no_colour: whether the user asked for none.
    """

    def __init__(self, *, no_colour: bool) -> None:
        self.is_terminal = sys.stdout.isatty()
        self._colour = self.is_terminal and not no_colour
        self._colour_errors = sys.stderr.isatty() and not no_colour

    def line(self, text: str = "", style: str = "") -> None:
        """One line of our own words; names within it are cleaned."""
        print(self._styled(clean(text), style, colour=self._colour), flush=self.is_terminal)

    def words(self, *words: Cell | str) -> None:
        """One line of differently styled words."""
        cells = [word if isinstance(word, Cell) else Cell(word) for word in words]
        parts = (self._styled(clean(c.text), c.style, colour=self._colour) for c in cells)
        print(" ".join(parts).rstrip(), flush=True)

    def note(self, text: str, style: str = "yellow") -> None:
        """Something besides the answer: a warning, progress."""
        print(
            self._styled(clean(text), style, colour=self._colour_errors),
            file=sys.stderr,
            flush=True,
        )

    def raw(self, text: str) -> None:
        """Text that was made here and holds several lines."""
        print(text, flush=True)

    def output(self, prefix: Cell, text: str) -> None:
        """A line of a program's output: as it is for another program, harmless on a terminal."""
        shown = clean_log(text) if self.is_terminal else text
        before = self._styled(clean(prefix.text), prefix.style, colour=self._colour)
        print(f"{before} {shown}" if before else shown, flush=True)

    def json(self, value: Any) -> None:
        print(self._json_text(value, indent=2), flush=True)

    def json_line(self, value: Any) -> None:
        print(self._json_text(value, indent=None), flush=True)

    def yaml(self, values: Iterable[Any]) -> None:
        """One YAML document for each value."""
        print("---\n".join(as_yaml(value) for value in values), end="", flush=True)

    def table(self, heads: Sequence[str], rows: Iterable[Row]) -> None:
        """A table as wide as its contents, or on a terminal as wide as that."""
        body = [[c if isinstance(c, Cell) else Cell(c) for c in row] for row in rows]
        shown = [[Cell(clean(cell.text), cell.style) for cell in row] for row in body]
        if not self.is_terminal:
            for line in plain_table(heads, shown):
                print(line)
            return
        self._rich_table(heads, shown)

    def _rich_table(self, heads: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        from rich.table import Table  # noqa: PLC0415 -- a pipe never needs it
        from rich.text import Text  # noqa: PLC0415

        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
        for head in heads:
            table.add_column(head, overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell.text, style=cell.style) for cell in row))
        self.console().print(table)

    def console(self) -> "Console":
        """A rich console on standard output."""
        from rich.console import Console  # noqa: PLC0415 -- a pipe never needs it

        return Console(no_color=not self._colour, highlight=False, emoji=False, markup=False)

    @contextmanager
    def progress(self) -> Iterator["Progress"]:
        """A line that says how far things are: replaced in place on a terminal, else added."""
        if not sys.stderr.isatty():
            yield Progress(self.note)
            return
        from rich.console import Console  # noqa: PLC0415 -- a pipe never needs it
        from rich.text import Text  # noqa: PLC0415

        console = Console(stderr=True, no_color=not self._colour_errors, emoji=False, markup=False)
        with console.status("") as status:
            yield Progress(lambda text: status.update(Text(clean(text))))

    def _styled(self, text: str, style: str, *, colour: bool) -> str:
        code = _ANSI.get(style)
        return f"\x1b[{code}m{text}\x1b[0m" if colour and code and text else text

    def _json_text(self, value: Any, *, indent: int | None) -> str:
        encoding = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "")
        text = json.dumps(value, indent=indent, ensure_ascii=encoding != "utf8")
        return clean_lines(text) if self.is_terminal else text


@final
class Progress:
    """Says something only when it is new."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said = ""

    def say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._say(text)


def plain_table(heads: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Iterator[str]:
    """The lines of a table without colours and without spaces at their ends."""
    widths = [len(head) for head in heads]
    for row in rows:
        widths = [max(width, len(cell.text)) for width, cell in zip(widths, row, strict=True)]
    for texts in (heads, *([cell.text for cell in row] for row in rows)):
        padded = (text.ljust(width) for text, width in zip(texts, widths, strict=True))
        yield "   ".join(padded).rstrip()


def as_yaml(value: Any) -> str:
    """A value as a YAML document, which `gateway.documents` reads back as the same value."""
    import yaml  # noqa: PLC0415 -- only when YAML is asked for

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
    return text
