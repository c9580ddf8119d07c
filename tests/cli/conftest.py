"""A command line for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import CommandLine, command_line


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[CommandLine]:
    """The command line of an admin, against a gateway with the project `shop`, target `local`."""
    with command_line(tmp_path) as made:
        yield made
