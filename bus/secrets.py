"""Where the values of Secrets are kept: encrypted, beside the log, never in it.

A set of values is stored under its resource and a token, a keyed digest of the values. Events hold
the token; equal values have equal tokens, and without the key a token says nothing.
"""

from collections.abc import Mapping
from typing import Protocol

from domain.names import Ref
from domain.secret import SecretText


class SecretUnavailable(Exception):
    """The values are not in the store, or cannot be decrypted with this installation's key."""


class SecretStore(Protocol):
    def token(self, values: Mapping[str, SecretText]) -> str:
        """The keyed digest of the values, in hexadecimal; independent of their order."""
        ...

    async def put(self, ref: Ref, values: Mapping[str, SecretText]) -> str:
        """Store the values durably (fsync) and return their token. Twice is as once."""
        ...

    async def get(self, ref: Ref, token: str) -> Mapping[str, SecretText]:
        """Return the values.

        Raises:
            SecretUnavailable: there are none under this token, or they cannot be decrypted.
        """
        ...

    async def held(self, ref: Ref | None = None) -> Mapping[Ref, frozenset[str]]:
        """The tokens under which values are stored, by Secret: of one, or of all."""
        ...

    async def erase(self, ref: Ref, tokens: frozenset[str]) -> None:
        """Erase the values under these tokens. Twice is as once."""
        ...
