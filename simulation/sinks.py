"""Where a control plane's words go: every line of its logs is read for secrets, and kept nowhere.

All secret values of simulated worlds hold one mark, so that finding it anywhere is proof.
"""

import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog

from simulation.asking import SECRET_MARK

type Found = Callable[[str], None]


@contextmanager
def heard(broken: Callable[[str], None], found: Found) -> Iterator[None]:
    """Listen to all logs inside: `found` gets lines with a secret, `broken` reports of bugs."""

    def listen(
        _logger: object, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        text = str(event)
        if SECRET_MARK in text:
            found(text)
        if method == "exception" or event.get("exc_info"):
            broken(_told(event))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[listen], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)


def _told(event: MutableMapping[str, Any]) -> str:
    """The event of a log line with its error, if it names one."""
    error = sys.exc_info()[1]
    return f"{event.get('event')}: {error!r}"
