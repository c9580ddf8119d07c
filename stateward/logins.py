"""The key that logins are signed with: made once, in the data directory, readable by its owner."""

import os
from pathlib import Path
from typing import Final

from adapters.files.durable import replace_file

FILE: Final = "login.key"
_BYTES: Final = 32


def login_key(directory: Path) -> bytes:
    """The key of this data directory, made if there is none."""
    path = directory / FILE
    if not path.exists():
        replace_file(path, os.urandom(_BYTES))
    return path.read_bytes()
