"""What rules may know: the state of other streams, and the moment of the decision."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol, TypedDict

import msgspec

from domain import state
from domain.events import AppEvent
from domain.intents import Intent
from domain.names import Ref
from domain.refusals import NotFound, NotPossible, Stale


class Context(Protocol):
    """The states that a rule relies on. Whatever is read must not have changed at the append."""

    def app(self, ref: Ref) -> state.App: ...

    def project(self, ref: Ref) -> state.Project: ...

    def target(self, ref: Ref) -> state.Target: ...

    def secret(self, ref: Ref) -> state.Secret: ...

    def members(self, owner: Ref) -> state.Members: ...

    def claims(self, stream: str) -> state.Claims: ...

    def revision(self, ref: Ref, number: int) -> AppEvent | None:
        """The last event of an app's revision, with its uid and generation as positions.

        None if there never was one.
        """
        ...


class Stamp(TypedDict):
    actor: str
    cause: str
    at: datetime


def nothing(_verb: str, _ref: Ref) -> bool:
    """The rights of nobody."""
    return False


class Moment(msgspec.Struct, gc=False, frozen=True):
    """Who decides now, because of what, and in which installation.

    `may` says whether the actor may do a verb to another resource than the one that is asked for.
    `beside` are all intents of the submission, which happen together or not at all.
    """

    actor: str
    cause: str
    now: datetime
    installation: str = ""
    may: Callable[[str, Ref], bool] = nothing
    beside: Sequence[Intent] = ()

    @property
    def stamp(self) -> Stamp:
        """The fields that every event has."""
        return {"actor": self.actor, "cause": self.cause, "at": self.now}


type Named = state.App | state.Project | state.Target | state.Secret


def check_generation(intent: Intent, present: Named) -> None:
    """Raises `Stale` when the intent was made for another generation (0: for no resource)."""
    if intent.generation is None:
        return
    actual = present.generation if present.exists else 0
    if intent.generation != actual:
        raise Stale(intent.ref, intent.generation, actual)


def need(intent: Intent, present: Named) -> None:
    """Raises `NotFound` or `Stale` unless the resource exists as the sender saw it."""
    if not present.exists:
        raise NotFound(intent.ref, f"apply it before you {intent.verb} it")
    check_generation(intent, present)


def unsuitable(intent: Intent) -> NotPossible:
    return NotPossible(f"{intent.ref}: a {intent.ref.kind} cannot {intent.verb}")
