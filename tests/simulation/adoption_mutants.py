"""Seeded bugs of who takes over what on clusters: patches, for the table of `mutants`.

Each is what a tired person might leave out: a uid, a word about data, a look into a namespace.
"""

from typing import Any
from unittest.mock import patch

from domain.rules import adopting as rules
from reconcilers.object_adopting import Approved, ObjectAdopting
from reconcilers.object_ports import Json, ObjectKey
from reconcilers.object_removal import ObjectGrounds

type Patched = Any


def uid_not_compared() -> Patched:
    """What has the name that was named is taken, whatever it is by now."""

    def allows(self: Approved, one: Json) -> bool:
        return ObjectKey.of(one) in self.uids

    return patch.object(Approved, "allows", allows)


def data_taken_unasked() -> Patched:
    """Data is an object like any other."""
    return patch.object(rules, "CLAIM", "")


def never_concluded() -> Patched:
    """Nobody records that a takeover is over."""
    return patch.object(ObjectAdopting, "conclude", lambda *_about: None)


def namespaces_end_unseen() -> Patched:
    """A namespace goes with its last app, whoever else is in it."""

    async def may_end(_self: ObjectGrounds, _key: ObjectKey) -> bool:
        return True

    return patch.object(ObjectGrounds, "_may_end", may_end)
