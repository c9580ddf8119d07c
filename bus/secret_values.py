"""The values of Secrets around a decision: stored before it, and erased when nothing names them.

Values are in use while a `SecretSet` of their Secret holds their token and no later
`SecretDeleted` ended it: the present ones, and those that an undo may want back. From storing
values to the event that names them, whoever holds the turn of their Secret is alone with it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import final
from weakref import WeakValueDictionary

import structlog

from bus import codec
from bus.log import KeyReused, Log, LogError
from bus.manifests import SecretManifest
from bus.secrets import SecretStore, SecretUnavailable
from domain.events import SecretDeleted, SecretSet
from domain.names import Ref
from domain.refusals import Refusal

_log = structlog.get_logger("secrets")


@final
class SecretValues:
    def __init__(self, log: Log, store: SecretStore) -> None:
        self._log = log
        self._store = store
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def stored(self, secrets: Sequence[SecretManifest]) -> AsyncIterator[None]:
        """Store values, and take them back if what follows is refused. Their turns are ours.

        After another error nobody knows what the log did, so they stay; see `sweep`.
        """
        async with AsyncExitStack() as turns:
            for stream in sorted(secret.ref.stream for secret in secrets):
                await turns.enter_async_context(self._turn(stream))
            try:
                for secret in secrets:
                    await self._store.put(secret.ref, secret.values)
                yield
            except (Refusal, KeyReused, SecretUnavailable):
                await self.take_back(secrets)
                raise

    async def take_back(self, secrets: Sequence[SecretManifest]) -> None:
        """Erase what `stored` has stored, unless the log has named it before."""
        for secret in secrets:
            try:
                token = self._store.token(secret.values)
            except SecretUnavailable:
                continue  # then nothing was stored either
            await self._erase_unused(secret.ref, frozenset({token}))

    async def erase(self, stream: str) -> None:
        """Erase the values of a deleted Secret, but for those of one made anew meanwhile."""
        ref = Ref.parse(stream)
        async with self._turn(stream):
            await self._erase_unused(ref, await self._held(ref))

    async def sweep(self, is_trusted: Callable[[], bool]) -> None:
        """Erase what earlier processes stored or deleted, and did not live to erase.

        `is_trusted` tells whether the log may decide this: one that went backwards may not.
        """
        try:
            held = await self._store.held()
        except SecretUnavailable as error:
            _log.warning("values not looked through", error=str(error))
            return
        for ref, tokens in held.items():
            async with self._turn(ref.stream):
                if not is_trusted():
                    return
                await self._erase_unused(ref, tokens)

    def _turn(self, stream: str) -> asyncio.Lock:
        turn = self._turns.get(stream)
        if turn is None:
            turn = self._turns[stream] = asyncio.Lock()
        return turn

    async def _held(self, ref: Ref) -> frozenset[str]:
        try:
            return (await self._store.held(ref)).get(ref, frozenset())
        except SecretUnavailable as error:
            _log.warning("values not erased", resource=ref.stream, error=str(error))
            return frozenset()

    async def _erase_unused(self, ref: Ref, tokens: frozenset[str]) -> None:
        try:
            unused = tokens - await self._used(ref.stream) if tokens else tokens
            if unused:
                await self._store.erase(ref, unused)
        except (SecretUnavailable, codec.Undecodable, LogError) as error:
            _log.warning("values not erased", resource=ref.stream, error=str(error))

    async def _used(self, stream: str) -> frozenset[str]:
        used: set[str] = set()
        for row in await self._log.stream(stream):
            match codec.decode(row.type, row.data):
                case SecretSet(token=token):
                    used.add(token)
                case SecretDeleted():
                    used.clear()
                case _:
                    pass
        return frozenset(used)
