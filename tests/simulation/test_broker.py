"""The simulated broker: what goes wrong with messages, with the server and with who is cut off."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import final

import pytest

from bus.nats import streams
from bus.nats.session import Message, NatsUnavailable, Session
from bus.nats.subjects import SUBMIT_STREAM
from simulation.agenda import Agenda
from simulation.broker import Broker
from simulation.exchange import matches
from simulation.jetstream import JETSTREAM
from simulation.loop import run
from simulation.message_faults import LOST, ON_TIME, Fate, Kind, Sent, on_first, on_kind
from tests.contracts.session import WEB, Inbox, answering, listening


@final
class Scene:
    """A broker, what was heard of it, and a session each of the control plane and a producer."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.broker = Broker(heard=self.lines.append)
        self.faults = self.broker.faults

    async def begin(self) -> None:
        self.plane = await self.broker.open("stateward")
        self.producer = await self.broker.open("producer")

    async def consume(self) -> Inbox:
        """The control plane consumes the submit stream."""
        await streams.ensure_stream(self.plane, streams.SUBMIT, "f00", 1)
        to = self.plane.new_inbox()
        inbox = await listening(self.plane, to)
        await streams.renew_consumer(self.plane, to)
        return inbox

    async def store(self, *keys: str) -> None:
        for key in keys:
            await self.producer.store(WEB, key.encode(), key)

    @property
    def stored(self) -> list[bytes]:
        return [message.data for message in self.broker.stored(SUBMIT_STREAM)]


def act(play: Callable[[Scene], Awaitable[None]]) -> None:
    """Let a play take place on virtual time."""

    async def played() -> None:
        scene = Scene()
        await scene.begin()
        try:
            await play(scene)
        finally:
            await scene.broker.close()

    run(played())


def now() -> float:
    return asyncio.get_running_loop().time()


async def acknowledge(session: Session, *messages: Message) -> None:
    for message in messages:
        await session.publish(message.reply, b"+ACK")
    await asyncio.sleep(0.001)


def test_without_faults_nothing_takes_time() -> None:
    async def play(scene: Scene) -> None:
        await answering(scene.plane, "question", b"yes")
        assert await scene.producer.ask("question", b"") == b"yes"
        inbox = await scene.consume()
        await scene.store("a", "b")
        assert await inbox.until(2) == [b"a", b"b"]
        assert now() == 0.0
        assert scene.broker.happened["lost"] == 0

    act(play)


def test_a_lost_request_is_late_after_five_seconds() -> None:
    async def play(scene: Scene) -> None:
        asked = await answering(scene.plane, "question", b"yes")
        scene.faults.fate = on_first(Kind.REQUEST, LOST)
        with pytest.raises(NatsUnavailable, match="timeout"):
            await scene.producer.ask("question", b"")
        assert now() == 5.0
        assert asked.messages == []
        assert await scene.producer.ask("question", b"") == b"yes"
        assert (scene.broker.happened["lost"], scene.broker.happened["unanswered"]) == (1, 1)

    act(play)


def test_an_answer_that_comes_too_late_is_nobodys() -> None:
    async def play(scene: Scene) -> None:
        asked = await answering(scene.plane, "question", b"yes")
        scene.faults.fate = on_kind(Kind.REPLY, Fate((6.0,)))
        with pytest.raises(NatsUnavailable):
            await scene.producer.ask("question", b"")
        await asyncio.sleep(10)
        assert len(asked.messages) == 1

    act(play)


def test_messages_are_repeated_and_overtake_each_other_as_their_fates_say() -> None:
    async def play(scene: Scene) -> None:
        inbox = await listening(scene.plane, "work")
        scene.faults.fate = on_first(Kind.MESSAGE, Fate((0.0, 3.0)), Fate((2.0,)), Fate((1.0,)))
        for number in range(4):
            await scene.producer.publish("work", b"%d" % number)
        assert await inbox.until(5) == [b"0", b"3", b"2", b"1", b"0"]
        happened = scene.broker.happened
        counted = {name: happened[name] for name in ("repeated", "delayed", "reordered", "lost")}
        assert counted == {"repeated": 1, "delayed": 3, "reordered": 3, "lost": 0}

    act(play)


