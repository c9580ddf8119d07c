"""Snapshots are whole or nothing."""

from pathlib import Path

import pytest

from adapters.files.snapshots import Snapshots

SEAL = bytes(range(32))


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    return Snapshots(tmp_path / "snapshots")


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "snapshots").iterdir())


def loaded(snapshots: Snapshots) -> tuple[int, bytes, bytes]:
    found = snapshots.load("desired")
    assert found is not None
    return found.position, found.seal, bytes(found.data)


def test_there_is_none_at_first(snapshots: Snapshots) -> None:
    assert snapshots.load("desired") is None


def test_the_newest_is_loaded_and_two_are_kept(snapshots: Snapshots, tmp_path: Path) -> None:
    for position in (8, 9, 10):
        snapshots.save("desired", position, SEAL, b"%d" % position)
    snapshots.save("desired-other", 7, SEAL, b"other")
    assert loaded(snapshots) == (10, SEAL, b"10")
    assert names(tmp_path) == ["desired-10.snap", "desired-9.snap", "desired-other-7.snap"]


def test_a_damaged_one_is_passed_over_wherever_the_damage_is(
    snapshots: Snapshots, tmp_path: Path
) -> None:
    snapshots.save("desired", 1, SEAL, b"older")
    snapshots.save("desired", 2, SEAL, b"newer")
    path = tmp_path / "snapshots" / "desired-2.snap"
    whole = path.read_bytes()
    for index in range(len(whole)):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :])
        assert loaded(snapshots) == (1, SEAL, b"older")
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert loaded(snapshots) == (1, SEAL, b"older")
    path.write_bytes(whole)
    assert loaded(snapshots) == (2, SEAL, b"newer")


def test_a_renamed_one_is_not_taken_for_another(snapshots: Snapshots, tmp_path: Path) -> None:
    snapshots.save("desired", 1, SEAL, b"data")
    folder = tmp_path / "snapshots"
    (folder / "desired-1.snap").rename(folder / "history-1.snap")
    assert snapshots.load("history") is None


def test_saving_forgets_snapshots_of_a_future_that_is_gone(
    snapshots: Snapshots, tmp_path: Path
) -> None:
    for position in (5, 90):
        snapshots.save("desired", position, SEAL, b"data")
    snapshots.save("desired", 6, SEAL, b"data")
    assert names(tmp_path) == ["desired-5.snap", "desired-6.snap"]
