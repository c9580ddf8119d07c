"""When the garbage collector looks: not while much is made that stays, and never again at that.

A full collection goes through all that is not frozen, and stops the event loop meanwhile: with what
a control plane has loaded that is more than 100 ms, again and again.
"""

import asyncio
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType


@contextmanager
def uncollected() -> Iterator[None]:
    """Much is made here that stays, and nothing that is garbage in circles: do not look for it."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()  # going through it again and again would find nothing


async def imported(name: str) -> ModuleType:
    """A module that takes its time to import: in a thread, once."""
    if name in sys.modules:  # perhaps not whole yet, and then this waits for it
        return await asyncio.to_thread(import_module, name)
    with uncollected():
        return await asyncio.to_thread(import_module, name)