def test_what_takes_equally_long_stays_in_order() -> None:
    async def play(scene: Scene) -> None:
        inbox = await listening(scene.plane, "work")
        scene.faults.fate = on_kind(Kind.MESSAGE, Fate((1.0,)))
        for number in range(50):
            await scene.producer.publish("work", b"%d" % number)
        assert await inbox.until(50) == [b"%d" % number for number in range(50)]
        assert scene.broker.happened["reordered"] == 0

    act(play)


def test_a_fate_is_asked_for_each_receiver_and_knows_whom_it_is_about() -> None:
    async def play(scene: Scene) -> None:
        asked: list[Sent] = []

        def fate(sent: Sent) -> Fate:
            asked.append(sent)
            return LOST if sent.receiver == "stateward" else ON_TIME

        first = await listening(scene.plane, "work")
        second = await listening(scene.producer, "work")
        scene.faults.fate = fate
        await scene.producer.publish("work", b"")
        await second.until(1)
        assert first.messages == []
        assert [(s.sender, s.receiver, s.subject, s.kind) for s in asked] == [
            ("producer", "stateward", "work", Kind.MESSAGE),
            ("producer", "producer", "work", Kind.MESSAGE),
        ]
        assert asked[1].number == asked[0].number + 1

    act(play)


def test_a_message_may_be_stored_although_nobody_says_so() -> None:
    async def play(scene: Scene) -> None:
        inbox = await scene.consume()
        scene.faults.fate = on_first(Kind.REPLY, LOST)
        with pytest.raises(NatsUnavailable):
            await scene.store("a")
        await scene.store("a", "b")
        assert await inbox.until(2) == [b"a", b"b"]
        assert scene.stored == [b"a", b"b"]
        assert scene.broker.happened["duplicates"] == 1

    act(play)


def test_an_id_is_forgotten_after_its_window() -> None:
    async def play(scene: Scene) -> None:
        await scene.consume()
        await scene.store("a")
        await asyncio.sleep(599)
        await scene.store("a")
        assert scene.stored == [b"a"]
        await asyncio.sleep(2)
        await scene.store("a")
        assert scene.stored == [b"a", b"a"]

    act(play)


def test_a_lost_acknowledgement_brings_an_old_message_after_newer_ones() -> None:
    async def play(scene: Scene) -> None:
        inbox = await scene.consume()
        await scene.store("old", "new")
        await inbox.until(2)
        scene.faults.fate = on_first(Kind.ACK, LOST)
        await acknowledge(scene.plane, *inbox.messages)
        assert scene.stored == [b"old"]
        await asyncio.sleep(streams.ACK_SECONDS - now())
        assert await inbox.until(3) == [b"old", b"new", b"old"]
        assert now() == 30.0
        assert inbox.messages[2].reply.split(".")[4:6] == ["2", "1"]
        await acknowledge(scene.plane, inbox.messages[2])
        assert scene.stored == []
        assert scene.broker.happened["redelivered"] == 1

    act(play)


def test_what_is_unacknowledged_can_be_delivered_again_at_any_moment() -> None:
    async def play(scene: Scene) -> None:
        inbox = await scene.consume()
        await scene.store("a", "b", "c")
        await inbox.until(3)
        await acknowledge(scene.plane, inbox.messages[1])
        scene.broker.redeliver(SUBMIT_STREAM)
        assert await inbox.until(5) == [b"a", b"b", b"c", b"a", b"c"]
        assert now() < 1

    act(play)


def test_a_server_may_come_up_without_the_last_acknowledgements() -> None:
    async def play(scene: Scene) -> None:
        inbox = await scene.consume()
        await scene.store("a", "b", "c")
        await inbox.until(3)
        await acknowledge(scene.plane, *inbox.messages)
        assert scene.stored == []
        scene.broker.restart(forgotten_acks=2)
        assert scene.stored == [b"b", b"c"]
        await scene.begin()
        again = await scene.consume()
        await scene.store("d")
        assert await again.until(3) == [b"b", b"c", b"d"]
        assert again.sequences == [2, 3, 4]

    act(play)


