"""The process engine: replicas are processes of this host, each a session of its own.

The truth is on disk and in the kernel (`adapters.process.slots`), so a control plane that starts
anew sees what runs; the keeper (`adapters.keeping.keeper`) starts, signals and reaps. A replica
lives on when either dies.
"""

from pathlib import Path

from adapters.keeping.client import KeeperClient
from adapters.process.events import ProcessEvents, Watchers
from adapters.process.foreign import ProcessForeign
from adapters.process.grounds import ProcessGrounds, ProcessImages
from adapters.process.limits import Limits, owner
from adapters.process.looking import ProcessIO
from adapters.process.replicas import ProcessReplicas
from adapters.process.slots import Slots
from reconcilers.ports import Engine

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CONTROL_GROUPS = Path("/sys/fs/cgroup")


class ProcessEngine:
    """One installation's processes below a data directory; `ports` is what reconcilers use.

    Args:
        data: absolute; `replicas/` and `volumes/` are made in it.
        installation: whose replicas these are.
        search_path: where commands are looked for, unless an app sets its own PATH.
        control_groups: where the kernel's control groups are mounted.
    """

    def __init__(
        self,
        data: Path,
        installation: str,
        *,
        search_path: str = SEARCH_PATH,
        control_groups: Path = CONTROL_GROUPS,
    ) -> None:
        root = data / "replicas"
        watchers = Watchers(root)
        self._keeper = KeeperClient(root, watchers.ended, watchers.missed)
        grounds = ProcessGrounds(data, installation)
        limits = Limits(control_groups, owner(installation, data))
        slots = Slots(root, installation, limits.ran_out)

        def replicas_of(other: str) -> ProcessReplicas:
            theirs = Limits(control_groups, owner(other, data))
            return ProcessReplicas(
                Slots(root, other, theirs.ran_out),
                ProcessGrounds(data, other),
                theirs,
                self._keeper,
                search_path,
            )

        self.ports = Engine(
            ProcessReplicas(slots, grounds, limits, self._keeper, search_path),
            ProcessImages(),
            grounds,
            ProcessEvents(watchers, self._keeper),
            ProcessIO(slots, self._keeper),
            ProcessForeign(data, installation, replicas_of),
        )

    async def close(self) -> None:
        """Let go of the keeper; it and the replicas go on."""
        await self._keeper.close()
