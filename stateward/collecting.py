"""When the garbage collector looks: not while much is made that stays."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Much is made here that stays, and nothing that is garbage in circles: do not look for it."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()  # going through it again and again would find nothing
