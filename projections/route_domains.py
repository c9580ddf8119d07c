"""The domains of each target, as route tables know them: who is asked about a host's users."""

from collections.abc import Iterable
from typing import final

from domain import domains
from domain import target as target_spec
from domain.domains import Domain
from domain.names import target as target_ref
from domain.routing import Routing
from projections.desired import DesiredState


@final
class TargetDomains:
    """What was found out of each target that has been asked for, until it is said to have moved."""

    def __init__(self, desired: DesiredState) -> None:
        self._desired = desired
        self._known: dict[str, tuple[Domain, ...]] = {}
        self._moved: dict[str, None] = {}

    def moved(self, target: str) -> None:
        """Something was said of a target since."""
        if target in self._known:
            self._moved[target] = None

    def changed(self) -> Iterable[str]:
        """Targets whose domains are others now, each told once."""
        before = {target: self._known.pop(target) for target in self._moved}
        self._moved.clear()
        return [target for target, known in before.items() if self.of(target) != known]

    def of(self, target: str) -> tuple[Domain, ...]:
        known = self._known.get(target)
        if known is None:
            known = self._known[target] = self._read(target)
        return known

    def decides(self, target: str, host: str) -> Domain | None:
        """The domain that decides over a host; None if the target has no such host any more."""
        return domains.domain_of(self.of(target), host)

    def _read(self, target: str) -> tuple[Domain, ...]:
        found = self._desired.resource(target_ref(target).stream)
        try:
            routing = target_spec.decode(found.spec).routing if found is not None else None
        except ValueError:  # nothing of such a target is driven, and a rebuild says the same
            routing = None
        return (routing or Routing()).domains
