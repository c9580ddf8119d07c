"""Which NATS servers may be used: those from 2.11 on."""

import re
from typing import Final

OLDEST: Final = (2, 11)


class UnsupportedServer(Exception):
    """The server is too old, or does not say what it is."""


def check_version(version: str) -> None:
    """Raises `UnsupportedServer` unless a server of this version may be used."""
    match = re.match(r"v?(\d+)\.(\d+)", version)
    if match is None:
        raise UnsupportedServer(f"the NATS server calls itself {version!r}, which is no version")
    if (int(match[1]), int(match[2])) < OLDEST:
        raise UnsupportedServer(
            f"the NATS server is version {version}, but Stateward needs 2.11 or later: older ones "
            "cannot be told to fsync in time, and have known holes in their authorisation; "
            "upgrade it, or leave `nats.servers` empty to use the embedded one"
        )
