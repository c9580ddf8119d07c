"""Pages of the log for who reads very much of it: each comes from SQLite as a single row.

Python pays for every row and every column that it takes from SQLite, so SQLite puts the columns of
a page together itself. Payloads are read apart, of those events of which they are wanted.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from struct import unpack
from typing import Final, final

import msgspec

SPAN: Final = 1000  # positions: few enough to be used while they are in the processor's cache

type Outline = tuple[Sequence[int], Sequence[str], Sequence[str]]
"""The positions, streams and types of the events of a page, in order."""

# In the order of positions, because no index may be used and there is a range of the key. A page
# begins where there is something: a hole may be wider than any page.
_OUTLINE: Final = """
SELECT
    json_group_array(notification_id),
    json_group_array(originator_id),
    json_group_array(topic)
FROM
    stored_events NOT INDEXED,
    (SELECT min(notification_id) AS first FROM stored_events WHERE notification_id > ?)
WHERE notification_id BETWEEN first AND first - 1 + ?
"""
_PAYLOADS: Final = """
SELECT group_concat(length(CAST(state AS BLOB)), 's') || 's', CAST(group_concat(state, '') AS BLOB)
FROM json_each(?) CROSS JOIN stored_events ON notification_id = json_each.value
"""

_encode = msgspec.json.encode
_numbers = msgspec.json.Decoder(list[int])
_words = msgspec.json.Decoder(list[str])


@final
class Pages:
    """The log as one connection sees it. Blocking."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def outlines(self, after: int) -> Iterator[Outline]:
        """Yield what happened above `after`, up to the end of the log, without payloads."""
        while True:
            found = self._connection.execute(_OUTLINE, (after, SPAN)).fetchone()
            positions = _numbers.decode(found[0])
            if not positions:
                return
            after = positions[-1]
            yield positions, _words.decode(found[1]), _words.decode(found[2])

    def payloads(self, positions: Sequence[int]) -> Iterator[bytes]:
        """Yield the payloads of events that are there, in the same order."""
        for start in range(0, len(positions), SPAN):
            asked = _encode(positions[start : start + SPAN]).decode()
            lengths, joined = self._connection.execute(_PAYLOADS, (asked,)).fetchone()
            yield from unpack(lengths, joined)
