"""Sharing: which keys are this worker's, by the leases of their targets' partitions.

Processes and a Docker daemon are one partition each: what they share, such as a project's network,
has one worker. Everything else is divided by a stable hash of the key.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, final

from bus.leases import Holding, Partition, number_of
from domain import target as target_spec
from projections.desired import DesiredState, Resource
from reconcilers.targets import Targets

PARTITIONS: Final = {"process": 1, "docker": 1}
"""By engine, of those that are not divided."""
MOST_PARTITIONS: Final = 64  # of every other engine's target


@final
class Sharing:
    """Args: `offer` is given all partitions, the targets that are served, those reached."""

    def __init__(
        self,
        holding: Holding,
        desired: DesiredState,
        targets: Targets,
        offer: Callable[[list[Partition], list[str], list[str]], None],
    ) -> None:
        self._holding, self._desired = holding, desired
        self._targets, self._offer = targets, offer
        self._working: Counter[Partition] = Counter()
        self._counts: dict[str, tuple[Resource | None, int]] = {}
        self._parts: dict[tuple[str, int], tuple[Partition, ...]] = {}
        self._ended = asyncio.Event()

    def partition(self, target: str, stream: str) -> Partition:
        """Where a key of a target belongs."""
        parts = self._all_of(target)
        return parts[number_of(stream, len(parts))]

    def holds(self, target: str, stream: str) -> bool:
        """Whether a pass over this key of a target may begin here."""
        return self._holding.holds(self.partition(target, stream))

    def may_call(self, target: str, stream: str) -> bool:
        """Whether a call about this key may start this very moment."""
        return self._holding.may_call(self.partition(target, stream))

    def may_call_any(self, target: str) -> bool:
        """Whether a call about what a target's keys share may start this very moment."""
        return any(map(self._holding.may_call, self._all_of(target)))

    def holds_any(self, target: str) -> bool:
        """Whether there is anything to do there."""
        return any(map(self._holding.holds, self._all_of(target)))

    def holds_all(self, target: str) -> bool:
        """Whether nobody else decides over anything there."""
        return all(map(self._holding.holds, self._all_of(target)))

    def epoch(self, target: str, stream: str) -> int:
        """The fence of a key; 0 if it is not held."""
        return self._holding.epoch(self.partition(target, stream))

    def epoch_of(self, target: str) -> int:
        """The fence of whoever says how a target is: the holder of its first partition."""
        return self._holding.epoch(Partition(target, 0))

    @contextmanager
    def working(self, target: str, stream: str) -> Iterator[None]:
        """Whoever hands the partition over waits until the end of the block."""
        partition = self.partition(target, stream)
        self._working[partition] += 1
        try:
            yield
        finally:
            self._working[partition] -= 1
            self._ended.set()
            self._ended = asyncio.Event()

    async def finished(self, partition: Partition) -> None:
        """Return when nothing is under way there."""
        while self._working[partition]:
            await self._ended.wait()
        del self._working[partition]

    def tell(self) -> None:
        """Say what there is, and what of it is reached from here."""
        names = dict.fromkeys(view.name for view in self._targets)
        views = [view for view in self._targets if view.is_served]
        self._offer(
            [partition for name in names for partition in self._all_of(name)],
            [view.name for view in views],
            [view.name for view in views if view.is_reached],
        )

    def _all_of(self, target: str) -> tuple[Partition, ...]:
        count = self._count(target)
        parts = self._parts.get((target, count))
        if parts is None:
            numbers = range(count)
            parts = self._parts[target, count] = tuple(Partition(target, one) for one in numbers)
        return parts

    def _count(self, target: str) -> int:
        """As its present definition says, or, of a target that is gone, the last one."""
        resource = self._desired.resource(f"Target/{target}")
        of, count = self._counts.get(target, (None, 0))
        if resource is None or resource is not of:
            engine = self._engine(target, resource)
            count = 1 if engine is None else PARTITIONS.get(engine, MOST_PARTITIONS)
            self._counts[target] = resource, count
        return count

    def _engine(self, target: str, resource: Resource | None) -> str | None:
        if resource is not None:
            with suppress(ValueError):
                return target_spec.decode(resource.spec).engine
        return next((one.spec.engine for one in self._targets if one.name == target), None)
