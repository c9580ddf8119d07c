"""What the process was started with: variables, home, user.

The only module that reads the environment of the process. Everything else is handed an
`Environment`, so that a test, or a second control plane, can have one of its own.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PREFIX: Final = "STATEWARD_"
SYSTEM_CONFIG: Final = Path("/etc/stateward/config.yaml")
SYSTEM_DATA: Final = Path("/var/lib/stateward")
SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables of a process, and who runs it."""

    variables: Mapping[str, str]
    is_root: bool
    home: Path
    system_config: Path = SYSTEM_CONFIG
    service_account: Path = SERVICE_ACCOUNT  # where a pod has what its cluster knows it by

    def get(self, name: str) -> str | None:
        """A variable, or None when it is unset or empty."""
        return self.variables.get(name) or None

    @property
    def settings(self) -> dict[str, str]:
        """The variables that set a field of a section: `STATEWARD_API__PORT`.

        Others may begin alike and are not ours: a Kubernetes service called `stateward` sets
        `STATEWARD_SERVICE_HOST` and `STATEWARD_PORT` in every pod beside it.
        """
        return {
            name: text
            for name, text in self.variables.items()
            if name.upper().startswith(PREFIX) and "__" in name
        }

    @property
    def user_config(self) -> Path:
        return self._base("XDG_CONFIG_HOME", ".config") / "config.yaml"

    @property
    def client_config(self) -> Path:
        return self._base("XDG_CONFIG_HOME", ".config") / "client.yaml"

    @property
    def data_directory(self) -> Path:
        """Where a control plane started here keeps its data unless it is told otherwise."""
        return SYSTEM_DATA if self.is_root else self._base("XDG_STATE_HOME", ".local/state")

    def _base(self, variable: str, below_home: str) -> Path:
        given = self.get(variable)
        # The XDG specification ignores a relative path.
        base = Path(given) if given and Path(given).is_absolute() else self.home / below_home
        return base / "stateward"


def of_process() -> Environment:
    """The environment of this process, now."""
    return Environment(dict(os.environ), is_root=os.geteuid() == 0, home=_home())


def _home() -> Path:
    """Of a user that the system does not know, as in a container, it is the root."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")
