"""Times as people and programs write them."""

from datetime import UTC, datetime

from domain import quantities
from domain.refusals import BadValue


def shown(seconds: float | None) -> str | None:
    """RFC 3339 in UTC, of seconds since the epoch: `2030-01-01T12:00:00Z`."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def read(text: str, path: str, now: float) -> float:
    """Seconds since the epoch of a time, or of a duration ago: `5m`.

    Raises:
        BadValue: it is neither.
    """
    try:
        return now - quantities.seconds(text)
    except ValueError:
        pass
    try:
        read_as = datetime.fromisoformat(text)
        if read_as.tzinfo is not None:
            return read_as.timestamp()
    except (ValueError, OverflowError):
        pass
    rule = "write a duration ago (5m), or a time with its zone (2030-01-01T12:00:00Z)"
    raise BadValue(path, text, rule)
