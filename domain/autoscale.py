"""How many replicas an app has while its engine decides that: the `autoscale` of an App.

It is no part of the template: other bounds are no new revision.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from domain.refusals import BadValue
from domain.schema import SPEC

MAX_REPLICAS = 1000  # one app on one target; more is another app

Count = Annotated[int, Field(ge=1, le=MAX_REPLICAS)]
Percent = Annotated[int, Field(ge=1, le=1000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscale:
    """The engine keeps between `min` and `max` replicas, so that each uses about so much.

    `cpu` and `memory` are percent of what `resources` asks for. `replicas` means nothing meanwhile.
    """

    __pydantic_config__ = SPEC
    min: Count = 1
    max: Count
    cpu: Percent = 80
    memory: Percent | None = None


def check(asked: Autoscale, *, has_memory: bool) -> None:
    """Refuse bounds that exclude each other and a part of nothing.

    Raises:
        BadValue: names the field and the rule.
    """
    if asked.min > asked.max:
        raise BadValue("spec.autoscale.min", asked.min, f"it is more than max, {asked.max}")
    if asked.memory is not None and not has_memory:
        rule = "it is a part of spec.resources.memory, which is not given"
        raise BadValue("spec.autoscale.memory", asked.memory, rule)
