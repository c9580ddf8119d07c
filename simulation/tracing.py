"""The trace of a world: every line of what happened, hashed as it comes.

Two runs of the same seed and code have the same hash, in any process. A line holds only what the
world decides: virtual time, names, positions; never an address, an object id or real time.
"""

from collections import Counter, deque
from collections.abc import Callable
from hashlib import blake2b
from typing import Final, final

LAST: Final = 400  # lines that are kept to be shown when something fails
HASHED: Final = 64  # lines at once, which is quicker than one by one


@final
class Trace:
    """What happened, in order. `told` gets each line as it comes.

    `fired` counts what really went wrong, by the name of the fault.
    """

    def __init__(
        self, clock: Callable[[], float], told: Callable[[str], None] | None = None
    ) -> None:
        self._clock, self._told = clock, told
        self._hasher = blake2b(digest_size=16)
        self._unhashed: list[str] = []
        self.lines = 0
        self.last: deque[str] = deque(maxlen=LAST)
        self.fired: Counter[str] = Counter()

    def note(self, who: str, what: str) -> None:
        """Something happened to or by `who`, now."""
        line = f"{self._clock():.3f} {who}: {what}"
        self._unhashed.append(line)
        if len(self._unhashed) >= HASHED:
            self._hash()
        self.lines += 1
        self.last.append(line)
        if self._told is not None:
            self._told(line)

    def fire(self, fault: str, what: str) -> None:
        """A fault took effect."""
        self.fired[fault] += 1
        self.note(fault, what)

    @property
    def now(self) -> float:
        """Virtual time."""
        return self._clock()

    @property
    def digest(self) -> str:
        """The hash of all lines so far."""
        self._hash()
        return self._hasher.hexdigest()

    def _hash(self) -> None:
        self._hasher.update("".join(f"{line}\n" for line in self._unhashed).encode())
        self._unhashed.clear()
