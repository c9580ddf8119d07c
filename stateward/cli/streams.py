"""Server-sent events, read as messages; a stream that ends is taken up where it ended."""

import json
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from stateward.cli.http import Api, Query

SILENCE: Final = 45.0  # a stream sends a comment every 15 s
PAUSE: Final = 1.0  # before a stream that ended is opened again


class Message(NamedTuple):
    """One event of a stream. `id` is empty where the stream cannot be resumed."""

    id: str
    event: str
    data: Any


def messages(
    api: "Api",
    path: str,
    query: "Query | None" = None,
    *,
    silence: float = SILENCE,
    after: str = "",
) -> Iterator[Message]:
    """The messages of one stream, until it ends.

    Raises:
        Trouble: it cannot be opened, breaks, or is silent for too long (`Silent`).
    """
    accept = "text/event-stream"
    with api.lines(path, query, accept=accept, silence=silence, after=after) as lines:
        yield from _parsed(lines)


def endless(api: "Api", path: str, query: "Query | None" = None) -> Iterator[Message]:
    """The messages of a stream for ever: when the server ends it, from the last message on.

    Raises:
        Trouble: the server is gone.
    """
    after = ""
    while True:
        for message in messages(api, path, query, after=after):
            after = message.id or after
            yield message
        pause(PAUSE)


def pause(seconds: float) -> None:
    """Let the server do something; Ctrl-C ends it at once."""
    threading.Event().wait(seconds)


def _parsed(lines: Iterator[str]) -> Iterator[Message]:
    fields: dict[str, str] = {}
    for line in lines:
        if not line:
            if "data" in fields:
                data = json.loads(fields["data"])
                yield Message(fields.get("id", ""), fields.get("event", "message"), data)
            fields = {}
            continue
        name, _, value = line.partition(":")
        if name:
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name in fields else value
