"""Times and spans as people read and write them."""

from datetime import UTC, datetime, timedelta

from domain import quantities
from stateward.cli.trouble import BadUse

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def read(text: str | None) -> datetime | None:
    """A time of an answer (RFC 3339); None when there is none."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def span(length: timedelta) -> str:
    """A length by its two largest units: `3d4h`, `12m`, `40s`."""
    rest = max(0, int(length.total_seconds()))
    parts = []
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
        elif parts:
            break
    return "".join(parts[:2]) or "0s"


def since(text: str | None, now: datetime) -> str:
    """How long ago a time of an answer was; a dash when it is unknown."""
    then = read(text)
    return span(now - then) if then else "-"


def stamp(text: str | None, now: datetime) -> str:
    """A time in the reader's zone: the hour today, the date as well on another day."""
    then = read(text)
    if then is None:
        return "-"
    local = then.astimezone()
    today = local.date() == now.astimezone().date()
    return local.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")


def seconds(text: str, flag: str) -> float:
    """A span that was written behind a flag.

    Raises:
        BadUse: it is none.
    """
    try:
        return quantities.seconds(text)
    except ValueError as error:
        raise BadUse(f"{flag} {text}: {error}") from None
