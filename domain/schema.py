"""What all specs share: how their fields are written, and what happens to unknown ones.

Specs are frozen dataclasses; `TypeAdapter` (pydantic) reads and writes them at the edges, with
camelCase names. Their JSON is canonical: equal specs give equal bytes.
"""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, StringConstraints
from pydantic.alias_generators import to_camel

from domain import quantities
from domain.names import check_name
from domain.refusals import BadValue


def written(field: str) -> str:
    """How a field is written in a manifest: `stop_grace` is `stopGrace`, `k8s` is `k8s`."""
    return to_camel(field) if "_" in field else field


SPEC = ConfigDict(
    extra="forbid",
    alias_generator=written,
    validate_by_name=False,
    strict=True,
    ser_json_inf_nan="null",
)


def _name(text: str) -> str:
    try:
        return check_name(text, "")
    except BadValue as refusal:
        raise ValueError(refusal.details["rule"]) from None


def _number_with_unit(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"a bare number has no unit; write it as text: {value}s")
    return value


def _cpu(value: object) -> object:
    return value if isinstance(value, bool) or not isinstance(value, int | float) else str(value)


def _memory(value: object) -> object:
    return value if isinstance(value, bool) or not isinstance(value, int) else str(value)


Name = Annotated[str, AfterValidator(_name)]
Duration = Annotated[str, BeforeValidator(_number_with_unit), AfterValidator(quantities.duration)]
Cpu = Annotated[str, BeforeValidator(_cpu), AfterValidator(quantities.cpu)]
Memory = Annotated[str, BeforeValidator(_memory), AfterValidator(quantities.memory)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]
