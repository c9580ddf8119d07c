"""What tests of worlds share: cycles are looked for rarely, as in a process that only simulates."""

import gc
from collections.abc import Iterator

import pytest

from simulation import loop


@pytest.fixture(autouse=True, scope="module")
def collecting_rarely() -> Iterator[None]:
    before = gc.get_threshold()
    loop.collect_rarely()
    yield
    gc.set_threshold(*before)
