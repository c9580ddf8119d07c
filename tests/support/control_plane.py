"""A control plane that starts processes, says so, and then waits to be killed.

    python -m tests.support.control_plane DATA INSTALLATION

It stands for the real one in tests of what happens to replicas when their control plane dies.
"""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from adapters.process.engine import ProcessEngine
from reconcilers.ports import StartReplica


class PlainOrder(StartReplica, frozen=True, kw_only=True):
    """One without secrets, so that it can be read from a line."""

    env: Mapping[str, str]


async def main(data: str, installation: str) -> None:
    """Start what stands on stdin, one order as JSON a line; print `started` after each."""
    engine = ProcessEngine(Path(data), installation).ports
    for line in sys.stdin:
        await engine.replicas.start(msgspec.json.decode(line, type=PlainOrder))
        print("started", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
