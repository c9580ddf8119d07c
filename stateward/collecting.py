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
from typing import Final

YOUNG: Final = 10_000
"""Objects that are made before the young ones are looked through, which takes a few ms.

After 700, as is usual, most of what passes under way hold is young, and is looked through for
nothing.
"""


@contextmanager
def seldom() -> Iterator[None]:
    """Let the collector look less often in here."""
    before = gc.get_threshold()
    gc.set_threshold(YOUNG, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


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
