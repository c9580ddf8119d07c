"""A log whose process is killed at any moment has everything it acknowledged."""

import asyncio
import os
import random
import re
import signal
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from adapters.files.headfile import read_head_file
from adapters.sqlite.log import SqliteLog
from adapters.sqlite.schema import LOG_FILE
from adapters.sqlite.verify import verify
from bus.log import NewEvent

ROOT = Path(__file__).parents[2]
APPENDERS = 8


async def append_until_killed(directory: Path, limit: int) -> None:
    """What the killed process does: append, and write each acknowledgement as it comes."""
    log = await SqliteLog.open(directory, now=lambda: 0.0)

    async def appender(number: int) -> None:
        stream = f"App/shop/a{number}"
        version = len(await log.stream(stream))
        while version < limit:
            pair = [NewEvent(stream, "app.scaled", b"%d" % (version + n)) for n in (1, 2)]
            done = await log.append(pair, expect={stream: version})
            version += 2
            os.write(1, f"{done.positions[1]} {stream} {version}\n".encode())

    await asyncio.gather(*(appender(number) for number in range(APPENDERS)))
    await asyncio.Event().wait()


async def start(directory: Path, limit: int = sys.maxsize) -> Process:
    argv = (sys.executable, __file__, str(directory), str(limit))
    return await asyncio.create_subprocess_exec(*argv, stdout=PIPE, env={"PYTHONPATH": str(ROOT)})


async def kill_after(process: Process, acknowledgements: int) -> list[bytes]:
    """Let it go on until it was told that often, kill it, and return all it was told."""
    assert process.stdout is not None
    told = [await process.stdout.readline() for _ in range(acknowledgements)]
    process.send_signal(signal.SIGKILL)
    told += (await process.stdout.read()).splitlines(keepends=True)
    await process.wait()
    return [line for line in told if re.fullmatch(rb"\d+ \S+ \d+\n", line)]


async def test_whatever_was_acknowledged_before_a_kill_is_in_the_log(tmp_path: Path) -> None:
    rng = random.Random(7)
    acknowledged: dict[int, tuple[str, int]] = {}
    for _ in range(5):
        for line in await kill_after(await start(tmp_path), rng.randrange(1, 300)):
            position, stream, version = line.decode().split()
            acknowledged[int(position)] = (stream, int(version))
        log = await SqliteLog.open(tmp_path, now=lambda: 0.0)
        try:
            assert log.rewound is None
            stored = {e.position: (e.stream, e.version) for e in await log.read(0, 10**6)}
            assert len(stored) % 2 == 0  # never half of a pair
        finally:
            await log.close()
        assert acknowledged.items() <= stored.items()
        report = verify(tmp_path)
        assert report.sound, report.problem
        assert report.events == len(stored)


async def test_a_flipped_bit_in_the_write_ahead_log_of_a_killed_process_is_noticed(
    tmp_path: Path,
) -> None:
    process = await start(tmp_path, limit=20)
    assert process.stdout is not None
    for _ in range(APPENDERS * 10):
        await process.stdout.readline()
    async with asyncio.timeout(30):
        while (head := read_head_file(tmp_path)) is None or head.position < APPENDERS * 20:
            await asyncio.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    flip_a_bit(tmp_path / f"{LOG_FILE}-wal")

    connection = sqlite3.connect(tmp_path / LOG_FILE)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)  # SQLite is happy
    connection.close()
    log = await SqliteLog.open(tmp_path, now=lambda: 0.0)
    try:
        assert log.rewound is not None
        assert log.rewound.seen == head.position > log.rewound.head
    finally:
        await log.close()
    assert not verify(tmp_path).sound


def flip_a_bit(path: Path) -> None:
    """In the page data of a frame in the first quarter of a write-ahead log."""
    frame = 24 + 4096
    middle = path.stat().st_size // frame // 4
    with path.open("r+b") as file:
        file.seek(32 + middle * frame + 24 + 2000)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x10]))


if __name__ == "__main__":
    asyncio.run(append_until_killed(Path(sys.argv[1]), int(sys.argv[2])))
