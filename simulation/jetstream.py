"""The simulated JetStream: its API, the streams behind it, and the acknowledgements it hears.

It is a party to the exchange as clients are: what it is asked and what it answers may be lost like
any message. So a message may be kept although whoever sent it hears nothing.
"""

import asyncio
from typing import Any, Final, final, override

import msgspec

from bus.nats.session import Message
from simulation.agenda import Agenda
from simulation.consumers import Consumer
from simulation.exchange import ACKS, Exchange, Interest, Party
from simulation.streams import Declined, Stream
from simulation.witness import Witness

JETSTREAM: Final = "jetstream"
API: Final = "$JS.API."


@final
class JetStream(Party):
    def __init__(self, exchange: Exchange, agenda: Agenda, witness: Witness) -> None:
        self.name = JETSTREAM
        self.is_known = True
        self.streams: dict[str, Stream] = {}
        self._consumers: dict[tuple[str, str], Consumer] = {}
        self._listening: dict[str, list[Interest]] = {}
        self._exchange = exchange
        self._agenda = agenda
        self._witness = witness
        exchange.listen(Interest(self, f"{API}>", self._asked))
        exchange.listen(Interest(self, f"{ACKS}>", self._told))
        exchange.listened = self._deliver

    @property
    @override
    def is_open(self) -> bool:
        return True

    def restart(self, *, forgotten_acks: int) -> None:
        """Come up again with what is on disk, to which the last acknowledgements may be missing."""
        for name, stream in self.streams.items():
            back = stream.restart(_now(), forgotten_removals=forgotten_acks)
            if back:
                self._witness.note(f"{name} has {back} back", "forgotten")
            for (of, _), consumer in self._consumers.items():
                if of == name:
                    consumer.repeat(back)

    def redeliver(self, stream: str) -> None:
        """Deliver again what is unacknowledged, as if its time were over."""
        for (of, _), consumer in self._consumers.items():
            if of == stream:
                consumer.repeat()

    def _deliver(self) -> None:
        for consumer in list(self._consumers.values()):
            consumer.deliver()

    def _told(self, message: Message) -> None:
        """Hear what is said of a delivery: `$JS.ACK.stream.consumer.deliveries.sequence…`."""
        _, _, stream, name, _, sequence, *_ = message.subject.split(".")
        consumer = self._consumers.get((stream, name))
        if consumer is not None:
            consumer.hear(int(sequence), message.data)

    def _keep(self, stream: Stream, message: Message) -> None:
        name = stream.config["name"]
        answer: dict[str, Any]
        try:
            kept = stream.keep(message, _now())
        except Declined as declined:
            self._witness.note(f"{name} declines {message.subject}: {declined}", "declined")
            answer = {"error": declined.error}
        else:
            what = ("knows", "duplicates") if kept.is_repeated else ("keeps", "stored")
            self._witness.note(f"{name} {what[0]} {message.subject} as {kept.sequence}", what[1])
            answer = {"stream": name, "seq": kept.sequence}
            if kept.is_repeated:
                answer["duplicate"] = True
        self._answer(message, answer)
        self._deliver()

    def _asked(self, message: Message) -> None:
        try:
            answer = self._do(message.subject.removeprefix(API).split("."), message.data)
        except Declined as declined:
            answer = {"error": declined.error}
        self._answer(message, answer)
        self._deliver()

    def _answer(self, message: Message, answer: dict[str, Any]) -> None:
        if message.reply:
            data = msgspec.json.encode(answer)
            self._exchange.send(self, Message(message.reply, "", data, {}))

    def _do(self, endpoint: list[str], data: bytes) -> dict[str, Any]:
        request = msgspec.json.decode(data, type=dict[str, Any]) if data else {}
        match endpoint:
            case ["STREAM", "CREATE", name]:
                return self._create_stream(name, request)
            case ["STREAM", "UPDATE", name]:
                return self._update_stream(name, request)
            case ["STREAM", "INFO", name]:
                return self._info(self._stream(name))
            case ["CONSUMER", "CREATE", name, durable]:
                return self._create_consumer(name, durable, request["config"])
            case ["CONSUMER", "INFO", name, durable]:
                return self._consumer_info(name, durable)
            case ["CONSUMER", "DELETE", name, durable]:
                return self._delete_consumer(name, durable)
            case _:
                raise Declined(501, 0, f"no simulated JetStream knows {'.'.join(endpoint)}")

    def _create_stream(self, name: str, config: dict[str, Any]) -> dict[str, Any]:
        known = self.streams.get(name)
        if known is None:
            known = self.streams[name] = Stream(config)
            self._listen(name, known)
        elif known.config != config:
            raise Declined(400, 10058, "stream name already in use with a different configuration")
        return self._info(known)

    def _update_stream(self, name: str, config: dict[str, Any]) -> dict[str, Any]:
        stream = self._stream(name)
        stream.config = config
        self._listen(name, stream)
        return self._info(stream)

    def _listen(self, name: str, stream: Stream) -> None:
        for interest in self._listening.get(name, ()):
            self._exchange.leave(interest)
        self._listening[name] = [
            Interest(self, subject, lambda message: self._keep(stream, message))
            for subject in stream.config["subjects"]
        ]
        for interest in self._listening[name]:
            self._exchange.listen(interest)

    def _stream(self, name: str) -> Stream:
        try:
            return self.streams[name]
        except KeyError:
            raise Declined(404, 10059, "stream not found") from None

    def _info(self, stream: Stream) -> dict[str, Any]:
        return {"config": stream.config, "state": stream.state()}

    def _create_consumer(self, name: str, durable: str, config: dict[str, Any]) -> dict[str, Any]:
        stream = self._stream(name)
        known = self._consumers.get((name, durable))
        if known is None:
            if stream.is_work_queue and any(of == name for of, _ in self._consumers):
                raise Declined(400, 10099, "multiple non-filtered consumers not allowed")
            known = Consumer(stream, config, self, self._exchange, self._agenda, self._witness)
            self._consumers[name, durable] = known
        elif known.config != config:
            raise Declined(400, 10013, "consumer name already in use")
        return {"stream_name": name, "name": durable, "config": config}

    def _consumer_info(self, name: str, durable: str) -> dict[str, Any]:
        consumer = self._consumers.get((name, durable))
        if consumer is None:
            raise Declined(404, 10014, "consumer not found")
        heard = self._exchange.has_listener(consumer.config["deliver_subject"])
        return {"stream_name": name, "name": durable, "push_bound": heard}

    def _delete_consumer(self, name: str, durable: str) -> dict[str, Any]:
        self._stream(name)
        consumer = self._consumers.pop((name, durable), None)
        if consumer is None:
            raise Declined(404, 10014, "consumer not found")
        consumer.is_gone = True
        return {"success": True}


def _now() -> float:
    return asyncio.get_running_loop().time()
