"""As much of DNS as Caddy asks: one question, answered with SRV, A or AAAA records.

Answers fit into one UDP packet: Caddy reads no longer one, and never turns to TCP. Nothing but the
standard library is imported here, for resolvers start without any other.

Source: RFC 1035 section 4, RFC 2782.
"""

import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

A, AAAA, SRV = 1, 28, 33
MOST_BYTES = 1232  # of an answer: what Go reads of one packet

_HEADER = struct.Struct("!6H")
_RECORD = struct.Struct("!3HIH")
_POINTER = 0xC00C  # to the name in the question, which always begins at byte 12
_IN = 1
_RESPONSE = 0x8400  # from who has the say over the name
_RECURSION_DESIRED = 0x0100
_NO_SUCH_NAME = 3


class Question(NamedTuple):
    """`name` in lower case, without the last dot. `raw` is what the answer repeats."""

    id: int
    flags: int
    name: str
    kind: int
    raw: bytes


def parse(packet: bytes) -> Question | None:
    """The question of a packet; None for anything that is no plain question."""
    try:
        number, flags, questions, _, _, _ = _HEADER.unpack_from(packet)
        if questions != 1 or flags & 0x8000:
            return None
        labels, at = [], _HEADER.size
        while length := packet[at]:
            if length > 63:
                return None
            labels.append(packet[at + 1 : at + 1 + length].decode("ascii").lower())
            at += 1 + length
        kind, kind_of_net = struct.unpack_from("!2H", packet, at + 1)
    except (struct.error, IndexError, UnicodeDecodeError):
        return None
    if kind_of_net != _IN:
        return None
    return Question(number, flags, ".".join(labels), kind, packet[_HEADER.size : at + 5])


def answer(question: Question, records: Sequence[bytes] | None) -> bytes:
    """An answer with these records, or with None that there is no such name."""
    flags = _RESPONSE | question.flags & _RECURSION_DESIRED
    if records is None:
        return _HEADER.pack(question.id, flags | _NO_SUCH_NAME, 1, 0, 0, 0) + question.raw
    head = _HEADER.pack(question.id, flags, 1, len(records), 0, 0)
    return b"".join((head, question.raw, *records))


def room(question: Question, records: Sequence[bytes]) -> int:
    """How many of the longest of these records fit into an answer."""
    left = MOST_BYTES - _HEADER.size - len(question.raw)
    return left // max(map(len, records))


def server(target: str, port: int) -> bytes:
    """The SRV record of a server; all have the same weight, so twice the record is twice it."""
    name = b"".join(
        bytes((len(label),)) + label.encode("ascii") for label in target.rstrip(".").split(".")
    )
    return _record(SRV, struct.pack("!3H", 0, 1, port) + name + b"\0")


def address(text: str) -> bytes:
    """The A or AAAA record of an IP address."""
    packed = packed_ip(text)
    return _record(A if len(packed) == 4 else AAAA, packed)


def packed_ip(text: str) -> bytes:
    """An IP address as bytes.

    Raises:
        OSError: it is none.
    """
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def _record(kind: int, data: bytes) -> bytes:
    return _RECORD.pack(_POINTER, kind, _IN, 0, len(data)) + data
