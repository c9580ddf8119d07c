"""From a message to the application service: who sent it, what it asks, and the one way in.

The actor is the subject's token, for the server lets nobody publish on another's; whatever the
envelope says must agree with the subject.
"""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple, final

from bus.envelopes import Submission, check_actor, intent_from
from bus.intents import Answer, IntentService
from bus.nats import subjects
from domain.access import Actor
from domain.refusals import BadValue, Expired, Forbidden

type ActorOf = Callable[[str], Actor | None]
"""Of the token of a subject, the actor with its role; None if nobody is known by it."""


class Received(NamedTuple):
    """A message that was read: what it asks, and who does."""

    submission: Submission
    actor: Actor


@final
class Reception:
    """Reads messages and hands in what they ask."""

    def __init__(self, intents: IntentService, actor_of: ActorOf) -> None:
        self._intents = intents
        self._actor_of = actor_of

    def read(self, subject: str, data: bytes) -> Received:
        """Read a message.

        Raises:
            Refusal: it cannot be used, or says something else than its subject.
        """
        token, resource = subjects.sender(subject)
        actor = self._actor(token)
        submission = intent_from(data)
        check_actor(submission, actor)
        if subjects.resource_tokens(submission.ref) != resource:
            rule = f"the message came on a subject that ends in {resource}"
            raise BadValue("subject", str(submission.ref), rule)
        return Received(submission, actor)

    async def hand_in(self, received: Received, check: Callable[[], None] = lambda: None) -> Answer:
        """Decide and append what was asked.

        Args:
            received: what was asked.
            check: a condition beside the rules; raises a `Refusal`.

        Raises:
            Refusal: nothing changed.
            LogError: as `IntentService.submit`.
        """
        submission, actor = received

        def checked(now: datetime) -> None:
            if submission.expires is not None and now > submission.expires:
                raise Expired(submission.ref, submission.expires.isoformat())
            check()

        return await self._intents.submit(
            submission.asked,
            actor=actor,
            key=submission.key,
            digest=submission.digest,
            check=checked,
        )

    def _actor(self, token: str) -> Actor:
        known = self._actor_of(token)
        if known is None:
            raise Forbidden(
                f"no program is known as {token!r}; ask an admin for a token of that name",
                actor=token,
            )
        return Actor(name=f"program:{token}", role=known.role, projects=known.projects)
