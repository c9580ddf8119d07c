"""Who hears of everything that happens to messages: one line for each, and a number by name."""

from collections import Counter
from collections.abc import Callable
from typing import final


@final
class Witness:
    """Tells `heard`, and counts in `happened`."""

    def __init__(self, heard: Callable[[str], None]) -> None:
        self._heard = heard
        self.happened: Counter[str] = Counter()

    def note(self, line: str, *names: str) -> None:
        """A line that is the same whenever the same happens, and what to count it as."""
        for name in names:
            self.happened[name] += 1
        self._heard(line)
