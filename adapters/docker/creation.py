"""Making the container of an order, exactly once. Runs in a thread.

The container's name is what makes it once: the daemon refuses a second one of that name, and then
the first is looked at. It is ours only if its labels are those of the order.
"""

import base64
from collections.abc import Iterator
from http import HTTPStatus
from posixpath import join
from typing import Any, NamedTuple

import docker
import msgspec
import requests
from docker.errors import APIError, ImageNotFound, NotFound

from adapters.docker import labels
from adapters.docker.connection import ANSWER_TIMEOUT, check, get, sentence, url
from adapters.docker.denied import denied
from adapters.docker.request import container_request, volume_name
from reconcilers.ports import ImageUnavailable, NameTaken, StartFailed, StartReplica

_USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_IS_DIRECTORY, _IS_LINK = 1 << 31, 1 << 27  # in the mode that Go's os.FileMode has


class _State(msgspec.Struct, rename="pascal"):
    status: str


class _Config(msgspec.Struct, rename="pascal"):
    labels: dict[str, str] | None = None
    env: list[str] | None = None
    working_dir: str = ""


class Container(msgspec.Struct, rename="pascal"):
    """What an inspection says about whose a container is."""

    id: str
    name: str
    image: str
    state: _State
    config: _Config

    def belongs_to(self, installation: str) -> bool:
        return (self.config.labels or {}).get(labels.INSTALLATION) == installation


class _Created(msgspec.Struct, rename="pascal"):
    id: str


class _Image(msgspec.Struct, rename="pascal"):
    id: str


class Made(NamedTuple):
    id: str
    may_start: bool


def look(client: docker.APIClient, container: str) -> Container | None:
    """Inspect by id or name; None when there is none."""
    try:
        return get(client, Container, f"/containers/{container}/json", {})
    except NotFound:
        return None


def make(
    client: docker.APIClient, order: StartReplica, installation: str, target: str
) -> Made | None:
    """Return the order's container, made if it was not there.

    None: somebody is making one of that name at this moment; ask again.

    Raises:
        NameTaken, ImageUnavailable, StartFailed: as `Replicas.start` says.
    """
    name = order.name.of(installation)
    request = container_request(order, installation, target)
    if reasons := denied(request):
        raise StartFailed(f"{name} may not have {', '.join(reasons)}")
    if order.image is None:
        raise StartFailed(f"{name} has no image, and a Docker target runs nothing else")
    _make_volumes(client, order, installation)
    if order.reuses is not None and (kept := _reused(client, order, installation, target)):
        return Made(kept, may_start=True)
    try:
        made = _create(client, name, request)
    except ImageNotFound as error:
        raise ImageUnavailable(f"image {order.image} is not on the target") from error
    except APIError as error:
        if error.status_code != HTTPStatus.CONFLICT:
            raise StartFailed(f"the daemon refused {name}: {sentence(error)}") from error
        return _found(client, order, installation, target)
    _check_command(client, made, order)
    return Made(made, may_start=True)


def _reused(
    client: docker.APIClient, order: StartReplica, installation: str, target: str
) -> str | None:
    """Give the kept container of an order the name of what it is to be; None if it will not do."""
    assert order.reuses is not None, "asked only of what reuses one"
    kept = look(client, order.reuses.of(installation) + labels.KEPT)
    if kept is None or kept.state.status != "exited":
        return None
    if not labels.fulfils(kept.config.labels or {}, order, installation, target):
        return None
    try:
        image = get(client, _Image, f"/images/{order.image}/json", {})
        if image.id != kept.image:
            return None
        client.rename(kept.id, order.name.of(installation))
    except APIError:  # no such image, or one of that name is there: what follows says so
        return None
    return kept.id


def _create(client: docker.APIClient, name: str, request: dict[str, Any]) -> str:
    where = url(client, "/containers/create")
    answer = client.post(where, params={"name": name}, json=request, timeout=ANSWER_TIMEOUT)
    check(answer)
    return msgspec.json.decode(answer.content, type=_Created).id


def _found(
    client: docker.APIClient, order: StartReplica, installation: str, target: str
) -> Made | None:
    name = order.name.of(installation)
    holder = look(client, name)
    if holder is None:
        return None
    if not labels.fulfils(holder.config.labels or {}, order, installation, target):
        owner = "another order" if holder.belongs_to(installation) else "something else"
        raise NameTaken(f"the name {name} belongs to {owner} (container {holder.id[:12]})")
    may_start = holder.state.status == "created"
    if may_start:
        _check_command(client, holder.id, order)
    return Made(holder.id, may_start)


def _make_volumes(client: docker.APIClient, order: StartReplica, installation: str) -> None:
    owner = labels.owned(installation, order.name.project, order.name.app)
    for volume in order.volumes:
        name = volume_name(installation, order.name, volume)
        try:
            made = client.create_volume(name, labels={**owner, labels.VOLUME: volume.name})
        except APIError as error:
            raise StartFailed(f"volume {name} cannot be made: {sentence(error)}") from error
        found = made.get("Labels") or {}
        if any(found.get(label) != value for label, value in owner.items()):
            raise StartFailed(f"a volume {name} is there and belongs to something else")


def _check_command(client: docker.APIClient, container: str, order: StartReplica) -> None:
    """Refuse a command that the image has not.

    The daemon would not: it starts its init, which finds that out too late to be an answer.
    """
    if not order.command:
        return
    program = order.command[0]
    if not any(
        _is_program(client, container, path) for path in _places(client, container, program)
    ):
        raise StartFailed(f"there is no command {program} in image {order.image}")


def _places(client: docker.APIClient, container: str, program: str) -> Iterator[str]:
    if program.startswith("/"):
        yield program
        return
    seen = look(client, container)
    config = seen.config if seen else _Config()
    if "/" in program:
        yield join(config.working_dir or "/", program)
        return
    env = dict(entry.partition("=")[::2] for entry in config.env or ())
    for folder in env.get("PATH", _USUAL_PATH).split(":"):
        yield join(folder or config.working_dir or "/", program)


def _is_program(client: docker.APIClient, container: str, path: str) -> bool:
    answer = client.head(
        url(client, f"/containers/{container}/archive"),
        params={"path": path},
        timeout=ANSWER_TIMEOUT,
    )
    if answer.status_code == requests.codes.not_found:
        return False
    told = answer.headers.get("X-Docker-Container-Path-Stat")
    if told is None:
        return True  # the daemon cannot say: let it try
    mode: int = msgspec.json.decode(base64.b64decode(told))["mode"]
    return bool(mode & _IS_LINK) or (not mode & _IS_DIRECTORY and bool(mode & 0o111))
