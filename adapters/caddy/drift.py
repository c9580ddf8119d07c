"""What somebody else changed in Caddy's configuration, as places that a person finds again."""

from collections.abc import Iterator, Set
from typing import Any, Final

MOST: Final = 10


def drift(written: object, found: object) -> tuple[str, ...]:
    """Where `found` differs from what we wrote: the deepest common places, at most ten.

    A route is named by its id; a list that has other members is one difference.
    """
    places = list(_places(written, found, ""))
    more = len(places) - MOST
    return (*places[:MOST], f"and {more} more") if more > 0 else tuple(places)


def drift_of_contexts(written: Set[str], found: Set[str]) -> tuple[str, ...]:
    """Which files of contexts are not as we left them."""
    removed = [f"context {name} was removed" for name in sorted(written - found)]
    added = [f"context {name} was added" for name in sorted(found - written)]
    return (*removed, *added)[:MOST]


def _places(written: Any, found: Any, at: str) -> Iterator[str]:
    if written == found:
        return
    match written, found:
        case dict(), dict():
            for key in sorted(written.keys() | found.keys()):
                below = f"{at}/{key}"
                if key not in found:
                    yield f"{below} was removed"
                elif key not in written:
                    yield f"{below} was added"
                else:
                    yield from _places(written[key], found[key], below)
        case list(), list() if len(written) == len(found):
            for number, (one, other) in enumerate(zip(written, found, strict=True)):
                yield from _places(one, other, f"{at}/{_named(one, number)}")
        case list(), list():
            yield f"{at} was changed: {_members(written, found)}"
        case _:
            yield f"{at} was changed"


def _named(member: object, number: int) -> str:
    return str(member.get("@id", number)) if isinstance(member, dict) else str(number)


def _members(written: list[Any], found: list[Any]) -> str:
    ids = {_named(one, number) for number, one in enumerate(written)}
    others = {_named(one, number) for number, one in enumerate(found)}
    lost, new = sorted(ids - others), sorted(others - ids)
    told = [f"{', '.join(lost)} removed"] if lost else []
    told += [f"{', '.join(new)} added"] if new else []
    return "; ".join(told) or f"{len(written)} members became {len(found)}"
