"""A place for the process engine: a data directory of its own, and how it is left clean."""

import os
import shutil
import signal
import socket
import sys
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import final, override

from adapters.keeping.files import KEEPER, PID, Process
from adapters.process.engine import CONTROL_GROUPS, ProcessEngine
from adapters.process.filed import Filed
from adapters.process.limits import Limits, owner
from adapters.process.slots import Slots
from reconcilers.ports import Address, Replica, StartReplica
from tests.contracts.engine_world import World, eventually
from tests.support import program


@final
class ProcessWorld(World):
    """Processes below `data`; a second engine there belongs to another installation."""

    def __init__(self, data: Path, control_groups: Path = CONTROL_GROUPS) -> None:
        self.program = (sys.executable, "-I", "-S", str(program.__file__))
        self.data = data
        self.installation = str(uuid.uuid4())
        self.process_engine = ProcessEngine(data, self.installation, control_groups=control_groups)
        self.other_engine = ProcessEngine(data, str(uuid.uuid4()))
        self.engine = self.process_engine.ports
        self.other = self.other_engine.ports
        self.slots = Slots(data / "replicas", self.installation)

    def path(self, replica: Replica | StartReplica) -> Path:
        return Path(self.slots.path(replica.name))

    def pid(self, replica: Replica) -> int:
        return Process.parse((self.path(replica) / PID).read_text()).number

    @override
    async def kill(self, replica: Replica) -> None:
        os.kill(self.pid(replica), signal.SIGKILL)

    @override
    async def lose(self, replica: Replica) -> None:
        pid = self.pid(replica)
        shutil.rmtree(self.path(replica))
        os.kill(pid, signal.SIGKILL)

    @override
    async def squat(self, order: StartReplica) -> Callable[[], Awaitable[bool]]:
        precious = self.path(order) / "precious"
        precious.parent.mkdir(parents=True)
        precious.touch()

        async def is_intact() -> bool:
            return list(precious.parent.iterdir()) == [precious]

        return is_intact

    @override
    async def create_only(self, order: StartReplica) -> None:
        self.slots.create(self.filed(order))

    def filed(self, order: StartReplica) -> Filed:
        return Filed(
            installation=self.installation,
            name=order.name,
            uid=order.uid,
            digest=order.digest,
            position=order.position,
            addresses=tuple(Address(port.name, "127.0.0.1", _free()) for port in order.ports),
            workdir="/",
            stop_signal=order.stop_signal,
            cgroups=(),
            data_bytes=None,
            unenforced="",
        )

    async def close(self) -> None:
        """End all that runs, and see the keeper go by itself."""
        for replica in await self.engine.replicas.list():
            await self.engine.replicas.remove(replica)

        async def nothing_is_left() -> bool:
            return await self.engine.replicas.list() == [] and not self.groups()

        await eventually(nothing_is_left)
        await self.process_engine.close()
        await self.other_engine.close()
        await eventually(self._keeper_is_gone)

    async def _keeper_is_gone(self) -> bool:
        return not self.keepers()

    def groups(self) -> tuple[str, ...]:
        """The control groups of this place's replicas."""
        return Limits(CONTROL_GROUPS, owner(self.installation, self.data)).strays(set())

    def keepers(self) -> list[int]:
        """The keepers of this place that are alive."""
        folder = f"{self.data}/replicas/{KEEPER}"
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and str((entry / "cwd").readlink()) == folder:
                    found.append(int(entry.name))
            except OSError:
                continue
        return found


def _free() -> int:

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        number: int = listener.getsockname()[1]
        return number
