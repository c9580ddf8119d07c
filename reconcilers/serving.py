"""Who may get requests of each app, as passes found it, and on which target.

A pass looks at one app at a time. Until it has looked at one since this worker began, what ran
there before goes on being served; and while an app moves, it is served where it was.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, final

from projections.desired import DesiredState
from reconcilers import endpoints
from reconcilers.ports import Replica
from reconcilers.targets import TargetView


class Found(NamedTuple):
    """What the last pass over an app found: who may get requests, on which target."""

    target: str
    serving: tuple[Replica, ...]


@final
class Serving:
    def __init__(self, desired: DesiredState) -> None:
        self._desired = desired
        self._found: dict[str, Found] = {}
        self._former: dict[str, Found] = {}  # on the target where they were looked at before
        self._before: dict[TargetView, frozenset[str]] = {}

    def __contains__(self, stream: str) -> bool:
        return stream in self._found

    def observe(self, views: Iterable[TargetView]) -> None:
        """These targets are known now; what runs there on first sight ran before."""
        before = self._before
        self._before = {v: before[v] if v in before else _running(v) for v in views}

    def before(self, view: TargetView) -> frozenset[str] | None:
        """The replicas that ran on a target before this worker looked at it; None until it did."""
        return self._before.get(view)

    def take(self, stream: str, view: TargetView, found: Found | None) -> bool:
        """Keep what a pass found, and what the last one elsewhere did; whether it is news."""
        known = self._found.pop(stream, None)
        if known is not None and known.target != view.name:
            self._former[stream] = known
        if found is not None:
            self._found[stream] = found
        return known != found

    def forget(self, stream: str) -> None:
        """There is no such app here any more."""
        self._found.pop(stream, None)
        self._former.pop(stream, None)

    def of(self, view: TargetView, stream: str) -> Sequence[Replica]:
        """Who of an app may get requests on a target."""
        found, former = self._found.get(stream), self._former.get(stream)
        app = self._desired.app(stream)
        moves = app is not None and app.reached_at == view.name != app.target
        if found is not None and not moves:
            return found.serving if found.target == view.name else ()
        _, project, name = stream.split("/")
        last = next((f for f in (found, former) if f is not None and f.target == view.name), None)
        there = view.replicas.get((project, name), ())
        if last is not None:
            return endpoints.still(app, last.serving, there)
        known = self.before(view) or frozenset()
        return endpoints.unlooked(app, [one for one in there if one.id in known])


def _running(view: TargetView) -> frozenset[str]:
    return frozenset(one.id for found in view.replicas.values() for one in found)
