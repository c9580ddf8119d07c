"""Verbs with their parameters, as every edge reads them: HTTP's `actions/{verb}` and messages.

What may go with a verb is what its intent in `domain.intents` has as fields: nothing to add here
for a new one.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from bus.manifests import nearest
from domain.intents import VERBS, Apply, Intent, ResolveImage
from domain.names import Ref
from domain.refusals import BadValue, UnknownField

OFFERED: Final = tuple(verb for verb, intent in VERBS.items() if intent is not ResolveImage)
"""The verbs of people and programs; the others are asked by parts of Stateward itself."""


def _parameters(intent: type[Intent]) -> type[msgspec.Struct]:
    """The parameters of a verb: the fields of its intent, but for what names the resource."""
    own = [f for f in msgspec.structs.fields(intent) if f.name not in {"ref", "generation"}]
    return msgspec.defstruct(
        intent.__name__,
        [(f.name, f.type) if f.required else (f.name, f.type, f.default) for f in own],
        kw_only=True,
    )


PARAMETERS: Final[Mapping[str, type[msgspec.Struct]]] = {
    verb: _parameters(VERBS[verb]) for verb in OFFERED if verb != Apply.verb
}
"""By verb, what goes with it. `apply` takes a manifest instead."""


def read_action(
    verb: str,
    ref: Ref,
    data: Mapping[str, object],
    generation: int | None = None,
    *,
    path: str = "",
) -> Intent:
    """The intent of a verb other than `apply`, with its parameters as they were sent.

    Args:
        verb: `scale`, `stop`, `delete`...
        ref: the resource that it is asked of.
        data: the parameters by name, e.g. `{"replicas": 3}`.
        generation: the condition of the intent, if it has one.
        path: where `data` stands in what was sent, for refusals: `data.`.

    Raises:
        BadValue: there is no such verb, or a parameter cannot be used.
        UnknownField: there is no such parameter.
    """
    parameters = PARAMETERS.get(verb)
    if parameters is None:
        rule = f"verbs are {', '.join(sorted(PARAMETERS))}; to apply, send the manifest"
        raise BadValue("verb", verb, rule)
    known = tuple(field.name for field in msgspec.structs.fields(parameters))
    for name in data:
        if name not in known:
            raise unknown_field(f"{path}{name}", name, known)
    try:
        read = msgspec.convert(data, parameters)
    except (msgspec.ValidationError, RecursionError) as error:
        raise _bad(path, error, data) from error
    given = msgspec.structs.asdict(read)
    for name, value in given.items():
        if isinstance(value, datetime) and value.tzinfo is None:
            raise BadValue(f"{path}{name}", value.isoformat(), "a time needs its zone: add Z")
    return VERBS[verb](ref=ref, generation=generation, **given)


def unknown_field(path: str, name: str, known: tuple[str, ...]) -> UnknownField:
    return UnknownField(path, nearest(name, known), known)


def _bad(path: str, error: Exception, data: Mapping[str, object]) -> BadValue:
    """A refusal of msgspec's `Expected `int`, got `str` - at `$.replicas``."""
    rule, _, place = str(error).partition(" - at ")
    name = place.strip("`").removeprefix("$").removeprefix(".")
    if not name:
        missing = re.search(r"required field `(\w+)`", rule)
        name, rule = (missing[1], "this field is required; add it") if missing else ("", rule)
    rule = rule[0].lower() + rule[1:]
    return BadValue(f"{path}{name}".rstrip(".") or "data", data.get(name), rule)
