"""How a pass over one app ended."""

from typing import NamedTuple


class Outcome(NamedTuple):
    """`noop`, `success` or `requeue`, in a sentence, and when to look again."""

    result: str
    sentence: str
    wake_at: float | None = None
