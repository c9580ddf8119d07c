"""A container that should always run, beside those of apps; the daemon begins it anew.

It uses the host's network and one directory of the host, so it is to others as if it were a
process there. It has no label of apps, so no engine takes it for a replica.
"""

import asyncio
import hashlib
import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, final

import docker
import structlog
from docker.errors import APIError, NotFound

from adapters.docker.connection import Connection, sentence
from reconcilers.ports import EngineUnavailable

LABEL: Final = "stateward/standing"  # what it was made from
_LOOK_SECONDS: Final = 0.25
_STOP_SECONDS: Final = 5
_ASK_SECONDS: Final = 30  # for a program that only says its version
_WORDS: Final = 500

_log = structlog.get_logger(__name__)


class ContainerOrder(NamedTuple):
    """What to run, in which directory of the host; `listens` is a socket there, once it answers."""

    image: str
    argv: Sequence[str]
    env: Mapping[str, str]
    directory: Path
    listens: Path

    @property
    def digest(self) -> str:
        told = json.dumps([self.image, list(self.argv), dict(self.env), str(self.directory)])
        return hashlib.sha256(told.encode()).hexdigest()[:16]


@final
class StandingContainer:
    """One container by its name. `began` is told after each beginning that was not asked for.

    Attributes:
        ends: how often it was seen to end unasked.
        last_words: the end of what it wrote when it ended last, for a person.
    """

    def __init__(
        self, host: str, name: str, order: ContainerOrder, began: Callable[[], None]
    ) -> None:
        self._host = host
        self._connection: Connection | None = None
        self._name, self._order, self._began = name, order, began
        self._watch: asyncio.Task[None] | None = None
        self.ends = 0
        self.last_words = "it said nothing"

    @property
    def runs(self) -> bool:
        """Whether somebody listens where it is to."""
        try:  # by the directory: the path may be longer than a socket's address
            opened = os.open(self._order.directory, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return False
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(f"/proc/self/fd/{opened}/{self._order.listens.name}")
            except OSError:
                return False
            finally:
                os.close(opened)
        return True

    async def said(self, *argv: str) -> str:
        """What another program of the image says, once."""
        return await self._asked(lambda client: _said(client, self._order.image, argv))

    async def start(self) -> None:
        """See to it that it runs, now and from now on. Does nothing if it is seen to already.

        Raises:
            EngineUnavailable: it cannot be begun; the message says why.
        """
        if self._watch is not None and not self._watch.done():
            return
        born = await self._begin()
        self._watch = asyncio.create_task(self._keep(born), name=f"standing {self._name}")

    async def close(self) -> None:
        """See to it no longer; it goes on."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def stop(self) -> None:
        """End it, and wait until it has ended and is gone."""
        try:
            await self._asked(self._removed)
        finally:
            await self.close()

    async def _begin(self) -> str:
        return await self._asked(self._begun)

    async def _asked[T](self, ask: Callable[[docker.APIClient], T]) -> T:
        self._connection = self._connection or Connection(self._host, parallel_starts=1)
        try:
            return await self._connection.wait(ask)
        except APIError as error:
            raise EngineUnavailable(
                f"container {self._name} of image {self._order.image!r}: {sentence(error)}"
            ) from error

    async def _keep(self, born: str) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                found = await self._asked(self._born)
                if found == born:
                    continue
                self.ends += 1
                self.last_words = await self._asked(self._words)
                _log.warning("a container ended", container=self._name, said=self.last_words)
                born = await self._begin()
            except EngineUnavailable as error:
                _log.warning("a container cannot be seen to", reason=str(error))
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                self._began()

    # -- in threads ---------------------------------------------------------------------------

    def _begun(self, client: docker.APIClient) -> str:
        found = self._found(client)
        if found is not None and found["Config"]["Labels"].get(LABEL) != self._order.digest:
            self._removed(client)
            found = None
        if found is None:
            self._make(client)
        elif born := _born(found):
            return born
        client.start(self._name)
        return self._born(client)

    def _born(self, client: docker.APIClient) -> str:
        """When it began; empty if nobody begins it anew but we: after `docker kill`, say."""
        found = self._found(client)
        return _born(found) if found is not None else ""

    def _found(self, client: docker.APIClient) -> Any:
        try:
            return client.inspect_container(self._name)
        except NotFound:
            return None

    def _make(self, client: docker.APIClient) -> None:
        order = self._order
        _have(client, order.image)
        folder = str(order.directory)
        client.create_container(
            order.image,
            command=list(order.argv),
            entrypoint=[],
            name=self._name,
            environment=dict(order.env),
            working_dir=folder,
            user=f"{os.getuid()}:{os.getgid()}",
            labels={LABEL: order.digest},
            host_config=client.create_host_config(
                network_mode="host",
                binds={folder: {"bind": folder, "mode": "rw"}},
                restart_policy={"Name": "unless-stopped"},
                init=True,
                cap_drop=["ALL"],
                cap_add=["NET_BIND_SERVICE"],
                security_opt=["no-new-privileges"],
                read_only=True,
            ),
        )

    def _removed(self, client: docker.APIClient) -> None:
        with suppress(NotFound):
            client.stop(self._name, timeout=_STOP_SECONDS)
            client.remove_container(self._name, force=True)

    def _words(self, client: docker.APIClient) -> str:
        try:
            said: bytes = client.logs(self._name, tail=1)
        except NotFound:
            return "it was taken away"
        return said.decode(errors="replace").strip()[-_WORDS:] or "it said nothing"


def _born(found: Any) -> str:
    state = found["State"]
    return str(state["StartedAt"]) if state["Running"] or state["Restarting"] else ""


def _have(client: docker.APIClient, image: str) -> None:
    try:
        client.inspect_image(image)  # type: ignore[no-untyped-call]
    except NotFound:
        client.pull(image)


def _said(client: docker.APIClient, image: str, argv: Sequence[str]) -> str:
    _have(client, image)
    made = client.create_container(
        image,
        command=list(argv),
        entrypoint=[],
        host_config=client.create_host_config(network_mode="none", cap_drop=["ALL"]),
    )
    try:
        client.start(made["Id"])
        client.wait(made["Id"], timeout=_ASK_SECONDS)
        said: bytes = client.logs(made["Id"])
    finally:
        client.remove_container(made["Id"], force=True)
    return said.decode(errors="replace")
