"""Amounts as an API server stores them, so that what is sent compares equal to what is read.

It keeps one spelling of each: the largest unit that leaves a whole number, powers of 1024 for
memory where they fit. Durations are whole seconds, rounded up: no wait is shorter than asked.
"""

from math import ceil
from typing import Final

from domain import quantities

LONGEST: Final = 2**31 - 1  # seconds that a field of 32 bits holds

_BINARY: Final = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL: Final = ("", "k", "M", "G", "T", "P", "E")


def cpu(text: str) -> str:
    """Canonical CPU: `0.5` is `500m`, 2000 cores are `2k`."""
    millis = quantities.cpu_millis(text)
    return f"{millis}m" if millis % 1000 else _scaled(millis // 1000, 1000, _DECIMAL)


def memory(text: str) -> str:
    """Canonical memory: `1024Mi` is `1Gi`, `500000000` is `500M`."""
    size = quantities.memory_bytes(text)
    return _scaled(size, 1000, _DECIMAL) if size % 1024 else _scaled(size // 1024, 1024, _BINARY)


def _scaled(number: int, step: int, units: tuple[str, ...]) -> str:
    place = 0
    while number % step == 0 and place < len(units) - 1:
        number, place = number // step, place + 1
    return f"{number}{units[place]}"


def seconds(text: str, *, least: int = 0) -> int:
    """Whole seconds of a duration, at least `least`."""
    return min(max(least, ceil(quantities.seconds(text))), LONGEST)
