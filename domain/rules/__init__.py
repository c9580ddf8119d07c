"""The rules: which facts an intent brings about, or why it is refused. Pure.

`decide` reads the states it relies on through a `Context`; whoever calls it appends the facts on
the condition that every stream it read is still as it was.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from domain import intents as i
from domain.events import Fact
from domain.names import Ref
from domain.refusals import NotPossible
from domain.rules import apps, projects, secrets, targets
from domain.rules.context import Context, Moment, nothing

__all__ = ["Context", "Moment", "decide"]


def decide(
    context: Context,
    intent: i.Intent,
    *,
    actor: str,
    cause: str,
    now: datetime,
    installation: str = "",
    may: Callable[[str, Ref], bool] = nothing,
    beside: Sequence[i.Intent] = (),
) -> tuple[Fact, ...]:
    """Return the facts `intent` brings about, in order; none if it changes nothing.

    `installation` is the one whose log the facts go to. `may` says what else the actor may do: what
    touches another resource's claims needs rights on that, too. `beside` are all intents that are
    decided together, if there are several: what one of them gives up another may take.

    Raises:
        Refusal: nothing may change; the message says what to do.
    """
    moment = Moment(
        actor=actor, cause=cause, now=now, installation=installation, may=may, beside=beside
    )
    match intent.ref.kind:
        case "App":
            return apps.decide(context, intent, moment)
        case "Project":
            return projects.decide(context, intent, moment)
        case "Target":
            return targets.decide(context, intent, moment)
        case "Secret":
            return secrets.decide(context, intent, moment)
        case other:
            raise NotPossible(f"there is no kind {other!r}; kinds are App, Project, Secret, Target")
