"""Places: where targets lead now, and where they led when something of ours was left there.

A target that is defined anew may lead to another daemon. A removal belongs to the place where its
app ran, which is that of the target's definition at the removal's own position; a place that is no
target's any more is looked at until nothing of ours is left there.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, final

import structlog

from bus.codec import Undecodable
from bus.log import LogError
from domain import target as target_spec
from domain.target import TargetSpec
from projections.desired import DesiredState, Removal
from reconcilers.grounding import AppKey
from reconcilers.ports import EngineUnavailable, Replica
from reconcilers.reading import Reader
from reconcilers.targets import Located, Targets, TargetView

_log = structlog.get_logger("places")


class _History(NamedTuple):
    """The definitions of a target up to a position: when, and the spec."""

    upto: int
    positions: Sequence[int]
    specs: Sequence[bytes]

    def at(self, position: int) -> bytes | None:
        index = bisect_left(self.positions, position)
        return self.specs[index - 1] if index else None


@final
class Places:
    """Keeps the targets that are looked at in step with the log."""

    def __init__(self, desired: DesiredState, reader: Reader, targets: Targets) -> None:
        self._desired, self._reader, self._targets = desired, reader, targets
        self._histories: dict[str, _History] = {}

    async def follow(self, opened: Callable[[TargetView], None]) -> None:
        """Look at every target as it is, and wherever something is left; `opened` as `Targets`."""
        removals = list(self._desired.removals())
        pending = {removal.target for removal in removals}
        self._histories = {n: h for n, h in self._histories.items() if n in pending}
        former: dict[Located, TargetSpec] = {}
        for removal in removals:
            spec = await self._quietly_then(removal)
            if spec is not None:
                former[removal.target, target_spec.place(spec)] = spec
        present = self._present()
        stay = {(name, target_spec.place(spec)) for name, spec in present.items()}
        for view in self._targets:
            if view.located not in stay and self._has_left(view):
                former.setdefault(view.located, view.spec)
        await self._targets.follow(present, former, opened)

    async def of(self, removal: Removal) -> TargetView:
        """The view of the place where a deleted app ran.

        Raises:
            EngineUnavailable: it is not known yet.
        """
        spec = await self._quietly_then(removal)
        view = self._targets.at(removal.target, spec) if spec is not None else None
        if view is None:
            raise EngineUnavailable(f"target {removal.target} is not known here")
        return view

    def sharing(self, view: TargetView) -> list[TargetView]:
        """The views of the same daemon, that one included: a project's network is theirs together.

        Processes have a directory for each target, and share nothing.
        """
        place = target_spec.place(view.spec)
        is_daemon = view.spec.engine == "docker"
        return [
            other
            for other in self._targets
            if other is view or (is_daemon and target_spec.place(other.spec) == place)
        ]

    def leads_to(self, removal: Removal, view: TargetView) -> bool:
        """Whether a deleted app ran there; while that is not known, its target's name decides."""
        try:
            spec = self._known(removal)
        except ValueError:
            spec = None
        if spec is None:
            return removal.target == view.name
        return view.located == (removal.target, target_spec.place(spec))

    def strays(self, view: TargetView, replicas: Iterable[Replica]) -> list[Replica]:
        """Those of one app that should not run there (any more).

        Two definitions may lead to one daemon in two ways: what the present one started is spared.
        """
        found = list(replicas)
        if not found:
            return []
        stream = f"App/{found[0].name.project}/{found[0].name.app}"
        spared = set(self._desired.orphans(stream))
        app = self._desired.app(stream)
        if app is None or app.target != view.name:
            return [one for one in found if one.uid not in spared]
        if self._targets.get(view.name) is view:
            return []
        since = self._defined(view.name)
        return [
            one
            for one in found
            if one.uid not in spared and (one.uid != app.uid or one.position < since)
        ]

    def _has_left(self, view: TargetView) -> bool:
        """Whether anything is where it should not be: of an app, or what its project shared.

        What apps share may go some time after the last of them, as when a call for it failed.
        """
        if any(self._is_left(view, *known) for known in view.replicas.items()):
            return True
        marks = view.objects.engine.marks() if view.objects is not None else {}
        inhabited = {project for project, app in marks if app}
        return any(project not in inhabited for project, _ in marks)

    def _is_left(self, view: TargetView, key: AppKey, replicas: Sequence[Replica]) -> bool:
        """Whether anything of an app is where it should not be: also objects without a pod."""
        if replicas or view.spec.engine != "k8s":
            return bool(self.strays(view, replicas))
        app = self._desired.app(f"App/{key[0]}/{key[1]}")
        return app is None or app.target != view.name

    def _present(self) -> dict[str, TargetSpec]:
        """The specs of all targets; one that cannot be read stays as it was."""
        specs: dict[str, TargetSpec] = {}
        for stream in list(self._desired.streams("Target")):
            resource = self._desired.resource(stream)
            if resource is None:
                continue
            name = resource.ref.name
            try:
                specs[name] = target_spec.decode(resource.spec)
            except ValueError as error:  # its apps fail one by one; those of others do not
                _log.error("target cannot be read", target=stream, error=str(error))
                view = self._targets.get(name)
                if view is not None:
                    specs[name] = view.spec
        return specs

    def _defined(self, name: str) -> int:
        """The position of a target's present definition; 0 if there is none."""
        resource = self._desired.resource(f"Target/{name}")
        return resource.generation if resource is not None else 0

    def _known(self, removal: Removal) -> TargetSpec | None:
        """The spec at a removal's position, without asking the log.

        Raises:
            ValueError: it cannot be read.
        """
        resource = self._desired.resource(f"Target/{removal.target}")
        if resource is not None and resource.generation < removal.position:
            return target_spec.decode(resource.spec)
        history = self._histories.get(removal.target)
        if history is None or history.upto < removal.position:
            return None
        spec = history.at(removal.position)
        return target_spec.decode(spec) if spec is not None else None

    async def _quietly_then(self, removal: Removal) -> TargetSpec | None:
        """The spec at a removal's position; None while that is not known."""
        try:
            known = self._known(removal)
            if known is not None:
                return known
            upto = self._desired.position
            definitions = await self._reader.target_definitions(f"Target/{removal.target}")
            positions = [position for position, _ in definitions]
            specs = [spec for _, spec in definitions]
            self._histories[removal.target] = _History(upto, positions, specs)
            return self._known(removal)
        except (LogError, Undecodable, ValueError) as error:
            _log.warning("where it ran is not known", target=removal.target, error=str(error))
            return None
