"""What every `Session` must do. Subclass it, provide `place`, and inherit the tests."""

import asyncio
from abc import ABC, abstractmethod
from typing import Any, final

import pytest

from bus.nats import streams
from bus.nats.session import JetStreamRefused, Message, NatsUnavailable, Session
from bus.nats.subjects import SUBMIT_STREAM, refused_subject

PATIENCE = 60.0
WEB = "stateward.v1.submit.producer.shop.App.web"
SOON = 1.0  # seconds until an unacknowledged message comes again, where a test does not say


class Place(ABC):
    """One server, that can be started again with what is on its disk."""

    @abstractmethod
    async def open(self, name: str = "stateward") -> Session: ...

    @abstractmethod
    async def restart(self) -> None: ...


@final
class Inbox:
    """What arrived, in order."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._news = asyncio.Event()

    async def take(self, message: Message) -> None:
        self.messages.append(message)
        self._news.set()

    async def until(self, count: int) -> list[bytes]:
        """Wait until so many have arrived; what they all say."""
        async with asyncio.timeout(PATIENCE):
            while len(self.messages) < count:
                self._news.clear()
                await self._news.wait()
        return [message.data for message in self.messages]

    @property
    def sequences(self) -> list[int | None]:
        return [streams.sequence(message.reply) for message in self.messages]


async def listening(session: Session, subject: str, queue: str = "") -> Inbox:
    inbox = Inbox()
    await session.subscribe_ready(subject, inbox.take, queue=queue)
    return inbox


async def round_trip(session: Session) -> None:
    """Be sure that what was said on this session before has arrived."""
    inbox = session.new_inbox()
    echo = await listening(session, inbox)
    await session.publish(inbox, b"")
    await echo.until(1)


async def answering(session: Session, subject: str, answer: bytes) -> Inbox:
    asked = Inbox()

    async def reply(message: Message) -> None:
        await asked.take(message)
        await session.publish(message.reply, answer)

    await session.subscribe_ready(subject, reply)
    return asked


async def stored(session: Session, count: int, data: bytes = b"") -> None:
    for number in range(1, count + 1):
        await session.store(WEB, data or b"%d" % number, f"id-{number}")


async def state(session: Session, stream: str = SUBMIT_STREAM) -> Any:
    return (await session.ask_api(f"STREAM.INFO.{stream}"))["state"]


async def left(session: Session, count: int) -> None:
    """Wait until the submit stream holds so many: acknowledgements are not answered."""
    async with asyncio.timeout(PATIENCE):
        while (await state(session))["messages"] != count:
            await asyncio.sleep(0.01)


async def consuming(session: Session, **settings: object) -> Inbox:
    """Start to consume the submit stream, patient for a second."""
    to = session.new_inbox()
    inbox = await listening(session, to)
    config = {
        "durable_name": streams.CONSUMER,
        "deliver_subject": to,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": int(SOON * streams.SECOND),
    }
    await session.ask_api(
        f"CONSUMER.CREATE.{SUBMIT_STREAM}.{streams.CONSUMER}",
        {"stream_name": SUBMIT_STREAM, "config": config | settings},
    )
    return inbox


class SessionContract:
    @pytest.fixture
    def place(self) -> Place:
        raise NotImplementedError

    @pytest.fixture
    async def session(self, place: Place) -> Session:
        return await place.open()

    @pytest.fixture
    async def stream(self, session: Session) -> None:
        await streams.ensure_stream(session, streams.SUBMIT, "f00", 1)

    async def test_what_is_published_arrives_in_order_with_its_headers(
        self, place: Place, session: Session
    ) -> None:
        inbox = await listening(session, "greetings.one")
        other = await place.open("producer")
        for number in range(100):
            await other.publish("greetings.one", b"%d" % number, {"N": str(number)})
        assert await inbox.until(100) == [b"%d" % number for number in range(100)]
        assert [message.headers["N"] for message in inbox.messages[:3]] == ["0", "1", "2"]
        assert (inbox.messages[0].subject, inbox.messages[0].reply) == ("greetings.one", "")

    async def test_a_subscription_that_was_ended_hears_nothing_more(
        self, place: Place, session: Session
    ) -> None:
        left, kept = Inbox(), await listening(session, "greetings.>")
        leave = await session.subscribe_ready("greetings.one", left.take)
        other = await place.open("producer")
        await other.publish("greetings.one", b"1")
        await left.until(1)
        await leave()
        await leave()  # once more does nothing
        await round_trip(session)
        await other.publish("greetings.one", b"2")
        assert await kept.until(2) == [b"1", b"2"]
        await round_trip(session)
        assert [message.data for message in left.messages] == [b"1"]

    async def test_the_end_of_a_subscription_of_an_ended_session_is_no_error(
        self, session: Session
    ) -> None:
        leave = await session.subscribe_ready("greetings.one", Inbox().take)
        await session.close()
        await leave()

    @pytest.mark.parametrize(
        ("pattern", "matching", "other"),
        [
            ("a.b", "a.b", "a.b.c"),
            ("a.*.c", "a.b.c", "a.b.b.c"),
            ("a.*", "a.b", "a"),
            ("a.>", "a.b.c", "a"),
            ("*.b.>", "a.b.c.d", "a.c.b.d"),
            (">", "a", "_INBOX.nobody"),
        ],
    )
    async def test_wildcards_stand_for_one_token_or_all_that_follow(
        self, session: Session, pattern: str, matching: str, other: str
    ) -> None:
        inbox = await listening(session, pattern)
        await session.publish(other, b"other")
        await session.publish(matching, b"matching")
        await inbox.until(1)
        await round_trip(session)
        subjects = [
            m.subject for m in inbox.messages if not m.subject.startswith("_INBOX.stateward")
        ]
        assert subjects == ([other] if pattern == ">" else []) + [matching]

    async def test_one_of_a_queue_group_hears_a_message_and_everybody_else_does(
        self, place: Place, session: Session
    ) -> None:
        members = [await listening(await place.open(), "work.*", "group") for _ in range(3)]
        everybody = [await listening(session, "work.>") for _ in range(2)]
        for number in range(60):
            await session.publish("work.now", b"%d" % number)
        for inbox in everybody:
            await inbox.until(60)
        async with asyncio.timeout(PATIENCE):
            while sum(len(inbox.messages) for inbox in members) < 60:
                await asyncio.sleep(0.01)
        heard = [message.data for inbox in members for message in inbox.messages]
        assert sorted(heard) == sorted(b"%d" % number for number in range(60))
        assert all(inbox.messages for inbox in members)

    async def test_a_request_is_answered(self, place: Place, session: Session) -> None:
        asked = await answering(session, "question.*", b"yes")
        other = await place.open("producer")
        assert await other.ask("question.one", b"well?", {"Why": "because"}) == b"yes"
        (message,) = asked.messages
        assert (message.data, message.headers["Why"]) == (b"well?", "because")
        assert message.reply.startswith("_INBOX.producer.")

    async def test_many_requests_at_once_get_their_own_answers(
        self, place: Place, session: Session
    ) -> None:
        async def echo(message: Message) -> None:
            await session.publish(message.reply, message.data)

        await session.subscribe_ready("echo", echo)
        other = await place.open("producer")
        said = [b"%d" % number for number in range(50)]
        assert await asyncio.gather(*(other.ask("echo", one) for one in said)) == said

    async def test_a_question_that_nobody_hears_is_answered_so_at_once(
        self, session: Session
    ) -> None:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(NatsUnavailable, match="no responders"):
                await session.ask("nobody.listens", b"")

    async def test_a_handler_has_one_message_at_a_time_and_holds_up_no_other(
        self, session: Session
    ) -> None:
        let_go = asyncio.Event()
        began: list[bytes] = []

        async def slow(message: Message) -> None:
            began.append(message.data)
            await let_go.wait()

        await session.subscribe_ready("work", slow)
        quick = await listening(session, "work")
        await session.publish("work", b"1")
        await session.publish("work", b"2")
        await quick.until(2)
        await round_trip(session)
        assert began == [b"1"]
        let_go.set()
        async with asyncio.timeout(PATIENCE):
            while began != [b"1", b"2"]:
                await asyncio.sleep(0.01)

    async def test_a_handler_that_fails_is_noted_and_gets_the_next_message(
        self, session: Session
    ) -> None:
        heard: list[bytes] = []

        async def fail(message: Message) -> None:
            heard.append(message.data)
            raise ValueError("that cannot be handled")

        await session.subscribe_ready("work", fail)
        await session.publish("work", b"1")
        await session.publish("work", b"2")
        async with asyncio.timeout(PATIENCE):
            while len(heard) < 2:
                await asyncio.sleep(0.01)
        await round_trip(session)
        assert session.reason == "that cannot be handled"
        assert session.is_open

    async def test_inboxes_are_all_different_and_their_owners(
        self, place: Place, session: Session
    ) -> None:
        sessions = (session, await place.open(), await place.open("producer"))
        inboxes = [one.new_inbox() for one in sessions for _ in range(3)]
        assert len(set(inboxes)) == 9
        assert all(inbox.startswith("_INBOX.stateward.") for inbox in inboxes[:6])
        assert all(inbox.startswith("_INBOX.producer.") for inbox in inboxes[6:])

    async def test_a_closed_session_has_ended_and_hears_nothing(
        self, place: Place, session: Session
    ) -> None:
        inbox = await listening(session, "work")
        assert session.is_open
        assert not session.ended.is_set()
        await session.publish("work.last", b"")
        await session.close()
        await session.close()
        assert session.ended.is_set()
        assert not session.is_open
        other = await place.open("producer")
        with pytest.raises(NatsUnavailable, match="no responders"):
            await other.ask("work", b"")
        assert inbox.messages == []
        for attempt in (
            session.publish("work", b""),
            session.ask("work", b""),
            session.subscribe_ready("work", inbox.take),
        ):
            with pytest.raises(NatsUnavailable, match="closed"):
                await attempt

    async def test_what_was_published_before_closing_arrives(
        self, place: Place, session: Session
    ) -> None:
        other = await place.open("producer")
        inbox = await listening(other, "work")
        for number in range(10):
            await session.publish("work", b"%d" % number)
        await session.close()
        assert len(await inbox.until(10)) == 10

    async def test_a_stream_is_made_once_and_brought_to_its_settings(
        self, session: Session
    ) -> None:
        await streams.ensure_stream(session, streams.SUBMIT, "f00", 1)
        await streams.ensure_stream(session, streams.SUBMIT, "f00", 1)
        await streams.ensure_stream(session, streams.SUBMIT | {"max_bytes": 1 << 20}, "f00", 1)
        info = await session.ask_api(f"STREAM.INFO.{SUBMIT_STREAM}")
        assert info["config"]["max_bytes"] == 1 << 20

    async def test_what_does_not_exist_is_refused_as_such(self, session: Session) -> None:
        for endpoint in (f"STREAM.INFO.{SUBMIT_STREAM}", f"CONSUMER.DELETE.{SUBMIT_STREAM}.none"):
            with pytest.raises(JetStreamRefused) as refused:
                await session.ask_api(endpoint)
            assert refused.value.code == 404
        with pytest.raises(JetStreamRefused) as refused:
            await session.ask_api(f"STREAM.UPDATE.{SUBMIT_STREAM}", streams.SUBMIT)
        assert refused.value.code == 404
        with pytest.raises(NatsUnavailable):
            await session.store(WEB, b"", "id")

    @pytest.mark.usefixtures("stream")
    async def test_a_missing_consumer_is_refused_as_such(self, session: Session) -> None:
        with pytest.raises(JetStreamRefused) as refused:
            await session.ask_api(f"CONSUMER.DELETE.{SUBMIT_STREAM}.{streams.CONSUMER}")
        assert refused.value.code == 404

    @pytest.mark.usefixtures("stream")
    async def test_what_is_stored_twice_under_one_id_is_kept_once(self, session: Session) -> None:
        assert await session.store(WEB, b"1", "a") == 1
        assert await session.store(WEB, b"1", "a") == 1
        assert await session.store(WEB, b"2", "b") == 2
        told = await state(session)
        assert (told["messages"], told["first_seq"], told["last_seq"]) == (2, 1, 2)

    @pytest.mark.usefixtures("stream")
    async def test_a_stream_keeps_what_is_merely_published_and_others_hear_it_too(
        self, session: Session
    ) -> None:
        inbox = await listening(session, "stateward.v1.submit.>")
        await session.publish(WEB, b"1")
        await session.store(WEB, b"2", "a")
        assert await inbox.until(2) == [b"1", b"2"]
        assert (await state(session))["messages"] == 2

    @pytest.mark.usefixtures("stream")
    async def test_a_stream_delivers_in_order_and_forgets_what_is_acknowledged(
        self, session: Session
    ) -> None:
        await stored(session, 3)
        to = session.new_inbox()
        inbox = await listening(session, to)
        await streams.renew_consumer(session, to)
        await session.store(WEB, b"4", "id-4")
        assert await inbox.until(4) == [b"1", b"2", b"3", b"4"]
        assert inbox.sequences == [1, 2, 3, 4]
        assert inbox.messages[0].subject == WEB
        assert inbox.messages[0].headers["Nats-Msg-Id"] == "id-1"
        for message in inbox.messages[:3]:
            await session.publish(message.reply, b"+ACK")
        await left(session, 1)
        assert (await state(session))["first_seq"] == 4

    @pytest.mark.usefixtures("stream")
    async def test_a_new_consumer_gets_all_that_is_unacknowledged_from_the_first_on(
        self, place: Place, session: Session
    ) -> None:
        await stored(session, 5)
        to = session.new_inbox()
        inbox = await listening(session, to)
        await streams.renew_consumer(session, to)
        await inbox.until(5)
        for message in (inbox.messages[0], inbox.messages[2]):
            await session.publish(message.reply, b"+ACK")
        await left(session, 3)
        await session.close()
        later = await place.open()
        to = later.new_inbox()
        again = await listening(later, to)
        await streams.renew_consumer(later, to)
        assert await again.until(3) == [b"2", b"4", b"5"]
        assert again.sequences == [2, 4, 5]

    @pytest.mark.usefixtures("stream")
    async def test_what_is_not_acknowledged_in_time_comes_again(self, session: Session) -> None:
        await stored(session, 2)
        inbox = await consuming(session)
        await inbox.until(2)
        await session.publish(inbox.messages[1].reply, b"+ACK")
        await inbox.until(3)
        assert inbox.sequences == [1, 2, 1]
        assert inbox.messages[0].reply != inbox.messages[2].reply

    @pytest.mark.usefixtures("stream")
    async def test_a_word_that_it_takes_longer_gives_more_time(self, session: Session) -> None:
        await stored(session, 2)
        inbox = await consuming(session)
        await inbox.until(2)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(SOON * 0.6)
        await session.publish(inbox.messages[0].reply, b"+WPI")
        await inbox.until(4)
        assert inbox.sequences == [1, 2, 2, 1]
        assert loop.time() - began > SOON * 1.5

    @pytest.mark.usefixtures("stream")
    async def test_no_more_is_delivered_than_may_be_unacknowledged(self, session: Session) -> None:
        await stored(session, 3)
        inbox = await consuming(session, max_ack_pending=1, ack_wait=30 * streams.SECOND)
        await inbox.until(1)
        await round_trip(session)
        assert inbox.sequences == [1]
        await session.publish(inbox.messages[0].reply, b"+ACK")
        await inbox.until(2)
        assert inbox.sequences == [1, 2]

    @pytest.mark.usefixtures("stream")
    async def test_a_consumer_whose_listener_is_away_waits_for_another(
        self, place: Place, session: Session
    ) -> None:
        listener = await place.open()
        inbox = await consuming(listener)
        await listener.close()
        await stored(session, 1)
        again = await place.open()
        to = again.new_inbox()
        found = await listening(again, to)
        await streams.renew_consumer(again, to)
        assert await found.until(1) == [b"1"]
        assert inbox.messages == []

    async def test_a_full_stream_declines_what_is_new(self, session: Session) -> None:
        await streams.ensure_stream(session, streams.SUBMIT | {"max_bytes": 4096}, "f00", 1)
        with pytest.raises(JetStreamRefused, match="maximum bytes"):
            await stored(session, 10, bytes(1000))
        assert 0 < (await state(session))["messages"] < 5

    async def test_a_full_stream_of_refusals_forgets_the_oldest(self, session: Session) -> None:
        await streams.ensure_stream(session, streams.REFUSED | {"max_bytes": 4096}, "f00", 1)
        for number in range(10):
            await session.store(refused_subject(WEB), bytes(1000), f"id-{number}")
        told = await state(session, streams.REFUSED["name"])
        assert told["last_seq"] == 10
        assert 0 < told["messages"] < 5

    @pytest.mark.usefixtures("stream")
    async def test_what_is_stored_survives_a_restart_which_ends_sessions(
        self, place: Place, session: Session
    ) -> None:
        await stored(session, 3)
        inbox = await consuming(session, ack_wait=30 * streams.SECOND)
        await inbox.until(3)
        await session.publish(inbox.messages[0].reply, b"+ACK")
        await left(session, 2)
        await place.restart()
        async with asyncio.timeout(PATIENCE):
            await session.ended.wait()
        assert not session.is_open
        later = await place.open()
        assert (await state(later))["messages"] == 2
        await later.store(WEB, b"2", "id-2")  # its first copy is still there
        assert (await state(later))["last_seq"] == 3
        await later.store(WEB, b"1", "id-1")  # nobody knows of it any more
        assert (await state(later))["last_seq"] == 4
        to = later.new_inbox()
        again = await listening(later, to)
        await streams.renew_consumer(later, to)
        assert await again.until(3) == [b"2", b"3", b"1"]
