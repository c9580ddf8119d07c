"""Who may do what: the one rule that every intent and every question passes.

An actor is a person, a program or a part of Stateward (`system:`), with one role over all
projects or over the named ones. A `router` reads what it is to serve, keys of certificates
included, and nothing else; nobody but it reads those.
"""

from dataclasses import dataclass, field
from typing import Literal

from domain.names import KINDS_WITHOUT_PROJECT, Ref
from domain.refusals import Forbidden

type Role = Literal["admin", "editor", "viewer", "router"]

READ = "read"
POLL = "poll"  # what a target's router serves, with the keys of certificates
_OF_ADMINS = frozenset({"adopt"})  # reaches what others run


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """`name` is recorded with every event: `user:alice`, `program:ci`, `system:replicas`."""

    name: str
    role: Role
    projects: frozenset[str] = field(default_factory=frozenset)

    @property
    def everywhere(self) -> bool:
        return not self.projects


def part_of_ours(part: str) -> Actor:
    """The actor of a part of Stateward itself."""
    return Actor(name=f"system:{part}", role="admin")


def may(actor: Actor, verb: str, ref: Ref) -> bool:
    """Whether `authorise` would let it pass."""
    try:
        authorise(actor, verb, ref)
    except Forbidden:
        return False
    return True


def authorise(actor: Actor, verb: str, ref: Ref) -> None:
    """Raises `Forbidden` unless the actor may do `verb` to the resource."""
    if actor.role == "admin" and not actor.projects and verb != POLL:
        return
    if actor.role == "router" or verb == POLL:
        allowed = actor.role == "router" and verb == POLL
    elif verb == READ or actor.role == "admin":
        allowed = True
    else:
        allowed = actor.role == "editor" and ref.kind != "Target" and verb not in _OF_ADMINS
    project = ref.name if ref.kind == "Project" else ref.project
    if not actor.everywhere:
        shared = ref.kind in KINDS_WITHOUT_PROJECT and ref.kind != "Project"
        allowed = allowed and (project in actor.projects or (shared and verb == READ))
    if not allowed:
        where = "any project" if actor.everywhere else ", ".join(sorted(actor.projects))
        raise Forbidden(
            f"{actor.name} may not {verb} {ref}: the role is {actor.role} in {where}; "
            "ask an admin for a token with a wider one",
            resource=str(ref),
            verb=verb,
        )
