"""Images: present before anything stops, and named so that nobody can move the name.

That is the digest in its registry where the image came from one, else the id on this daemon.
"""

from collections.abc import Iterator, Mapping
from typing import final, override

import docker
import msgspec
from docker.auth import encode_header
from docker.errors import APIError, NotFound
from docker.utils import parse_repository_tag

from adapters.docker.connection import ANSWER_TIMEOUT, Connection, check, get, sentence, url
from adapters.docker.feed import Lines
from domain.secret import SecretText
from reconcilers.ports import EngineUnavailable, Images, ImageUnavailable

SILENCE = 300  # seconds without any progress, after which a pull is given up


class _Image(msgspec.Struct, rename="pascal"):
    id: str
    repo_digests: list[str] | None = None


class _Progress(msgspec.Struct):
    error: str = ""


@final
class DockerImages(Images):
    def __init__(self, connection: Connection) -> None:
        self._docker = connection

    @override
    async def resolve(
        self, image: str, *, policy: str, credentials: Mapping[str, SecretText] | None
    ) -> str:
        try:
            return await self._docker.wait(
                lambda client: _resolve(client, image, policy, credentials)
            )
        except APIError as error:
            raise ImageUnavailable(f"image {image} cannot be had: {sentence(error)}") from error


def _resolve(
    client: docker.APIClient,
    image: str,
    policy: str,
    credentials: Mapping[str, SecretText] | None,
) -> str:
    fixed = image.startswith("sha256:")  # the id of an image on this daemon is in no registry
    present = None if policy == "Always" and not fixed else _find(client, image)
    if present is None and (fixed or policy == "Never"):
        raise ImageUnavailable(
            f"image {image} is not on the target, and "
            + ("has no name to pull it by" if fixed else "imagePull.policy is Never")
        )
    if present is None:
        _pull(client, image, credentials)
        present = _find(client, image)
    if present is None:
        raise EngineUnavailable(f"image {image} was pulled and is gone again")
    return _immutable_name(image, present)


def _find(client: docker.APIClient, image: str) -> _Image | None:
    try:
        return get(client, _Image, f"/images/{image}/json", {})
    except NotFound:
        return None


def _immutable_name(image: str, present: _Image) -> str:
    if image.startswith("sha256:") or "@sha256:" in image:
        return image
    repository, _ = parse_repository_tag(image)
    for name in present.repo_digests or ():
        if name.partition("@")[0] == repository:
            return name
    return present.id


def _pull(
    client: docker.APIClient, image: str, credentials: Mapping[str, SecretText] | None
) -> None:
    """Pull with exactly these credentials: those of whoever runs this program are not used."""
    repository, tag = parse_repository_tag(image)
    known = {name: text.reveal() for name, text in (credentials or {}).items()}
    answer = client.post(
        url(client, "/images/create"),
        params={"fromImage": repository, "tag": tag or "latest"},
        headers={"X-Registry-Auth": encode_header(known)},
        stream=True,
        timeout=(ANSWER_TIMEOUT, SILENCE),
    )
    try:
        check(answer)
        for failure in _failures(Lines(answer)):
            raise ImageUnavailable(f"image {image} cannot be pulled: {failure}")
    finally:
        answer.close()


def _failures(lines: Lines) -> Iterator[str]:
    for line in lines:
        if failure := msgspec.json.decode(line, type=_Progress).error:
            yield failure