def test_an_outage_ends_all_sessions_at_once_and_loses_what_is_under_way() -> None:
    async def play(scene: Scene) -> None:
        inbox = await scene.consume()
        other = await listening(scene.producer, "work")
        await scene.store("a")
        await inbox.until(1)
        scene.faults.fate = on_kind(Kind.MESSAGE, Fate((5.0,)))
        await scene.plane.publish("work", b"")
        scene.faults.down = True
        assert scene.plane.ended.is_set()
        assert scene.producer.reason == "unexpected EOF"
        with pytest.raises(NatsUnavailable, match="refused"):
            await scene.broker.open("producer")
        await asyncio.sleep(60)
        scene.faults.down = False
        await scene.begin()
        assert scene.stored == [b"a"]
        again = await scene.consume()
        assert await again.until(1) == [b"a"]
        assert other.messages == []
        assert (scene.broker.happened["outages"], scene.broker.happened["lost"]) == (1, 1)

    act(play)


def test_a_server_may_go_between_storing_and_saying_so() -> None:
    async def play(scene: Scene) -> None:
        await scene.consume()

        def fate(sent: Sent) -> Fate:
            scene.faults.down |= sent.sender == JETSTREAM
            return ON_TIME

        scene.faults.fate = fate
        with pytest.raises(NatsUnavailable):
            await scene.store("a")
        assert scene.stored == [b"a"]
        assert not scene.producer.is_open

    act(play)


def test_a_request_in_the_air_when_the_server_goes_is_late_all_the_same() -> None:
    async def play(scene: Scene) -> None:
        await listening(scene.plane, "question")
        asking = asyncio.create_task(scene.producer.ask("question", b""))
        await asyncio.sleep(1)
        scene.faults.down = True
        with pytest.raises(NatsUnavailable):
            await asking
        assert now() == 5.0

    act(play)


def test_the_session_of_who_is_cut_off_hangs_until_three_pings_went_unanswered() -> None:
    async def play(scene: Scene) -> None:
        plane, producer = await listening(scene.plane, "work"), await listening(scene.producer, "w")
        await asyncio.sleep(12)
        scene.faults.cut.add("producer")
        await scene.producer.publish("work", b"")
        await scene.plane.publish("w", b"")
        with pytest.raises(NatsUnavailable, match="timeout"):
            await scene.producer.ask("work", b"")
        assert now() == 17.0
        with pytest.raises(NatsUnavailable, match="timeout"):
            await scene.producer.subscribe_ready("more", producer.take)
        assert scene.producer.is_open
        await scene.producer.ended.wait()
        assert (now(), scene.producer.reason) == (40.0, "stale connection")
        with pytest.raises(NatsUnavailable, match="no answer"):
            await scene.broker.open("producer")
        assert now() == 45.0
        scene.faults.cut.clear()
        await scene.broker.open("producer")
        assert (plane.messages, producer.messages) == ([], [])
        assert scene.plane.is_open

    act(play)


def test_a_cut_that_heals_in_time_ends_nothing() -> None:
    async def play(scene: Scene) -> None:
        inbox = await listening(scene.plane, "work")
        for _ in range(3):
            scene.faults.cut.add("stateward")
            await asyncio.sleep(15)
            scene.faults.cut.clear()
            await asyncio.sleep(15)
        await scene.producer.publish("work", b"")
        await inbox.until(1)

    act(play)


def test_the_server_does_not_know_that_who_is_cut_off_has_given_up() -> None:
    async def play(scene: Scene) -> None:
        await answering(scene.plane, "question", b"yes")
        scene.faults.cut.add("stateward")
        await scene.plane.ended.wait()
        with pytest.raises(NatsUnavailable, match="timeout"):
            await scene.producer.ask("question", b"")
        scene.faults.cut.clear()
        with pytest.raises(NatsUnavailable, match="no responders"):
            await scene.producer.ask("question", b"")

    act(play)


