"""The Docker engine, put together: six ports over one connection."""

import random
from collections.abc import Callable
from typing import final

import requests
from docker.errors import DockerException

from adapters.docker.connection import Connection, root_cause
from adapters.docker.events import DockerEvents
from adapters.docker.facts import Facts
from adapters.docker.foreign import DockerForeign
from adapters.docker.grounds import DockerGrounds
from adapters.docker.images import DockerImages
from adapters.docker.io import DockerIO
from adapters.docker.replicas import DockerReplicas
from adapters.docker.transport import connect
from reconcilers.ports import Engine

_IMPATIENCE = 5  # seconds to decide whether a daemon answers


@final
class DockerEngine(Engine):
    """An engine to close after use."""

    connection: Connection

    async def close(self) -> None:
        """Take no more calls. Those under way end by themselves."""
        self.connection.close()


def docker_engine(
    host: str,
    installation: str,
    *,
    target: str = "local",
    parallel_starts: int = 4,
    now: Callable[[], float],
    rng: random.Random,
) -> DockerEngine:
    """The daemon at `host` (`unix:///var/run/docker.sock`, `tcp://...`) as an installation sees it.

    Two `target`s may be one daemon: neither sees the replicas of the other.

    Connects at the first call. More than four starts at once only queue inside the daemon.
    """
    connection = Connection(host, parallel_starts=parallel_starts)
    facts = Facts(connection)
    grounds = DockerGrounds(connection, installation)
    engine = DockerEngine(
        replicas=DockerReplicas(connection, installation, target, facts, grounds),
        images=DockerImages(connection),
        grounds=grounds,
        events=DockerEvents(connection, installation, facts, now=now, rng=rng),
        io=DockerIO(connection),
        foreign=DockerForeign(connection, installation),
    )
    engine.connection = connection
    return engine


def docker_answers(host: str) -> str | None:
    """Ask whether there is a daemon: None if it answers, else a sentence that says why not."""
    try:
        client = connect(host, timeout=_IMPATIENCE, connections=1)
        try:
            client.ping()
        finally:
            client.close()
    except (DockerException, requests.RequestException, OSError) as error:
        return f"no Docker daemon answers at {host}: {root_cause(error)}"
    return None
