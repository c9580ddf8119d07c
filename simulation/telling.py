"""Telling: the lines of a trace that led to a violation, as sentences."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from simulation.invariants.violations import Violation
from simulation.knobs import Fault

LINES: Final = 40
OFTEN: Final = 2  # how often the same thing is told
FIRST: Final = 6  # lines of a long story that are told before its end
FAULTS: Final = frozenset(fault.value for fault in Fault)
_NAMED: Final = re.compile(r"\b[a-z][a-z0-9-]*/[a-z][a-z0-9-]*\b")
_REPLICA: Final = re.compile(
    r"ReplicaName\(project='([^']+)', app='([^']+)', revision=(\d+), slot=(\d+), attempt=(\d+)\)"
)
_KEY: Final = re.compile(r"\('([^']+)', '([^']+)'\)")
_NUMBER: Final = re.compile(r"\d+")
_LINE: Final = re.compile(r"(?P<at>[0-9.]+) (?P<who>[^:]+): (?P<what>.*)", re.DOTALL)


def story(trace: Sequence[str], violation: Violation) -> list[str]:
    """What happened, in at most `LINES` sentences, up to the first violation."""
    about = set(_NAMED.findall(_as_name(violation.what)))
    told: list[str] = []
    heard: Counter[tuple[str, str]] = Counter()
    for line in trace:
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        who, what = found["who"], found["what"]
        kind = (who, _NUMBER.sub("", what))
        heard[kind] += 1
        if _matters(who, what, about) and heard[kind] <= OFTEN:
            told.append(f"{_time(float(found['at']))}  {sentence(who, _as_name(what))}")
        if who == "VIOLATION" and violation.what in what:
            break
    if len(told) <= LINES:
        return told
    left = len(told) - LINES + 1
    return [*told[:FIRST], f"       ... {left} lines left out ...", *told[FIRST + left :]]


def sentence(who: str, what: str) -> str:  # noqa: PLR0911 -- one for each who
    """One line of a trace in words."""
    if who == "VIOLATION":
        return f"BROKEN: {what}"
    if who in FAULTS:
        return f"fault {who} befalls {what}"
    if who == "client":
        return f"a client is told: {what}"
    if who == "log":
        return f"the log now holds {what}"
    if who == "operator":
        return f"an operator {what}"
    if what.startswith(("begins", "ends", "is gone")):
        return f"control plane {who} {what}"
    return f"control plane {who}: {what}"


def _matters(who: str, what: str, about: set[str]) -> bool:
    """Whether a line belongs to the story of what is named in a violation."""
    if who == "VIOLATION":
        return True
    if who == "broker":
        return False
    named = set(_NAMED.findall(_as_name(what)))
    if about and named:
        return bool(about & named)
    life = what.startswith(("begins", "ends", "is gone"))
    return life or who in FAULTS or who == "operator" or not about


def _as_name(what: str) -> str:
    """Names of replicas and keys of lists, written as the names of their apps."""
    what = _REPLICA.sub(r"\1/\2 r\3.\4.\5", what)
    return _KEY.sub(r"\1/\2", what).replace("App/", "")


def _time(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes):3}:{rest:06.3f}"