def test_who_is_cut_off_does_not_hear_of_an_outage() -> None:
    async def play(scene: Scene) -> None:
        inbox = await listening(scene.plane, "work")
        scene.faults.cut.add("stateward")
        scene.faults.down = True
        scene.faults.down = False
        scene.faults.cut.clear()
        assert scene.plane.is_open
        again = await scene.broker.open("producer")
        await again.publish("work", b"")
        await scene.plane.publish("work", b"")
        await scene.plane.ended.wait()
        assert now() == 30.0
        assert inbox.messages == []

    act(play)


def test_jetstream_can_be_cut_off_alone() -> None:
    async def play(scene: Scene) -> None:
        await scene.consume()
        await answering(scene.plane, "question", b"yes")
        scene.faults.cut.add(JETSTREAM)
        with pytest.raises(NatsUnavailable, match="timeout"):
            await scene.store("a")
        assert await scene.producer.ask("question", b"") == b"yes"
        assert scene.stored == []

    act(play)


def test_a_client_can_lose_its_connections_alone() -> None:
    async def play(scene: Scene) -> None:
        second = await scene.broker.open("producer")
        scene.broker.disconnect("producer")
        assert scene.producer.ended.is_set()
        assert second.ended.is_set()
        assert scene.plane.is_open

    act(play)


def test_a_queue_group_is_served_in_turn() -> None:
    async def play(scene: Scene) -> None:
        members = [await listening(scene.plane, "work", "group") for _ in range(3)]
        for number in range(6):
            await scene.producer.publish("work", b"%d" % number)
        assert [await member.until(2) for member in members] == [
            [b"0", b"3"],
            [b"1", b"4"],
            [b"2", b"5"],
        ]

    act(play)


def test_closing_ends_all_sessions_and_leaves_no_task() -> None:
    async def closed() -> None:
        broker = Broker()
        session = await broker.open("stateward")
        for subject in ("a", "b"):
            await session.subscribe_ready(subject, Inbox().take)
        await session.publish("a", b"")
        await broker.close()
        assert session.ended.is_set()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(closed())


def test_everything_is_heard_in_words_that_do_not_change() -> None:
    async def play(scene: Scene) -> None:
        await answering(scene.plane, "question", b"yes")
        scene.faults.fate = on_first(Kind.REQUEST, Fate((0.25, 2.0)))
        await scene.producer.ask("question", b"well?")
        await asyncio.sleep(3)
        scene.faults.down = True
        request = "producer to stateward: request question (5 bytes, bfcbf721)"
        assert scene.lines == [
            "session 1 of stateward begins",
            "session 2 of producer begins",
            f"#1 {request} arrives after 0.25, 2 s",
            "#2 stateward to producer: reply _INBOX.producer.2.1 (3 bytes, 75e735a9)",
            "#3 stateward to nobody: reply _INBOX.producer.2.1 (3 bytes, 75e735a9)",
            "the server is down",
            "session 1 of stateward ends: unexpected EOF",
            "session 2 of producer ends: unexpected EOF",
        ]

    act(play)


def test_an_agenda_that_is_closed_does_nothing_more() -> None:
    done: list[int] = []

    async def wait() -> None:
        agenda = Agenda()
        agenda.add(1.0, lambda: done.append(1))
        agenda.add(0.1 + 0.2, lambda: agenda.add(0.0, lambda: done.append(0)))
        agenda.add(2.0, lambda: done.append(2))
        await asyncio.sleep(1.5)
        agenda.close()
        await asyncio.sleep(5)

    run(wait())
    assert done == [0, 1]


@pytest.mark.parametrize(
    ("pattern", "subject", "is_match"),
    [
        ("a", "a", True),
        ("a", "a.b", False),
        ("a.*", "a.b", True),
        ("*", "a.b", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        (">", "a", True),
        ("a.*.>", "a.b", False),
    ],
)
def test_patterns_match_as_on_a_real_server(pattern: str, subject: str, is_match: bool) -> None:
    assert matches(pattern, subject) is is_match
