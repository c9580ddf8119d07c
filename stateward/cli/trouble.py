"""What can keep a command from doing what was asked, with the exit code a script sees.

Trouble (1)
├── BadUse (2)        the command line makes no sense; nothing was sent
├── Unreachable (3)   no server answers there
│   └── Silent        it did, but then said nothing for too long
├── TimedOut (4)      what was waited for did not come in time
└── Refused (1)       the server declined; nothing changed
"""

from collections.abc import Mapping
from typing import Any


class Trouble(Exception):
    """The message says what was asked, what is the case, and what to do."""

    exit_code = 1


class BadUse(Trouble):
    exit_code = 2


class Unreachable(Trouble):
    exit_code = 3


class Silent(Unreachable): ...


class TimedOut(Trouble):
    exit_code = 4


class Refused(Trouble):
    """`problem` is what the server said (RFC 9457)."""

    def __init__(self, message: str, *, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem

    @property
    def code(self) -> str:
        return str(self.problem.get("code", ""))
