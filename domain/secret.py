"""Secrets: text that is never shown, and the kind `Secret` that names it.

Events hold a secret's name, version and a keyed digest per value; the values themselves live,
encrypted, in a store of their own (`bus.secrets`).
"""

from typing import final


@final
class SecretText:
    """Text that shows as `***` wherever it is printed, logged, compared or formatted by accident.

    Only `reveal` gives it away, so that every use can be found by that word.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return format(repr(self), format_spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretText) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> str:
        raise TypeError("a secret's text is not serialised")
