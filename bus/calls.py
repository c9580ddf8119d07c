"""Calls: one process asks the one that decides over a partition, and hears a stream of parts.

Whoever asks sets the pace, and may stop at any time by closing what it iterates.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Protocol

from bus.leases import Partition


class CallLost(Exception):
    """Nobody answers for the partition, or whoever did went away; asking again may help."""


class CallFailed(Exception):
    """Whoever was asked could not do it. `kind` tells programs why, the message people."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Calls(Protocol):
    """The way to the holders of partitions."""

    def ask(self, partition: Partition, request: bytes) -> AsyncGenerator[bytes]:
        """Yield the parts of the answer, as they come.

        Raises:
            CallLost: there is no answer, or not all of it.
            CallFailed: this is the answer.
        """
        ...


type Answer = Callable[[bytes], AsyncIterator[bytes]]
"""Answers a request part by part; raises `CallFailed`."""
