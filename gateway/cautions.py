"""What is accepted, but probably not meant: said once, with the answer that accepts it."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from bus.intents import Asked
from domain.intents import Apply
from domain.wish import AppWish

_LOOKS_SECRET: Final = re.compile(
    r"(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIALS?)$",
    re.IGNORECASE,
)


def cautions(asked: Sequence[Asked]) -> list[str]:
    return [caution for item in asked for caution in _of(item)]


def _of(item: Asked) -> Iterator[str]:
    if not isinstance(item, Apply) or not isinstance(item.spec, AppWish):
        return
    for name, value in sorted(item.spec.env.items()):
        if isinstance(value, str) and value and _LOOKS_SECRET.search(name):
            yield (
                f"{item.ref}: env.{name} looks like a secret, but stands in the log for ever; "
                f"use `stateward secret set NAME {name}=... -n {item.ref.project}` and "
                f"`{name}: {{secretRef: {{name: NAME, key: {name}}}}}`"
            )
    for number, volume in enumerate(item.spec.frame.spec.volumes):
        if volume.size is not None:
            yield (
                f"{item.ref}: volumes[{number}].size is kept, but limits nothing: no engine does "
                f"that yet, so the volume {volume.name} can fill its disk"
            )
