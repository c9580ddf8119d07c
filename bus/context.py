"""What a decision has read: states by stream, with the version each must still be at."""

from collections.abc import Mapping
from typing import Any, final

from bus.states import States, Versioned
from domain import state
from domain.events import AppEvent, Event, Fact
from domain.names import Ref, members_stream
from domain.rules import Context


class NotLoaded(Exception):
    """The rules asked for something that has to be read from the log first."""

    def __init__(self, stream: str, *, revisions: bool = False) -> None:
        super().__init__(stream)
        self.stream, self.revisions = stream, revisions


@final
class Supplied:
    """What was read from the log for one submission, however often it is decided."""

    __slots__ = ("revisions", "states")

    def __init__(self) -> None:
        self.states: dict[str, Versioned] = {}
        self.revisions: dict[str, Mapping[int, AppEvent]] = {}  # the last event of each


@final
class LoadedContext(Context):
    """Answers rules from memory, and notes what they relied on.

    `loaded` holds the states as they were read, `expected` their versions. Facts of the same
    submission are folded on top, so that a later intent sees what an earlier one brought about.
    """

    def __init__(self, states: States, supplied: Supplied) -> None:
        self._states = states
        self._supplied = supplied
        self.loaded: dict[str, state.State] = {}
        self.expected: dict[str, int] = {}
        self._folded: dict[str, state.State] = {}
        self._ahead: dict[str, list[tuple[int, Event]]] = {}

    def fold(self, fact: Fact) -> None:
        """Let what follows see a fact that is not appended yet; its position is taken as 0.

        A stream that no rule has read is not read for this: nothing relies on it.
        """
        before = self._folded.get(fact.stream) or self.loaded.get(fact.stream)
        if before is None:
            self._ahead.setdefault(fact.stream, []).append((0, fact.event))
        else:
            self._folded[fact.stream] = state.evolve(before, 0, fact.event)

    def _read(self, stream: str) -> Any:
        present = self._folded.get(stream) or self.loaded.get(stream)
        if present is not None:
            return present
        found = self._supplied.states.get(stream) or self._states.get(stream)
        if found is None:
            raise NotLoaded(stream)
        self.expected[stream], present = found
        self.loaded[stream] = present
        if stream in self._ahead:
            present = state.fold(stream, self._ahead.pop(stream), present)
            self._folded[stream] = present
        return present

    def app(self, ref: Ref) -> state.App:
        found: state.App = self._read(ref.stream)
        return found

    def project(self, ref: Ref) -> state.Project:
        found: state.Project = self._read(ref.stream)
        return found

    def target(self, ref: Ref) -> state.Target:
        found: state.Target = self._read(ref.stream)
        return found

    def secret(self, ref: Ref) -> state.Secret:
        found: state.Secret = self._read(ref.stream)
        return found

    def members(self, owner: Ref) -> state.Members:
        found: state.Members = self._read(members_stream(owner))
        return found

    def claims(self, stream: str) -> state.Claims:
        found: state.Claims = self._read(stream)
        return found

    def revision(self, ref: Ref, number: int) -> AppEvent | None:
        if ref.stream not in self._supplied.revisions:
            raise NotLoaded(ref.stream, revisions=True)
        return self._supplied.revisions[ref.stream].get(number)
