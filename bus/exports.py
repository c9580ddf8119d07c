"""Exports: a log as JSON lines, to be read elsewhere. The first line tells whose and how much.

Every other line is one event with its place in the log. Values of secrets are in no event, so they
are in no export either. What is not JSON travels as text in base64, as what cannot be read.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from bus.log import Head, StoredEvent

FORMAT: Final = 1
MOST_BYTES: Final = 64 << 20  # of one line; no event is nearly as long


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line. `position` and `seal` are the head of the log at that moment.

    `redacted` says that names are not the log's own: then the seal is not theirs.
    """

    stateward: Literal["export"] = "export"
    format: int = FORMAT
    installation: str
    position: int
    seal: str
    events: int
    redacted: bool


class _Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    position: int
    stream: str
    version: int
    type: str
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    raw: str | msgspec.UnsetType = msgspec.UNSET


class NotAnExport(Exception):
    """The text is no export, or not a whole one: the message says in which line and why."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line = line


@dataclass(frozen=True, slots=True)
class Export:
    """A log that was exported, whole."""

    header: Header
    events: Sequence[StoredEvent]


_encoder = msgspec.json.Encoder()
_header = msgspec.json.Decoder(Header)
_line = msgspec.json.Decoder(_Line)


def header(installation: str, head: Head, events: int, *, redacted: bool = False) -> Header:
    """What the first line says of a log."""
    return Header(
        installation=installation,
        position=head.position,
        seal=head.seal.hex(),
        events=events,
        redacted=redacted,
    )


def write(first: Header, events: Iterable[StoredEvent]) -> Iterator[bytes]:
    """The lines of an export, each with its end."""
    yield _encoder.encode(first) + b"\n"
    for event in events:
        yield _encoder.encode(_written(event)) + b"\n"


def read(lines: Iterable[bytes]) -> Export:
    """Read an export, and check that it is whole and in order.

    Raises:
        NotAnExport: it is not; the message names the line.
    """
    numbered = enumerate(lines, start=1)
    _, first = next(numbered, (1, b""))
    head = _first(first)
    events: list[StoredEvent] = []
    versions: dict[str, int] = {}
    number = 1
    for number, line in numbered:
        if number > head.events + 1:
            raise NotAnExport(number, f"the header says {head.events} events, and here is one more")
        event = _event(number, line)
        _check_order(number, event, events[-1].position if events else 0, versions)
        events.append(event)
    if len(events) != head.events or (events and events[-1].position != head.position):
        raise NotAnExport(
            number + 1,
            f"the export ends after {len(events)} of {head.events} events, up to position "
            f"{head.position}: it was cut off; export the log again",
        )
    return Export(head, events)


def _written(event: StoredEvent) -> _Line:
    position, stream, version, kind, data = event
    line = _Line(position=position, stream=stream, version=version, type=kind)
    try:
        value: dict[str, Any] = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return msgspec.structs.replace(line, raw=b64encode(data).decode())
    plain = data if b"\n" not in data else _encoder.encode(value)
    return msgspec.structs.replace(line, data=msgspec.Raw(plain))


def _first(line: bytes) -> Header:
    try:
        loose = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        loose = {}
    if loose.get("stateward") != "export":
        raise NotAnExport(1, "this is no export of a log; `stateward export` writes one")
    if loose.get("format") != FORMAT:
        raise NotAnExport(
            1, f"format {loose.get('format')!r} is not known here, only {FORMAT} is; use the "
            "version that wrote it",
        )  # fmt: skip
    try:
        return _header.decode(line)
    except msgspec.MsgspecError as error:
        raise NotAnExport(1, f"the header is damaged: {error}") from error


def _event(number: int, line: bytes) -> StoredEvent:
    if not line.endswith(b"\n") or len(line) > MOST_BYTES:
        raise NotAnExport(number, "the line has no end: the export was cut off")
    try:
        found = _line.decode(line)
        data = _data(found)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise NotAnExport(number, f"the line is damaged: {error}") from error
    return StoredEvent(found.position, found.stream, found.version, found.type, data)


def _data(line: _Line) -> bytes:
    if isinstance(line.raw, str):
        return b64decode(line.raw, validate=True)
    if not isinstance(line.data, msgspec.Raw) or not bytes(line.data).startswith(b"{"):
        raise ValueError("it has no data of an event")
    return bytes(line.data)


def _check_order(number: int, event: StoredEvent, before: int, versions: dict[str, int]) -> None:
    if event.position <= before:
        raise NotAnExport(number, f"position {event.position} does not follow position {before}")
    known = versions.get(event.stream)
    follows = event.version in (0, 1) if known is None else event.version == known + 1
    if not follows:
        raise NotAnExport(
            number, f"version {event.version} of {event.stream} does not follow version {known}"
        )
    versions[event.stream] = event.version
