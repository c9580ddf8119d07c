"""What the keeper knows of one replica, and what it does to its process."""

import contextlib
import os
import signal
from dataclasses import dataclass, field


@dataclass(slots=True)
class Kept:
    """One replica: its open directory, and its process; an adopted one is followed by a pidfd."""

    path: str
    directory: int
    pid: int
    lock: int | None = None
    pidfd: int | None = None
    env: dict[str, str] | None = None
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def is_removed(self) -> bool:
        """Whether its directory is gone: it belongs to nobody any more."""
        return os.fstat(self.directory).st_nlink == 0

    def signal(self, number: int, *, group: bool) -> None:
        """Signal the program, or with `group` all it started. One that has died is no error."""
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(self.pid, number)
            elif self.pidfd is not None:
                signal.pidfd_send_signal(self.pidfd, number)
            else:
                os.kill(self.pid, number)

    def environment(self) -> dict[str, str]:
        """The variables it was started with, as far as it has not written over them."""
        if self.env is None:
            with open(f"/proc/{self.pid}/environ", "rb") as file:  # noqa: PTH123
                pairs = os.fsdecode(file.read()).split("\0")
            self.env = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        return self.env

    def close(self) -> None:
        for file in (self.lock, self.pidfd, self.directory):
            if file is not None:
                os.close(file)


def kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
