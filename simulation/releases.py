"""Releases: a newer version of the code, which writes an event in a shape that ours cannot read.

Ours freezes the streams that hold such events, and leaves them alone until the newer one is back.
"""

from typing import Any, Final, cast

from bus import codec

CHANGED: Final = "app.scaled"
NEWER: Final = 2


def _led_on(shape: dict[str, Any]) -> dict[str, Any]:
    """The newer release's upcaster; the shapes differ in their number alone."""
    return shape


def become_newer() -> None:
    """From now on the code of this process is the newer release."""
    cast(dict[str, int], codec.CURRENT)[CHANGED] = NEWER
    cast(dict[tuple[str, int], Any], codec.UPCASTERS)[CHANGED, 1] = _led_on


def become_ours() -> None:
    """From now on it is ours again. Twice is as once."""
    cast(dict[str, int], codec.CURRENT).pop(CHANGED, None)
    cast(dict[tuple[str, int], Any], codec.UPCASTERS).pop((CHANGED, 1), None)


def is_newer() -> bool:
    return CHANGED in codec.CURRENT
