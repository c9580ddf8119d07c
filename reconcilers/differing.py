"""Differing: which apps of a target are not as they should be, found by comparing strings.

Every app has one fingerprint for what should run and one for what does. Equal fingerprints cost no
task, no decoding and no pass: a replay tick over a converged fleet compares two dictionaries.
An app of which nothing should run, or nothing does, has no fingerprint there.
"""

from collections.abc import Iterable
from typing import Final, final

from projections.desired import DesiredState
from reconcilers.fingerprints import fingerprint
from reconcilers.targets import TargetView

LOOK: Final = "look"  # equals no fingerprint: a pass has to look at this app


@final
class Wanted:
    """The fingerprints that the apps of each target should show."""

    def __init__(self, desired: DesiredState) -> None:
        self._desired = desired
        self._by_target: dict[str, dict[str, str]] = {}
        self._place: dict[str, str] = {}
        self._stale: dict[str, None] | None = None  # in the order in which they moved

    def moved(self, stream: str) -> None:
        """The log has something new of this app."""
        if self._stale is not None:
            self._stale[stream] = None

    def of(self, target: str) -> dict[str, str]:
        """What should run on a target, by stream. Do not change it."""
        stale: Iterable[str] = self._desired.streams("App") if self._stale is None else self._stale
        for stream in list(stale):
            self._refresh(stream)
        self._stale = {}
        return self._by_target.setdefault(target, {})

    def is_at(self, stream: str, target: str) -> bool:
        """Whether there is such an app and its place is this target, as of the last `of`."""
        return self._place.get(stream) == target

    def _refresh(self, stream: str) -> None:
        before = self._place.pop(stream, None)
        if before is not None and before in self._by_target:  # else nothing ran there
            self._by_target[before].pop(stream, None)
        app = self._desired.app(stream)
        if app is None:
            return
        self._place[stream] = app.target
        look = app.wanted and (app.stable != app.revision or app.paused is not None)
        look = look or (app.paused is not None and app.paused.until is not None)
        mark = LOOK if look else fingerprint(app.uid, app.revision, app.digest, app.wanted)
        if mark:
            self._by_target.setdefault(app.target, {})[stream] = mark


def differing(wanted: dict[str, str], view: TargetView) -> list[str]:
    """The streams of the apps whose replicas there are not what they should be."""
    seen = view.fingerprints
    if wanted == seen:
        return []
    get = seen.get
    differ = [stream for stream, mark in wanted.items() if get(stream) != mark]
    return differ + [stream for stream in seen if stream not in wanted]
