"""Control planes to judge: one that friendly stories share, and new ones for those with trouble."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.serving import ControlPlane, served

type Serve = Callable[..., ControlPlane]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Leave it as it is found: delete what you apply, and never end it."""
    yield from served(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start control planes of one's own, with the words to give to `stateward serve`."""
    with ExitStack() as stack:
        started = 0

        def start(*options: str, **how: Any) -> ControlPlane:
            nonlocal started
            started += 1
            context = contextmanager(served)(tmp_path / f"s{started}", *options, **how)
            return stack.enter_context(context)

        yield start
