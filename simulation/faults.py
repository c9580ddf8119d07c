"""What goes wrong with simulated engine calls. It decides nothing by itself: a test or a seed does.

Every call to an engine is first described as a `Call`; `Faults.plan` answers with its `Trouble`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from reconcilers.ports import EngineEvent, EngineUnavailable, Replica, ReplicaName


class Call(NamedTuple):
    """The `number`-th call to the machine, counted from 1, and whom it is about."""

    number: int
    verb: str
    about: ReplicaName | str | tuple[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What happens to one call.

    delay_seconds: half of it passes before the effect, half after.
    before: raised instead of the effect.
    after: raised although the effect took place.
    distort: what a list shows instead of the truth: stale, partial.
    """

    delay_seconds: float = 0.0
    before: Exception | None = None
    after: Exception | None = None
    distort: Callable[[Sequence[Replica]], Sequence[Replica]] | None = None


CALM = Trouble()


@dataclass(slots=True)
class Faults:
    """The troubles of one machine; change its fields at any time.

    unavailable: every call raises `EngineUnavailable`, and no event arrives.
    plan: asked at every call.
    loses: asked for every event; the lost ones are never seen.
    """

    unavailable: bool = False
    plan: Callable[[Call], Trouble] = lambda _call: CALM
    loses: Callable[[EngineEvent], bool] = lambda _event: False
    calls: int = field(default=0, init=False)

    def meet(self, verb: str, about: ReplicaName | str | tuple[str, str] | None) -> Trouble:
        """Count a call and say what becomes of it."""
        self.calls += 1
        if self.unavailable:
            return Trouble(before=EngineUnavailable(f"{verb}: the simulated engine is away"))
        return self.plan(Call(self.calls, verb, about))


def on_call(number: int, trouble: Trouble) -> Callable[[Call], Trouble]:
    """A plan that troubles one call only."""
    return lambda call: trouble if call.number == number else CALM


def on_verb(verb: str, trouble: Trouble) -> Callable[[Call], Trouble]:
    """A plan that troubles all calls of one verb."""
    return lambda call: trouble if call.verb == verb else CALM
