"""Images: a revision's tag is resolved once, before anything of it starts, beside the passes.

A pull may take minutes, so it is a task of its own: meanwhile the app's passes go on and heal what
serves. The outcome is an intent by `system:images`; a failure is tried again with backoff for ever.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, final

import structlog

from bus.intents import IntentService
from bus.log import LogError
from bus.secrets import SecretStore, SecretUnavailable
from domain.access import part_of_ours
from domain.intents import ResolveImage
from domain.names import Ref
from domain.refusals import Refusal
from domain.secret import SecretText
from projections.desired import DesiredApp
from reconcilers.orders import Revision
from reconcilers.ports import EngineError, Images

FIRST: Final = 1.0  # seconds before the second try
MOST: Final = 300.0

_log = structlog.get_logger("images")


@final
class ImageResolver:
    """Resolves images, one task for each revision that waits for one.

    Args:
        changed: called with an app's stream when there is something new to look at.
        seen: waits until the projection has folded a position.
    """

    def __init__(
        self,
        intents: IntentService,
        secrets: SecretStore,
        *,
        changed: Callable[[str], None],
        seen: Callable[[int], Awaitable[None]],
        rng: random.Random,
    ) -> None:
        self._intents, self._secrets = intents, secrets
        self._changed, self._seen, self._rng = changed, seen, rng
        self._tasks: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._where: dict[tuple[str, int], Images] = {}
        self._troubles: dict[tuple[str, int], str] = {}

    def want(
        self,
        desired: DesiredApp,
        revision: Revision,
        images: Images,
        had: Callable[[], None] = lambda: None,
    ) -> str:
        """See to it that the revision's image is there; return what is wrong so far, if any.

        One that was resolved before and has gone since is had again by the name it resolved to;
        then `had` is called.
        """
        key = (desired.ref.stream, revision.number)
        if key in self._tasks and self._where.get(key) is not images:
            self._tasks.pop(key).cancel()  # its target was opened anew
        if key not in self._tasks:
            self._where[key] = images
            task = asyncio.create_task(self._resolve(desired, revision, images, had))
            self._tasks[key] = task
            task.add_done_callback(lambda _done: self._forget(key, task))
        return self._troubles.get(key, "")

    def only(self, stream: str, revisions: Collection[int]) -> None:
        """No other revision of an app matters any more."""
        for key in [k for k in self._tasks if k[0] == stream and k[1] not in revisions]:
            self._tasks.pop(key).cancel()
            self._troubles.pop(key, None)

    def retry_now(self, stream: str) -> None:
        """A new intent: do not wait for the backoff."""
        for key in [key for key in self._tasks if key[0] == stream and key in self._troubles]:
            self._tasks.pop(key).cancel()
            self._troubles.pop(key, None)

    def forget(self, stream: str) -> None:
        """There is no such app: nobody waits for its images."""
        self.only(stream, ())

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, key: tuple[str, int], task: asyncio.Task[None]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
            self._troubles.pop(key, None)
        if key not in self._tasks:
            self._where.pop(key, None)
        if not task.cancelled() and task.exception() is not None:
            _log.error("image resolution failed", key=key, error=repr(task.exception()))

    async def _resolve(
        self, desired: DesiredApp, revision: Revision, images: Images, had: Callable[[], None]
    ) -> None:
        wait = FIRST
        while True:
            try:
                found = await images.resolve(
                    revision.image or revision.spec.image or "",
                    policy=revision.spec.image_pull.policy,
                    credentials=await self._credentials(desired.ref, revision),
                )
                if revision.image is None:
                    await self._record(desired, revision.number, found)
                else:
                    had()
                    self._changed(desired.ref.stream)
            except (EngineError, SecretUnavailable, LogError) as error:
                self._trouble(desired.ref.stream, revision.number, str(error))
            else:
                return
            await asyncio.sleep(wait * self._rng.uniform(0.75, 1.25))
            wait = min(MOST, wait * 2)

    async def _credentials(self, ref: Ref, revision: Revision) -> Mapping[str, SecretText] | None:
        name = revision.spec.image_pull.secret_ref
        if name is None:
            return None
        return await self._secrets.get(Ref("Secret", ref.project, name), revision.secrets[name])

    async def _record(self, desired: DesiredApp, number: int, image: str) -> None:
        asked = ResolveImage(ref=desired.ref, revision=number, image=image)
        # A key of its own each time: what was refused while the history could not be read may be
        # asked again, and what was recorded before is recorded once, whatever the key.
        key = f"image-{desired.uid}-{number}-{image}-{self._rng.getrandbits(32):08x}"
        try:
            answer = await self._intents.submit(asked, actor=part_of_ours("images"), key=key)
            await self._seen(answer.position)
        except Refusal as refusal:
            # The app went meanwhile, or its history cannot be read now: whoever still wants the
            # image asks again at the next tick, and not at once, which would be without end.
            _log.info("image not recorded", resource=str(desired.ref), reason=str(refusal))
        else:
            self._changed(desired.ref.stream)

    def _trouble(self, stream: str, number: int, message: str) -> None:
        if self._troubles.get((stream, number)) != message:
            self._troubles[stream, number] = message
            self._changed(stream)
