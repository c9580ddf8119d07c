"""Logs of processes: cut without a loss, dated, merged."""

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from adapters.keeping.dates import tend
from adapters.process.reading import LogFiles
from reconcilers.ports import LogLine
from tests.support.processes import ProcessWorld


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ProcessWorld]:
    world = ProcessWorld(tmp_path)
    yield world
    await world.close()


def _makes_holes(folder: Path) -> bool:
    probe = folder / "stderr"
    probe.write_bytes(b"x" * 2**20)
    directory = os.open(folder, os.O_RDONLY)
    tend(directory, {}, keep_bytes=2**18)
    os.close(directory)
    return probe.stat().st_size == 2**20


def whole(files: LogFiles) -> list[LogLine]:
    """Read to the end and close."""
    lines: list[LogLine] = []
    while more := files.next_lines(finish=True):
        lines += more
    files.close()
    return lines


def test_a_long_log_gives_back_its_beginning_and_keeps_its_offsets(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    log = tmp_path / "stdout"
    line = b"x" * 99 + b"\n"
    sizes: dict[str, int] = {}
    for _ in range(10):
        with log.open("ab") as file:
            file.write(line * 1000)
        tend(directory, sizes, keep_bytes=128 * 1024)
    os.close(directory)
    assert log.stat().st_blocks * 512 <= 2 * 128 * 1024 + len(line) * 1000
    if not _makes_holes(tmp_path):
        pytest.skip("this file system cannot make holes, so the whole log goes instead")
    assert log.stat().st_size == 1_000_000
    assert log.read_bytes().endswith(line * 1300)


async def test_a_log_that_was_cut_begins_with_a_whole_line(world: ProcessWorld) -> None:
    order = world.order()
    replica = await world.serve(order)
    directory = os.open(world.path(order), os.O_RDONLY)
    with (world.path(order) / "stdout").open("ab") as file:
        for number in range(10_000):
            file.write(b"line %06d %s\n" % (number, b"." * 80))
    tend(directory, {}, keep_bytes=64 * 1024)
    os.close(directory)
    lines = [line.text for line in await world.log(replica) if line.stream == "stdout"]
    assert len(lines) < 10_000
    assert all(len(line) == 92 for line in lines)
    assert lines[-1].startswith(b"line 009999")
    assert [line.text for line in await world.log(replica, tail=3)] == lines[-3:]


async def test_a_long_log_is_read_whole_and_in_order(world: ProcessWorld) -> None:
    program = (
        "import sys\n"
        "for n in range(20000): print(n, '.' * 60)\n"
        "print('a line without an end', end='', file=sys.stderr)\n"
    )
    order = msgspec.structs.replace(
        world.order(command=(sys.executable, "-I", "-S", "-c"), ports=()), args=(program,)
    )
    await world.start(order)
    lines = [line.text.decode() for line in await world.log(await world.exited(order))]
    assert lines.count("a line without an end") == 1
    lines.remove("a line without an end")
    assert [int(line.split()[0]) for line in lines] == list(range(20_000))


def test_a_log_is_dated_by_when_it_was_written(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    sizes: dict[str, int] = {}
    for time in (1000, 2000, 3000):
        for stream in ("stdout", "stderr"):
            with (tmp_path / stream).open("a") as file:
                file.write(f"{stream} {time}\nmore\n")
            os.utime(tmp_path / stream, (time, time))
        tend(directory, sizes)
    os.close(directory)
    files = LogFiles(str(tmp_path))
    dated = [(line.at, line.text.decode()) for line in whole(files)]
    assert dated == [
        (float(time), text)
        for time in (1000, 2000, 3000)
        for stream in ("stdout", "stderr")
        for text in (f"{stream} {time}", "more")
    ]
    files = LogFiles(str(tmp_path))
    files.skip_until(2500.0)
    assert {line.at for line in whole(files)} == {3000.0}


def test_dates_do_not_grow_for_ever(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    sizes: dict[str, int] = {}
    for time in range(20_000):
        with (tmp_path / "stdout").open("a") as file:
            file.write("x\n")
        os.utime(tmp_path / "stdout", (time, time))
        tend(directory, sizes)
    os.close(directory)
    assert (tmp_path / "times").stat().st_size < 300_000
    assert whole(LogFiles(str(tmp_path)))[-1].at == 19_999.0
