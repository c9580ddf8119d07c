"""Why Caddy gets no certificate: it says so in a log of its own, which is read from its end."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

FILE: Final = "certificates.log"
LOG: Final[dict[str, Any]] = {
    "writer": {"output": "file", "filename": FILE, "roll_size_mb": 1, "roll_keep": 1},
    "encoder": {"format": "json"},
    "include": ["tls"],
    "level": "ERROR",
}
_READ: Final = 256 * 1024  # bytes from its end
_CANCELED: Final = "context canceled"  # it had new routes, and began with the request anew


class _Line(msgspec.Struct, gc=False):
    identifier: str = ""
    error: str = ""


def troubles(directory: Path) -> Mapping[str, str]:
    """What kept each host from a new certificate the last time."""
    try:
        with (directory / FILE).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _READ))
            lines = file.read().splitlines()
    except OSError:
        return {}
    found: dict[str, str] = {}
    for line in lines:
        try:
            said = msgspec.json.decode(line, type=_Line)
        except msgspec.DecodeError:
            continue  # the first one may be cut
        if said.identifier and said.error and _CANCELED not in said.error:
            found[said.identifier] = said.error
    return found
