"""What is accepted, but probably not meant: said once, with the answer that accepts it."""

import re
from collections.abc import Iterator, Sequence
from typing import Final, final

from bus.intents import Asked
from domain import names, project, target
from domain.intents import Apply
from domain.names import Ref
from domain.project import ProjectSpec
from domain.rules.placement import DEFAULT_TARGET
from domain.target import TargetSpec
from domain.wish import AppWish
from projections.desired import DesiredState

_LOOKS_SECRET: Final = re.compile(
    r"(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIALS?)$",
    re.IGNORECASE,
)


def cautions(asked: Sequence[Asked], desired: DesiredState) -> list[str]:
    """What to say of a set that was accepted; `desired` is what there is beside it."""
    there = _There(asked, desired)
    return [caution for item in asked for caution in _of(item, there)]


def _of(item: Asked, there: "_There") -> Iterator[str]:
    if not isinstance(item, Apply) or not isinstance(item.spec, AppWish):
        return
    for name, value in sorted(item.spec.env.items()):
        if isinstance(value, str) and value and _LOOKS_SECRET.search(name):
            yield (
                f"{item.ref}: env.{name} looks like a secret, but stands in the log for ever; "
                f"use `stateward secret set NAME {name}=... -n {item.ref.project}` and "
                f"`{name}: {{secretRef: {{name: NAME, key: {name}}}}}`"
            )
    frame = item.spec.frame.spec
    if frame.autoscale is not None and item.spec.replicas is not None:
        yield (
            f"{item.ref}: replicas is kept, but its cluster decides how many run, from "
            f"{frame.autoscale.min} to {frame.autoscale.max}, as long as there is autoscale"
        )
    sized = [(n, one) for n, one in enumerate(frame.volumes) if one.size is not None]
    if not sized or there.engine(item.ref, item.spec) == "k8s":
        return
    for number, volume in sized:
        yield (
            f"{item.ref}: volumes[{number}].size is kept, but limits nothing: its engine cannot "
            f"do that, so the volume {volume.name} can fill its disk"
        )


@final
class _There:
    """Projects and targets, as they are once the set has been applied."""

    def __init__(self, asked: Sequence[Asked], desired: DesiredState) -> None:
        self._asked = {one.ref: one.spec for one in asked if isinstance(one, Apply)}
        self._desired = desired

    def engine(self, ref: Ref, wish: AppWish) -> str:
        """What runs an app; empty if that is not known."""
        home = self._asked.get(names.project(ref.project))
        if not isinstance(home, ProjectSpec):
            known = self._desired.resource(names.project(ref.project).stream)
            home = project.decode(known.spec) if known is not None else ProjectSpec()
        name = names.target(wish.target or home.target or DEFAULT_TARGET)
        leads = self._asked.get(name)
        if not isinstance(leads, TargetSpec):
            there = self._desired.resource(name.stream)
            leads = target.decode(there.spec) if there is not None else None
        return leads.engine if leads is not None else ""
