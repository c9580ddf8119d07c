"""The managers of an object, and what a write changes about them: apply, or update.

An apply owns what it sends, loses what it no longer sends (pruned when nobody else owns it), and
conflicts with owners of what it would change. An update owns what it changed.
Source: structured-merge-diff, `merge/update.go`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from tests.support.kubernetes import ownership
from tests.support.kubernetes.answers import Refused, cause
from tests.support.kubernetes.checking import without_nulls
from tests.support.kubernetes.merging import merged
from tests.support.kubernetes.ownership import Paths
from tests.support.kubernetes.schema import Object, Schema

APPLY, UPDATE = "Apply", "Update"


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, by which kind of request."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    def described(self, time: str) -> str:
        said = f'conflict with "{self.name}"'
        if self.subresource:
            said += f' with subresource "{self.subresource}"'
        said += f" using {self.api_version}"
        return f"{said} at {time}" if self.operation == UPDATE else said


@dataclass(frozen=True, slots=True)
class Owned:
    paths: Paths
    time: str


type Managers = dict[Writer, Owned]


def read(written: Object) -> Managers:
    return {
        Writer(
            entry["manager"], entry["operation"], entry["apiVersion"], entry.get("subresource", "")
        ): Owned(ownership.from_tree(entry["fieldsV1"]), entry["time"])
        for entry in written.get("metadata", {}).get("managedFields") or ()
    }


def write(managers: Managers) -> list[Object]:
    def order(entry: tuple[Writer, Owned]) -> tuple[str, str, str]:
        return entry[0].operation, entry[1].time, entry[0].name

    return [
        {
            "manager": writer.name,
            "operation": writer.operation,
            "apiVersion": writer.api_version,
            "time": owned.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": ownership.tree(owned.paths),
            **({"subresource": writer.subresource} if writer.subresource else {}),
        }
        for writer, owned in sorted(managers.items(), key=order)
        if owned.paths
    ]


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one kind; `now` stamps an entry whose set of fields changes."""

    schema: Schema
    now: Callable[[], str]

    def updated(self, live: Object, new: Object, writer: Writer) -> Managers:
        """The managers after `writer` turned `live` into `new`."""
        managers = read(live)
        difference = ownership.compare(self.schema, live, new)
        mine = managers.get(writer, Owned(frozenset(), ""))
        others = self._yielding(managers, writer, difference)
        owned = (mine.paths - difference.removed) | difference.written
        return self._with(others, writer, mine, owned)

    def applied(
        self, live: Object, sent: Object, writer: Writer, *, force: bool
    ) -> tuple[Object, Managers]:
        """The object and the managers after `writer` applied what it `sent`.

        Raises:
            Refused: 409, another manager owns a field that would change.
        """
        managers = read(live)
        before = managers.get(writer, Owned(frozenset(), ""))
        owned = ownership.paths(self.schema, sent)
        everyone = [of.paths for other, of in managers.items() if other != writer]
        new = self._pruned(merged(self.schema, live, sent), before.paths, [*everyone, owned])
        difference = ownership.compare(self.schema, live, new)
        conflicts = {
            other: of.paths & difference.written
            for other, of in managers.items()
            if other != writer and of.paths & difference.written
        }
        if conflicts and not force:
            raise _conflict(conflicts, managers)
        others = self._yielding(managers, writer, difference)
        return without_nulls(new), self._with(others, writer, before, owned)

    def _with(self, others: Managers, writer: Writer, before: Owned, owned: Paths) -> Managers:
        same = before.paths == owned
        return {**others, writer: before if same else Owned(owned, self.now())}

    def _yielding(
        self, managers: Managers, writer: Writer, difference: ownership.Difference
    ) -> Managers:
        lost = difference.written | difference.removed
        return {
            other: replace(of, paths=of.paths - lost)
            for other, of in managers.items()
            if other != writer and of.paths - lost
        }

    def _pruned(self, new: Object, before: Paths, everyone: Iterable[Paths]) -> Object:
        """Without what the writer owned before, no longer sends, and nobody else owns."""
        if not before:
            return new
        dropped = self._named(before)
        there = self._named(ownership.paths(self.schema, new))
        kept = self._named(frozenset().union(*everyone))
        bare = self._left(new, dropped)
        unowned = there - self._named(ownership.paths(self.schema, bare)) - kept
        left = self._left(new, unowned)
        gone = (there - self._named(ownership.paths(self.schema, left))) & dropped
        return self._left(new, gone)

    def _named(self, owned: Paths) -> Paths:
        return ownership.with_parents(self.schema, owned)

    def _left(self, written: Object, gone: Paths) -> Object:
        left: Any = ownership.without_paths(self.schema, written, gone)
        return left or {}


def _conflict(conflicts: dict[Writer, Paths], managers: Managers) -> Refused:
    causes = [
        cause(
            "FieldManagerConflict",
            ownership.spoken(path),
            writer.described(managers[writer].time),
        )
        for writer, clashing in sorted(conflicts.items(), key=lambda one: one[0].name)
        for path in sorted(clashing)
    ]
    count = f"{len(causes)} conflict{'s' if len(causes) > 1 else ''}"
    said = ", ".join(f"{one['message']}: {one['field']}" for one in causes)
    return Refused(409, f"Apply failed with {count}: {said}", causes=causes)
