"""What a simulated replica does: chosen by the words of its order, or by the variable `SIMULATED`.

`SIMULATED` is a list of words with commas between: `exit=1` ends at once with 1, `lives=30` after
30 seconds; `unready` never passes a check, `unready=5` not in its first 5 seconds, `sick=60` no
longer after 60; `failing=/live` answers 503 there; `deaf` never answers; `stubborn` ignores the
stop signal, `slow=3` obeys it after 3 seconds; `refused` cannot be started at all.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from reconcilers.ports import StartReplica

MISSING = "/no/"  # commands below it exist on no simulated machine


class ImpossibleWorld(AssertionError):
    """A test or a reconciler asks for what no engine could ever show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Seconds count from the start of the replica. `lives` 0.0 with `exit_code`: ends at once."""

    exit_code: int = 0
    lives: float = math.inf
    unready: float = 0.0
    sick: float = math.inf
    slow: float = 0.0
    failing: frozenset[str] = frozenset()
    deaf: bool = False
    stubborn: bool = False
    refused: bool = False

    def is_well(self, age_seconds: float, path: str | None = None) -> bool:
        """Whether it passes a check, of `path` where it has one."""
        return self.unready <= age_seconds < self.sick and path not in self.failing


def program_of(order: StartReplica) -> Program:
    """Read the program that an order chooses.

    Raises:
        ImpossibleWorld: it is written in words that mean nothing here.
    """
    chosen = order.env.get("SIMULATED")
    words = chosen if isinstance(chosen, str) else ",".join(_words(order.args))
    return program_of_words(words)


def _words(args: tuple[str, ...]) -> tuple[str, ...]:
    match args:
        case ("serve", *how):
            return tuple(how)
        case ("exit", code):
            return (f"exit={code}",)
        case _:
            return ()


@lru_cache(maxsize=4096)
def program_of_words(words: str) -> Program:
    """Read the program that words of `SIMULATED` choose; raises `ImpossibleWorld` as above."""
    fields: dict[str, Any] = {}
    for word in filter(None, words.split(",")):
        key, given, value = word.partition("=")
        match key:
            case "exit":
                fields |= {"exit_code": int(value or 1)}
                fields.setdefault("lives", 0.0)
            case "unready":
                fields["unready"] = float(value) if given else math.inf
            case "lives" | "sick" | "slow":
                fields[key] = float(value)
            case "failing":
                fields["failing"] = frozenset(value.split("+"))
            case "deaf" | "stubborn" | "refused":
                fields[key] = True
            case _:
                raise ImpossibleWorld(f"SIMULATED={words!r}: no program knows the word {word!r}")
    return Program(**fields)
