"""What happens to a simulated machine behind the control plane's back.

Each deed names a replica that must be there in the state it takes: mischief that could not happen
raises `ImpossibleWorld`, so that a test never believes it did something.
"""

from dataclasses import replace

import msgspec

from reconcilers.ports import EngineEvent, ReplicaName, ReplicaState
from simulation.machine import KILLED, Machine, Running
from simulation.program import ImpossibleWorld, program_of


class Mischief:
    """Deeds on one machine, to the replicas of one installation."""

    def __init__(self, machine: Machine, installation: str) -> None:
        self._machine = machine
        self._installation = installation

    def kill(self, name: ReplicaName, exit_code: int = KILLED) -> None:
        """End its program."""
        self._machine.finish(self._running(name), exit_code)

    def lose(self, name: ReplicaName) -> None:
        """Remove it, whatever it does."""
        self._machine.discard(self._there(name))

    def edit(self, name: ReplicaName, *what: str) -> None:
        """Change it, so that its list entry names what differs."""
        edited = self._there(name)
        edited.seen = msgspec.structs.replace(edited.seen, edited=what)
        self._machine.tell(edited)

    def sicken(self, name: ReplicaName) -> None:
        """Let it run on and pass no check any more."""
        sick = self._running(name)
        sick.program = replace(sick.program, sick=0.0)

    def cure(self, name: ReplicaName) -> None:
        """Let it do what its order chose, as before it was made sick."""
        well = self._running(name)
        well.program = program_of(well.order)

    def squat(self, name: ReplicaName) -> None:
        """Give its name to something foreign."""
        taken = name.of(self._installation)
        if taken in self._machine.named:
            raise ImpossibleWorld(f"{taken!r} is already there; lose it before squatting its name")
        self._machine.named[taken] = None

    def leave_squat(self, name: ReplicaName) -> None:
        """Take the foreign thing away again."""
        if self._machine.named.pop(name.of(self._installation), 0) is not None:
            raise ImpossibleWorld(f"nothing foreign has the name of {name}")

    def forget_image(self, image: str) -> None:
        """Remove an image from the machine and from its registry."""
        self._machine.missing_images.add(image)
        gone = self._machine.present_images.pop(image, None)
        if gone is not None:
            self._machine.present_images.pop(gone, None)

    def go_away(self) -> None:
        """Make the engine unavailable; what runs goes on."""
        self._machine.faults.unavailable = True

    def come_back(self) -> None:
        """Make it available again; watchers learn that they missed something."""
        self._machine.faults.unavailable = False
        for queue in self._machine.watchers:
            if not queue.full():
                queue.put_nowait(EngineEvent(None))

    def _there(self, name: ReplicaName) -> Running:
        found = self._machine.find(self._installation, name)
        if found is None:
            raise ImpossibleWorld(f"there is no replica {name}")
        return found

    def _running(self, name: ReplicaName) -> Running:
        found = self._there(name)
        if found.seen.state is not ReplicaState.RUNNING:
            raise ImpossibleWorld(f"{name} does not run, it is {found.seen.state}")
        return found
