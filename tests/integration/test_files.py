"""Files that are replaced whole, on a real disk."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from adapters.files.durable import replace_file

WRITES = 60


def test_threads_that_replace_a_file_at_once_leave_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "head"
    contents = [f"{number}\n".encode() * 50 for number in range(4)]

    def write(content: bytes) -> None:
        for _ in range(WRITES):
            replace_file(path, content)

    with ThreadPoolExecutor(len(contents)) as pool:
        list(pool.map(write, contents))
    assert path.read_bytes() in contents
    assert [one.name for one in tmp_path.iterdir()] == ["head"]
