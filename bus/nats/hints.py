"""Hints as they arrive: keys and a position, never state. What is malformed is dropped."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, final, override

import msgspec
import structlog

from bus.nats.connection import Part
from bus.nats.publisher import MOST_KEYS
from bus.nats.session import Message, Session
from bus.nats.settings import BusMetrics
from bus.nats.subjects import HINTS
from domain.names import Ref
from domain.refusals import BadValue

type Hinted = Callable[[int, Sequence[str] | None], None]
"""Told where to look: the head of the log and keys; None for keys means look at all of them."""

_log = structlog.get_logger(__name__)


class Hint(msgspec.Struct, forbid_unknown_fields=True):
    """The log has reached `head`; look at these resources, or at all of them (`scan`)."""

    head: Annotated[int, msgspec.Meta(ge=0)]
    keys: Annotated[list[str], msgspec.Meta(max_length=MOST_KEYS)] | Literal["scan"]


_decoder = msgspec.json.Decoder(Hint)


@final
class HintSubscriber(Part):
    """Hands hints to `hinted`, which must not block."""

    def __init__(self, hinted: Hinted, metrics: BusMetrics) -> None:
        self.name = "hints"
        self._hinted = hinted
        self._metrics = metrics

    @override
    async def attach(self, session: Session) -> None:
        await session.subscribe_ready(HINTS, self._arrived)
        # Whatever was said while nobody listened: look at everything once.
        self._hinted(0, None)

    async def _arrived(self, message: Message) -> None:
        try:
            hint = _decoder.decode(message.data)
            keys = None if isinstance(hint.keys, str) else hint.keys
            for key in keys or ():
                Ref.parse(key)
        except (msgspec.MsgspecError, UnicodeDecodeError, BadValue) as error:
            _log.warning("a malformed hint was dropped", reason=str(error))
            self._metrics.dropped("hints", 1)
            return
        self._hinted(hint.head, keys)
