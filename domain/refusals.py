"""Refusals: every reason an intent may be declined. Nothing changed; correct it and send it again.

Refusal
├── BadValue        a field's value cannot be used as it is
├── UnknownField    there is no such field; names the nearest one
├── NotFound        the resource, or one it needs, does not exist
├── InUse           something else still needs it
├── Taken           another app has what only one can have, such as a URL
├── Stale           the sender decided on an older generation (409; If-Match: 412)
├── Overtaken       a newer intent was appended first (fire-and-forget producers)
├── Expired         it came later than its sender found useful
├── NotPossible     the resource is in a state in which this makes no sense
├── Frozen          its history cannot be read; nothing may change until it can
└── Forbidden       the actor may not do this
"""

from collections.abc import Mapping
from typing import ClassVar


class Refusal(Exception):
    """The intent was understood and declined.

    `code` is stable and machine-readable; `details` holds the facts of the message by name.
    """

    code: ClassVar[str] = "Refused"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.details: Mapping[str, object] = details


class BadValue(Refusal):
    code = "BadValue"

    def __init__(self, path: str, value: object, rule: str) -> None:
        shown = repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:77]}..."
        super().__init__(f"{path}: {shown} cannot be used: {rule}", path=path, rule=rule)


class UnknownField(Refusal):
    code = "UnknownField"

    def __init__(self, path: str, nearest: str | None, known: tuple[str, ...]) -> None:
        hint = f"did you mean {nearest!r}?" if nearest else f"known are {', '.join(known)}"
        super().__init__(f"{path}: there is no such field; {hint}", path=path, nearest=nearest)


class NotFound(Refusal):
    code = "NotFound"

    def __init__(self, ref: object, remedy: str) -> None:
        super().__init__(f"{ref} does not exist; {remedy}", resource=str(ref))


class InUse(Refusal):
    code = "InUse"

    def __init__(self, ref: object, users: tuple[str, ...], remedy: str) -> None:
        shown = ", ".join(users[:5]) + (f" and {len(users) - 5} more" if len(users) > 5 else "")
        super().__init__(f"{ref} is used by {shown}; {remedy}", resource=str(ref), users=users)


class Taken(Refusal):
    code = "Taken"

    def __init__(self, path: str, claim: str, owner: object, remedy: str) -> None:
        super().__init__(
            f"{path}: {claim} belongs to {owner}; {remedy}",
            path=path,
            claim=claim,
            resource=str(owner),
        )


class Stale(Refusal):
    code = "Stale"

    def __init__(self, ref: object, asked: int, actual: int) -> None:
        super().__init__(
            f"{ref} is at generation {actual}, but this intent was made for generation {asked}; "
            "read it again, merge, and send the intent with the new generation",
            resource=str(ref),
            asked=asked,
            actual=actual,
        )


class Overtaken(Refusal):
    code = "Superseded"

    def __init__(self, ref: object, asked: int, actual: int) -> None:
        super().__init__(
            f"{ref} already has the later intent {actual} of the submit stream; "
            f"number {asked} came after it and was not applied",
            resource=str(ref),
        )


class Expired(Refusal):
    code = "Expired"

    def __init__(self, ref: object, expires: object) -> None:
        super().__init__(
            f"the intent for {ref} was worth something until {expires} and came later; "
            "send it again with a new key if it is still wanted",
            resource=str(ref),
            expires=str(expires),
        )


class NotPossible(Refusal):
    code = "NotPossible"


class Frozen(Refusal):
    code = "Frozen"

    def __init__(self, ref: object, reason: str) -> None:
        super().__init__(
            f"{ref} is frozen because its history cannot be read ({reason}); "
            "what runs goes on running; upgrade Stateward or see `stateward verify`",
            resource=str(ref),
        )


class Forbidden(Refusal):
    code = "Forbidden"
