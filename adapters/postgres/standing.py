"""How the log stands: where it ends, whether it may be trusted, and whether it takes anything.

The writer and the watcher tell what they meet; this is what becomes of it, all in memory, so that
the log can be asked at any time. Blocking work is only done by the keeper of the head file.
"""

import asyncio
from pathlib import Path
from typing import NamedTuple, Self, final

from adapters.files.headfile import HeadFileDamaged, HeadKeeper, read_head_file
from adapters.postgres import rewinds
from adapters.postgres.server import Connection
from bus.log import EMPTY, Head, LogError, LogFull, LogRewound, LogUnavailable

_HERE = "this process"  # the witness, of what it has seen itself


class _Trouble(NamedTuple):
    """Why nothing new is taken, by how that is found out."""

    full: str | None = None
    refuses: str | None = None
    away: str | None = None


@final
class Standing:
    """`news` is done at the next commit of anybody; take it before looking for what is new."""

    def __init__(self, shown: str, directory: Path) -> None:
        self.head = EMPTY
        self.position = 0
        self.rewound: LogRewound | None = None
        self.news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._shown = shown
        self._ceiling = 0
        self._trouble = _Trouble()
        self._keeper = HeadKeeper(directory)

    @classmethod
    async def found(cls, connection: Connection, shown: str, directory: Path) -> Self:
        """How it stands at the start, compared with the head file that was left."""
        head = await rewinds.read_head(connection)
        ceiling = await rewinds.read_ceiling(connection)
        rewound = await _compared(connection, directory, head)
        standing = cls(shown, directory)
        standing._start(head, ceiling, rewound)
        return standing

    async def close(self) -> None:
        """Have the last head written; whoever waits for news looks once more."""
        await asyncio.to_thread(self._keeper.close)
        self._wake()

    @property
    def trouble(self) -> str | None:
        """Why nothing new is taken, while that is so."""
        full, refuses, away = self._trouble
        return away or refuses or full

    async def admit(self, connection: Connection) -> None:
        """Look whether a server lacks what this process has seen: nothing may be written then."""
        if self.rewound is None:
            self.rewound = await rewinds.find_rewind(connection, self.head, _HERE)

    def committed(self, head: Head) -> None:
        """Hear of a group of this process."""
        self._trouble = _Trouble()
        if head.position > self.head.position:
            self._grown(head)

    def declined(self, error: LogUnavailable, *, refuses: bool) -> None:
        """Hear that a group was not written."""
        if isinstance(error, LogFull):
            self._trouble = self._trouble._replace(full=str(error))
        elif refuses:
            self._trouble = self._trouble._replace(refuses=str(error))

    async def seen(self, connection: Connection, head: Head, *, refuses: bool) -> None:
        """Hear where the database ends, and whether it takes writes."""
        told = self._trouble.refuses or f"{self._shown} is read-only"
        self._trouble = _Trouble(full=self._trouble.full, refuses=told if refuses else None)
        if self.rewound is not None:
            await self._look_again(connection, self.rewound)
        elif head.position < self.head.position:
            self.rewound = await rewinds.find_rewind(connection, self.head, _HERE)
        elif head.position > self.head.position:
            self._grown(head)

    def hinted(self, position: int) -> None:
        """Hear of a group of anybody."""
        if position > self.position:
            self.position = position
            self._wake()

    def lost(self, error: LogError) -> None:
        """Hear that the database does not answer."""
        self._trouble = self._trouble._replace(away=str(error))

    def report_seen(self, position: int, witness: str) -> None:
        """Hear of a witness that knows a position."""
        known = self.rewound.seen if self.rewound is not None else 0
        if position > max(self.position, self._ceiling, known):
            self.rewound = LogRewound(head=self.head.position, seen=position, witness=witness)
            # Whoever opens the log next, to accept this, has not met the witness.
            self._keeper.note(Head(position, EMPTY.seal))

    def accepted(self, head: Head, seen: int) -> None:
        """Hear that the log goes on from there, and that all up to `seen` is known to be lost."""
        self._start(head, max(self._ceiling, seen), None)

    async def _look_again(self, connection: Connection, rewound: LogRewound) -> None:
        """Whether another process of this log has recorded that it goes on."""
        ceiling = await rewinds.read_ceiling(connection)
        if ceiling >= rewound.seen > self._ceiling:
            self.accepted(await rewinds.read_head(connection), ceiling)

    def _start(self, head: Head, ceiling: int, rewound: LogRewound | None) -> None:
        self._ceiling, self.rewound = ceiling, rewound
        self.head, self.position = head, head.position
        if rewound is None:
            self._keeper.note(head)

    def _grown(self, head: Head) -> None:
        self.head, self.position = head, max(self.position, head.position)
        if self.rewound is None:
            self._keeper.note(head)
        self._wake()

    def _wake(self) -> None:
        news, self.news = self.news, asyncio.get_running_loop().create_future()
        news.set_result(None)


async def _compared(connection: Connection, directory: Path, head: Head) -> LogRewound | None:
    """How the log looks to the head file that an earlier process has left."""
    try:
        kept = read_head_file(directory)
    except HeadFileDamaged:
        return LogRewound(head=head.position, seen=head.position, witness="a damaged head file")
    if kept is None:
        return None
    return await rewinds.find_rewind(connection, kept, "its head file")
