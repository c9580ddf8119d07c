"""Text from elsewhere, made safe to show.

A name, a message or a log line may hold anything; what reaches a terminal holds no character that
moves the cursor, hides text or turns it around.
"""

import re
import unicodedata
from typing import Final

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]{0,32}m")
_HARMFUL: Final = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_RESET: Final = "\x1b[0m"


def clean(value: object) -> str:
    """One line of printable text; what is not printable is shown as its code."""
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _is_harmless(char) else _coded(char) for char in text)


def clean_lines(text: str) -> str:
    """The same for text of several lines: line ends and tabs stay."""
    return "\n".join("\t".join(map(clean, line.split("\t"))) for line in text.split("\n"))


def clean_log(line: str) -> str:
    """A line of a program's output: its colours stay and end with it, anything else is coded."""
    parts = _COLOUR.split(line)
    colours = _COLOUR.findall(line)
    shown = "".join(
        clean_lines(part) + colour for part, colour in zip(parts, [*colours, ""], strict=True)
    )
    return shown + _RESET if colours else shown


def _is_harmless(char: str) -> bool:
    return unicodedata.category(char) not in _HARMFUL


def _coded(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
