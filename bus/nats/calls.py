"""Calls over core NATS: a request on the partition's subject, the answer as frames to its inbox.

Whoever asks grants frames, and grants more as it takes them; whoever answers sends no more than it
was granted, and stops when nothing was granted or asked for a while. A frame that is missing, or
silence, ends the call with an error: nothing is made up.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, suppress
from itertools import count
from typing import Final, final, override

import msgspec
import structlog

from bus.calls import Answer, CallFailed, CallLost, Calls
from bus.leases import Partition
from bus.nats.connection import Part
from bus.nats.session import Leave, Message, NatsUnavailable, Session
from bus.nats.subjects import io_subject, may_answer

GRANTED: Final = 32  # frames under way
FRAME_BYTES: Final = 256 << 10  # a server takes 1 MiB, unless it is told otherwise
BEAT_SECONDS: Final = 5.0  # of having nothing to say
SILENCE_SECONDS: Final = 20.0  # after which the other side has gone
FIRST_SECONDS: Final = 5.0  # in which whoever takes a call says so
AT_ONCE: Final = 256  # calls that are being answered
KIND: Final = "Stateward-Frame"  # data, part (more of it follows), end, failed, beat
NUMBER: Final = "Stateward-Number"
STOP: Final = b"stop"

_log = structlog.get_logger(__name__)


class _Failure(msgspec.Struct):
    kind: str
    message: str


class _Asker:
    """Whoever asked, as it is heard of: what it grants, and whether it is still there."""

    def __init__(self) -> None:
        self.granted = GRANTED
        self.is_gone = False
        self.news = asyncio.Event()

    def hear(self, data: bytes) -> None:
        if data == STOP:
            self.is_gone = True
        elif data.isdigit():
            self.granted += min(int(data), GRANTED)
        self.news.set()


@final
class NatsCalls(Part, Calls):
    """Args: `answer` answers what comes for the partitions that are served."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.name = "calls"
        self._answer = answer
        self._session: Session | None = None
        self._inbox = ""
        self._numbers = count(1)
        self._askers: dict[str, _Asker] = {}
        self._answers: dict[str, asyncio.Queue[Message]] = {}
        self._served: dict[Partition, None] = {}
        self._listening: dict[Partition, Leave] = {}
        self._turn = asyncio.Lock()
        self._tasks: dict[asyncio.Task[None], None] = {}

    @override
    async def attach(self, session: Session) -> None:
        inbox = session.new_inbox()
        await session.subscribe_ready(f"{inbox}.*", self._heard)
        async with self._turn:
            self._session, self._inbox = session, inbox
            self._listening.clear()
        await self._listen()

    # -- answering ----------------------------------------------------------------------------

    async def serve(self, partitions: Iterable[Partition]) -> None:
        """Answer for these, and for no others, from now on and on every session to come."""
        self._served = dict.fromkeys(partitions)
        with suppress(NatsUnavailable):  # the next session listens to what is served then
            await self._listen()

    async def _listen(self) -> None:
        async with self._turn:
            session = self._session
            if session is None or not session.is_open:
                return
            for gone in [one for one in self._listening if one not in self._served]:
                await self._listening.pop(gone)()
            for one in [one for one in self._served if one not in self._listening]:
                self._listening[one] = await session.subscribe_ready(io_subject(one), self._arrived)

    async def stop(self) -> None:
        """Break off what is being answered."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _arrived(self, message: Message) -> None:
        session = self._session
        if self._answer is None or session is None or not may_answer(message.reply):
            return
        if len(self._tasks) >= AT_ONCE:
            await _fail(session, message.reply, "Overloaded", "too many are asking; wait")
            return
        task = asyncio.create_task(self._serve(session, message, self._answer))
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def _serve(self, session: Session, message: Message, answer: Answer) -> None:
        control, asker = f"{self._inbox}.{next(self._numbers)}", _Asker()
        self._askers[control] = asker
        try:
            async with aclosing(answer(message.data)) as parts:  # type: ignore[type-var]
                await _send_all(session, message.reply, control, asker, parts)
        except CallFailed as failure:
            await _fail(session, message.reply, failure.kind, str(failure))
        except NatsUnavailable as error:
            _log.info("a call was broken off", reason=str(error))
        except Exception:
            _log.exception("a call could not be answered", subject=message.subject)
            await _fail(session, message.reply, "Internal", "a fault of Stateward's; see its log")
        finally:
            del self._askers[control]

    # -- asking -------------------------------------------------------------------------------

    @override
    async def ask(self, partition: Partition, request: bytes) -> AsyncGenerator[bytes]:
        session = self._session
        if session is None or not session.is_open:
            raise CallLost("there is no connection to NATS; what runs elsewhere cannot be asked")
        inbox = f"{self._inbox}.{next(self._numbers)}"
        frames = self._answers[inbox] = asyncio.Queue[Message]()
        control, taken, expected, parts = "", 0, 0, list[bytes]()
        try:
            await session.publish(io_subject(partition), request, reply=inbox)
            while True:
                frame = await _next(
                    frames, partition, SILENCE_SECONDS if control else FIRST_SECONDS
                )
                control = frame.reply or control
                kind = _checked(frame, expected)
                expected += 1
                if kind == "end":
                    control = ""
                    return
                if kind == "beat":
                    await session.publish(control, b"0")
                    continue
                parts.append(frame.data)
                if kind == "data":
                    yield b"".join(parts)
                    parts.clear()
                taken += 1
                if taken == GRANTED // 2:
                    await session.publish(control, str(taken).encode())
                    taken = 0
        except NatsUnavailable as error:
            raise CallLost(str(error)) from error
        finally:
            del self._answers[inbox]
            if control:
                with suppress(NatsUnavailable):
                    await session.publish(control, STOP)

    async def _heard(self, message: Message) -> None:
        if (asker := self._askers.get(message.subject)) is not None:
            asker.hear(STOP if _is_unheard(message) else message.data)
        elif (frames := self._answers.get(message.subject)) is not None:
            frames.put_nowait(message)


async def _send_all(
    session: Session, to: str, control: str, asker: _Asker, parts: AsyncIterator[bytes]
) -> None:
    """Send parts as they come and are granted, until they end or nobody wants them."""
    numbers = count()

    async def send(kind: str, data: bytes = b"") -> None:
        headers = {KIND: kind, NUMBER: str(next(numbers))}
        await session.publish(to, data, headers, reply=control)

    coming = asyncio.ensure_future(anext(parts, None))
    try:
        await send("beat")  # the call has arrived
        while not asker.is_gone:
            done, _ = await asyncio.wait((coming,), timeout=BEAT_SECONDS)
            if not done:
                asker.news.clear()
                await send("beat")
                if not await _hears(asker):
                    return
                continue
            part = coming.result()
            if part is None:
                await send("end")
                return
            for first in range(0, max(len(part), 1), FRAME_BYTES):
                if not await _granted(asker):
                    return
                is_last = first + FRAME_BYTES >= len(part)
                await send("data" if is_last else "part", part[first : first + FRAME_BYTES])
            coming = asyncio.ensure_future(anext(parts, None))
    finally:
        coming.cancel()
        await asyncio.wait((coming,))


async def _granted(asker: _Asker) -> bool:
    """Wait until one more frame may be sent; whether anybody wants it."""
    while asker.granted <= 0 and not asker.is_gone:
        asker.news.clear()
        if not await _hears(asker):
            return False
    asker.granted -= 1
    return not asker.is_gone


async def _hears(asker: _Asker) -> bool:
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            await asker.news.wait()
    except TimeoutError:
        return False
    return True


async def _fail(session: Session, to: str, kind: str, message: str) -> None:
    with suppress(NatsUnavailable):
        await session.publish(to, msgspec.json.encode(_Failure(kind, message)), {KIND: "failed"})


async def _next(frames: asyncio.Queue[Message], partition: Partition, patience: float) -> Message:
    try:
        async with asyncio.timeout(patience):
            return await frames.get()
    except TimeoutError:
        raise CallLost(
            f"the worker of target {partition.target} said nothing for {patience:.0f} s; ask again"
        ) from None


def _is_unheard(message: Message) -> bool:
    """Whether the server says by it that nobody listens where something was sent."""
    return message.headers.get("Status") == "503"


def _checked(frame: Message, expected: int) -> str:
    """The kind of a frame that is the next one."""
    if _is_unheard(frame):
        raise CallLost("no worker holds what this is about now; it is taken over soon: ask again")
    kind = frame.headers.get(KIND, "")
    if kind == "failed":
        failure = msgspec.json.decode(frame.data, type=_Failure)
        raise CallFailed(failure.kind, failure.message)
    if frame.headers.get(NUMBER) != str(expected):
        raise CallLost("a part of the answer was lost on the way; ask again")
    return kind
