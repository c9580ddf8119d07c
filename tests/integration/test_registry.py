"""A tag is resolved by its registry: an open one, one behind a password, one behind tokens."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import pytest

from adapters.registry.images import RegistryImages
from adapters.registry.names import reference
from domain.secret import SecretText
from reconcilers.ports import ImageUnavailable
from tests.support.registry import (
    PASSWORD,
    USER,
    Registry,
    registry,
    registry_with_password,
    registry_with_tokens,
)

pytestmark = pytest.mark.needs("registry")

KNOWN = {"username": SecretText(USER), "password": SecretText(PASSWORD)}
WRONG = {"username": SecretText(USER), "password": SecretText("guessed")}


class Serving(Protocol):
    def __call__(self, folder: Path, /) -> AbstractAsyncContextManager[Registry]: ...


CLOSED: Mapping[str, Serving] = {
    "password": registry_with_password,
    "tokens": registry_with_tokens,
}


@pytest.fixture
async def images() -> AsyncIterator[RegistryImages]:
    opened = RegistryImages(user_agent="stateward/test")
    yield opened
    await opened.close()


async def test_a_tag_becomes_its_digest_and_a_moved_one_another(
    images: RegistryImages, tmp_path: Path
) -> None:
    async with registry(tmp_path) as served:
        name = f"{served.host}/shop/web"
        digests = []
        for content in ("first", "second"):
            digests.append(f"{name}@{served.push('shop/web:1', content)}")
            found = await images.resolve(f"{name}:1", policy="IfNotPresent", credentials=None)
            assert found == digests[-1]
        first, second = digests
        assert first != second
        assert await images.resolve(first, policy="Always", credentials=None) == first
        never = f"{name}:unknown"
        assert await images.resolve(never, policy="Never", credentials=None) == never
        with pytest.raises(ImageUnavailable, match="has no tag 'unknown' of it"):
            await images.resolve(never, policy="Always", credentials=None)
        with pytest.raises(ImageUnavailable, match="has no tag 'latest' of it"):
            await images.resolve(name, policy="Always", credentials=None)


@pytest.mark.parametrize("serving", CLOSED.values(), ids=CLOSED)
async def test_a_closed_registry_wants_the_right_credentials(
    images: RegistryImages, tmp_path: Path, serving: Serving
) -> None:
    async with serving(tmp_path) as served:
        image = f"{served.host}/shop/web:1"
        digest = served.push("shop/web:1", "secret")
        found = await images.resolve(image, policy="Always", credentials=KNOWN)
        assert found == f"{served.host}/shop/web@{digest}"
        with pytest.raises(ImageUnavailable, match="wants credentials; name their Secret"):
            await images.resolve(image, policy="Always", credentials=None)
        with pytest.raises(ImageUnavailable, match="does not accept") as refused:
            await images.resolve(image, policy="Always", credentials=WRONG)
        assert "guessed" not in str(refused.value)
        user = {"username": SecretText(USER)}
        with pytest.raises(ImageUnavailable, match="has no password"):
            await images.resolve(image, policy="Always", credentials=user)


class Liar:
    """A registry that says the same to everybody, and counts them."""

    def __init__(self, *head: str, body: bytes = b"") -> None:
        lines = [f"HTTP/1.1 {head[0]}", *head[1:], f"Content-Length: {len(body)}"]
        self._said = "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body
        self.asked = 0

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}/web:1"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self._said)
        writer.close()


def wants(realm: str) -> str:
    return f'WWW-Authenticate: Bearer realm="{realm}",service="r"'


LIES = {
    "a redirect": (Liar("307 Elsewhere", "Location: http://127.0.0.1:1/"), "answered 307", 1),
    "a digest that is none": (
        Liar("200 OK", "Docker-Content-Digest: sha256:1"),
        "which is none",
        1,
    ),
    "patience": (Liar("429 Too Many"), "was asked too often", 1),
    "a token without TLS": (
        Liar("401 No", wants("http://elsewhere.example.com/token")),
        "where none is asked for",
        1,
    ),
    "a token of a metadata service": (
        Liar("401 No", wants("https://169.254.169.254/token")),
        "where none is asked for",
        1,
    ),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_what_a_registry_makes_up_is_told_and_not_followed(
    images: RegistryImages, lie: tuple[Liar, str, int]
) -> None:
    liar, told, asked = lie
    async with liar as image:
        with pytest.raises(ImageUnavailable, match=told):
            await images.resolve(image, policy="Always", credentials=KNOWN)
    assert liar.asked == asked


async def test_a_registry_that_says_no_digest_is_asked_for_what_it_has(
    images: RegistryImages,
) -> None:
    async with Liar("200 OK") as image:
        found = await images.resolve(image, policy="Always", credentials=None)
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert found == f"{image.removesuffix(':1')}@sha256:{empty}"


MEANT = {
    "nginx": "https://registry-1.docker.io/v2/library/nginx/manifests/latest",
    "docker.io/acme/web:1.2": "https://registry-1.docker.io/v2/acme/web/manifests/1.2",
    "ghcr.io/acme/web:1": "https://ghcr.io/v2/acme/web/manifests/1",
    "registry.example.com:5000/web": "https://registry.example.com:5000/v2/web/manifests/latest",
    "localhost/web:1": "http://localhost/v2/web/manifests/1",
    "localhost:5000/web:1": "http://localhost:5000/v2/web/manifests/1",
    "[::1]:5000/web:1": "http://[::1]:5000/v2/web/manifests/1",
}


@pytest.mark.parametrize("image", MEANT)
def test_an_image_is_found_where_engines_would_look_for_it(image: str) -> None:
    meant = reference(image)
    assert meant.manifest == MEANT[image]
    assert image in {meant.name, f"{meant.name}:{meant.tag}"}


@pytest.mark.parametrize("host", ["169.254.169.254", "0xa9.254.43518:80", "[fe80::1]:5000"])
async def test_a_metadata_service_is_no_registry(images: RegistryImages, host: str) -> None:
    with pytest.raises(ImageUnavailable, match="is an address that is not asked"):
        await images.resolve(f"{host}/web:1", policy="Always", credentials=None)


async def test_a_registry_that_is_away_is_named(images: RegistryImages) -> None:
    async with Liar("200 OK") as image:
        host = image.partition("/")[0]
    with pytest.raises(ImageUnavailable, match=f"its registry {host} cannot be reached"):
        await images.resolve(image, policy="Always", credentials=None)


async def test_an_image_without_a_registry_goes_nowhere(images: RegistryImages) -> None:
    with pytest.raises(ImageUnavailable, match="push it to a registry"):
        await images.resolve(f"sha256:{'ab' * 32}", policy="Always", credentials=None)
