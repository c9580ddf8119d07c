"""Ends of routers whose targets were deleted: whoever worked on such a target ends its router.

Or whoever is here next: what is left of one is found when the log was read.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, final

import structlog

from domain.names import target as target_ref
from domain.routing import Routing as Settings
from domain.target import TargetSpec
from projections.desired import DesiredState
from reconcilers.router_ports import RouterError, RouterMissing, RouterOpener

AGAIN: Final = 5.0  # seconds until a router that would not end is ended again

_log = structlog.get_logger("routing")


@final
class RouterEnds:
    """What is being ended, and what has.

    Args:
        desired: says which targets there are.
        opener: opens a router, or ends it where a target is to have none.
        halted: why nothing may be written now.
    """

    def __init__(
        self, desired: DesiredState, opener: RouterOpener, halted: Callable[[], str | None]
    ) -> None:
        self._desired, self._opener, self._halted = desired, opener, halted
        self._ending: dict[str, asyncio.Task[None]] = {}  # by target
        self._ended: dict[str, None] = {}  # targets that are gone, and whose routers are, too

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        return list(self._ending.values())

    def is_gone(self, target: str) -> bool:
        return self._desired.resource(target_ref(target).stream) is None

    def tidy(self, left: Iterable[str]) -> None:
        """End those of targets that were deleted while nobody was here to see it.

        Args:
            left: the targets of which something of a router is left.
        """
        for target in left:
            if not self.is_gone(target):
                self._ended.pop(target, None)
            elif target not in self._ending and target not in self._ended:
                self.begin(target, TargetSpec(engine="process"), None)

    def begin(self, target: str, spec: TargetSpec, driving: asyncio.Task[None] | None) -> None:
        """End the router of a target, once nobody drives it any more."""
        ending = asyncio.create_task(self._end(target, spec, driving), name=f"end-{target}")
        self._ending[target] = ending
        ending.add_done_callback(lambda _done: self._ending.pop(target, None))

    async def _end(self, target: str, spec: TargetSpec, driving: asyncio.Task[None] | None) -> None:
        if driving is not None:
            await asyncio.wait([driving])
        spec = replace(spec, routing=Settings(router="none"))
        while self.is_gone(target) and self._halted() is None:
            try:
                opened = await self._opener(target, spec)
            except RouterMissing:
                break
            except RouterError as error:
                _log.warning("a router cannot be ended", target=target, error=str(error))
                await asyncio.sleep(AGAIN)
            else:
                await opened.close()
                break
        self._ended[target] = None
