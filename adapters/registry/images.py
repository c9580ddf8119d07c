"""Images of clusters: a registry is asked which digest a tag names, before a pod is made of it."""

import asyncio
import base64
import hashlib
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, final, override

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult

from adapters.registry.challenges import Challenge, challenges, may_ask
from adapters.registry.names import Reference, reference
from domain import addresses
from domain.secret import SecretText
from reconcilers.ports import Images, ImageUnavailable

ANSWER_SECONDS: Final = 20.0
TOGETHER: Final = 8  # requests at once
MOST_BYTES: Final = 4 * 1024 * 1024  # of a manifest, as registries take them
_TOKEN_BYTES: Final = 256 * 1024
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_MANIFESTS: Final = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)


class _Answer(NamedTuple):
    """`digest` and `wants` are what its headers say: of what it is, and what to show first."""

    status: int
    digest: str
    wants: Sequence[str]
    body: bytes


class _Token(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""


@final
class RegistryImages(Images):
    """Close it after use. Nothing is pulled: that is for the nodes, by what is returned."""

    def __init__(self, *, user_agent: str) -> None:
        self._user_agent = user_agent
        self._session: aiohttp.ClientSession | None = None
        self._turns = asyncio.Semaphore(TOGETHER)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    @override
    async def resolve(
        self, image: str, *, policy: str, credentials: Mapping[str, SecretText] | None
    ) -> str:
        if "@" in image or policy == "Never":  # then only what nodes have already counts
            return image
        if image.startswith("sha256:"):
            raise ImageUnavailable(
                f"image {image} is only on the target where it was made; push it to a registry, "
                "and name it by that"
            )
        meant = reference(image)
        if addresses.is_closed(meant.bare_host):
            raise _unavailable(meant, f"is an address that is not asked: {addresses.RULE}")
        try:
            digest = await self._digest(meant, credentials)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            why = str(error) or "it did not answer in time"
            raise ImageUnavailable(
                f"image {image} cannot be had: its registry {meant.host} cannot be reached: {why}"
            ) from error
        return f"{meant.name}@{digest}"

    async def _digest(self, meant: Reference, credentials: Mapping[str, SecretText] | None) -> str:
        answer, shown = await self._ask("HEAD", meant.manifest), ""
        if answer.status == 401:
            shown = await self._authorization(meant, answer, credentials)
            answer = await self._ask("HEAD", meant.manifest, shown)
        _check(meant, answer.status, has_credentials=bool(credentials))
        digest = answer.digest
        if not digest:  # a registry need not say it; then it is that of what it sends
            answer = await self._ask("GET", meant.manifest, shown)
            _check(meant, answer.status, has_credentials=bool(credentials))
            digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        if _DIGEST.fullmatch(digest) is None:
            raise _unavailable(meant, f"answered with the digest {digest[:100]!r}, which is none")
        return digest

    # -- who asks -----------------------------------------------------------------------------

    async def _authorization(
        self, meant: Reference, answer: _Answer, credentials: Mapping[str, SecretText] | None
    ) -> str:
        """What to show to a registry that asked for it; empty if there is nothing."""
        known = _basic(meant, credentials) if credentials else ""
        for one in challenges(answer.wants):
            if one.scheme == "bearer":
                return await self._token(meant, one, known)
            if one.scheme == "basic" and known:
                return known
        return ""

    async def _token(self, meant: Reference, challenge: Challenge, known: str) -> str:
        if not may_ask(challenge.realm):
            raise _unavailable(
                meant, f"sends for a token to {challenge.realm!r}, where none is asked for"
            )
        asked = challenge.asked(f"repository:{meant.repository}:pull")
        answer = await self._ask("GET", challenge.realm, known, query=asked, most=_TOKEN_BYTES)
        _check(meant, answer.status, has_credentials=bool(known))
        try:
            told = msgspec.json.decode(answer.body, type=_Token)
        except msgspec.MsgspecError as error:
            raise _unavailable(meant, "sent for a token, and got none") from error
        return f"Bearer {told.token or told.access_token}"

    # -- asking -------------------------------------------------------------------------------

    async def _ask(
        self,
        method: str,
        url: str,
        shown: str = "",
        *,
        query: Mapping[str, str] | None = None,
        most: int = MOST_BYTES,
    ) -> _Answer:
        headers = {"Accept": _MANIFESTS} if query is None else {}
        headers |= {"Authorization": shown} if shown else {}
        async with (
            self._turns,  # what waits for one does not count as unanswered
            self._opened().request(
                method, url, params=query, headers=headers, allow_redirects=False
            ) as response,
        ):
            body = bytearray()
            async for piece in response.content.iter_chunked(64 * 1024):
                body += piece
                if len(body) > most:
                    raise aiohttp.ClientPayloadError(f"its answer is longer than {most} bytes")
            digest = response.headers.get("Docker-Content-Digest", "")
            wants = response.headers.getall("WWW-Authenticate", [])
            return _Answer(response.status, digest, wants, bytes(body))

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=_OpenAddresses()),
                timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
                headers={"User-Agent": self._user_agent},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


class _OpenAddresses(AbstractResolver):
    """Names of hosts, but for those that resolve to an address that nobody may ask."""

    def __init__(self) -> None:
        self._inner = aiohttp.ThreadedResolver()

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if any(addresses.is_closed(one["host"]) for one in found):
            raise OSError(f"{host} is an address that must not be asked: {addresses.RULE}")
        return found

    @override
    async def close(self) -> None:
        await self._inner.close()


def _basic(meant: Reference, credentials: Mapping[str, SecretText]) -> str:
    missing = {"username", "password"} - credentials.keys()
    if missing:
        raise _unavailable(
            meant,
            f"wants credentials, and the Secret of them has no {' and no '.join(sorted(missing))}",
        )
    user, password = credentials["username"].reveal(), credentials["password"].reveal()
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _check(meant: Reference, status: int, *, has_credentials: bool) -> None:
    """Raises: ImageUnavailable, unless the answer is the one that was asked for."""
    match status:
        case 200:
            return
        case 404:
            raise _unavailable(meant, f"has no tag {meant.tag!r} of it; push it, or name another")
        case 401 | 403 if has_credentials:
            raise _unavailable(meant, "does not accept what the Secret of imagePull.secretRef says")
        case 401 | 403:
            raise _unavailable(meant, "wants credentials; name their Secret in imagePull.secretRef")
        case 429:
            raise _unavailable(meant, "was asked too often; it is asked again later")
        case _:
            raise _unavailable(meant, f"answered {status}")


def _unavailable(meant: Reference, why: str) -> ImageUnavailable:
    return ImageUnavailable(
        f"image {meant.name}:{meant.tag} cannot be had: its registry {meant.host} {why}"
    )
