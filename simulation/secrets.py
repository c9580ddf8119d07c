"""The secret store in memory."""

from collections.abc import Mapping
from hashlib import sha256
from typing import final, override

from bus.secrets import SecretStore, SecretUnavailable
from domain.names import Ref
from domain.secret import SecretText


@final
class SimulatedSecrets(SecretStore):
    def __init__(self) -> None:
        self._values: dict[tuple[Ref, str], Mapping[str, SecretText]] = {}

    @override
    def token(self, values: Mapping[str, SecretText]) -> str:
        items = sorted((key, value.reveal()) for key, value in values.items())
        return sha256(repr(items).encode()).hexdigest()[:32]

    def stand_in(self, ref: Ref, token: str, values: Mapping[str, SecretText]) -> None:
        """Have values under a token that was made from others."""
        self._values[ref, token] = dict(values)

    @override
    async def put(self, ref: Ref, values: Mapping[str, SecretText]) -> str:
        token = self.token(values)
        self._values[ref, token] = dict(values)
        return token

    @override
    async def get(self, ref: Ref, token: str) -> Mapping[str, SecretText]:
        try:
            return self._values[ref, token]
        except KeyError:
            raise SecretUnavailable(f"{ref} has no values under its token") from None

    @override
    async def held(self, ref: Ref | None = None) -> Mapping[Ref, frozenset[str]]:
        found: dict[Ref, frozenset[str]] = {}
        for owner, token in self._values:
            if ref in (None, owner):
                found[owner] = found.get(owner, frozenset()) | {token}
        return found

    @override
    async def erase(self, ref: Ref, tokens: frozenset[str]) -> None:
        for token in tokens:
            self._values.pop((ref, token), None)
