"""Clients: they ask for things, and ask again under the same key until they are told."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, final

from bus import manifests
from bus.intents import Answer, Asked
from bus.log import KeyReused, LogError
from domain.access import Actor
from domain.refusals import Refusal
from simulation.controller import Controller

AGAIN_SECONDS: Final = 1.0
ADA: Final = Actor(name="user:ada", role="admin")


@dataclass(slots=True)
class Requests:
    """What was asked and what came of it, by key."""

    accepted: dict[str, Answer] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    open: dict[str, tuple[Asked, ...]] = field(default_factory=dict)


@final
class Client:
    """Somebody at the API of whichever control plane is there.

    Args:
        acting: the control plane to ask now, if there is one.
        answered: told of every answer, also of repeated ones.
    """

    def __init__(
        self,
        acting: Callable[[], Controller | None],
        answered: Callable[[str, str, Answer], None],
        actor: Actor = ADA,
    ) -> None:
        self._acting, self._answered, self._actor = acting, answered, actor
        self.requests = Requests()

    async def ask(self, asked: Sequence[Asked], key: str) -> Answer | None:
        """Ask until there is an answer; None for a refusal, which is kept."""
        return await self._hand_in(asked, key)

    async def write(self, text: bytes, key: str) -> Answer | None:
        """Hand in a manifest as somebody wrote it, which the control plane has to read first."""
        return await self._hand_in(text, key)

    async def _hand_in(self, asked: Sequence[Asked] | bytes, key: str) -> Answer | None:
        self.requests.open[key] = () if isinstance(asked, bytes) else tuple(asked)
        while True:
            controller = self._acting()
            if controller is not None:
                try:
                    answer = await self._once(controller, asked, key)
                except (Refusal, KeyReused) as refusal:
                    self.requests.refused[key] = str(refusal)
                    break
                if answer is not None:
                    self._answered(self._actor.name, key, answer)
                    self.requests.accepted[key] = answer
                    break
            await asyncio.sleep(AGAIN_SECONDS)
        self.requests.open.pop(key, None)
        return self.requests.accepted.get(key)

    async def _once(
        self, controller: Controller, asked: Sequence[Asked] | bytes, key: str
    ) -> Answer | None:
        """One request; None if it has to be sent again."""

        async def serve() -> Answer:
            read = [manifests.read(asked)] if isinstance(asked, bytes) else asked
            return await controller.intents.submit(read, actor=self._actor, key=key)

        task = controller.serve(serve())
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
        if task.cancelled():
            return None  # the process went, or the connection
        try:
            return task.result()
        except (Refusal, KeyReused):
            raise
        except LogError:
            return None
