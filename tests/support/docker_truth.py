"""What a Docker daemon says of an installation, held against what the control plane promises.

`World.at_rest` is for real machines what `simulation.invariants.rest` is for simulated ones.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, final
from uuid import uuid4

import docker

from adapters.docker import labels
from tests.support.asking import greeting
from tests.support.serving import ControlPlane

BOUND: Final = 60.0  # seconds from the last trouble to rest, on a machine shared with other work

type Container = dict[str, Any]


@final
class World:
    """One control plane, the daemon of its target, and an app of its own that a story is about."""

    def __init__(self, plane: ControlPlane, client: docker.APIClient, image: str) -> None:
        self.plane, self.client, self.image = plane, client, image
        self.name = f"a{uuid4().hex[:8]}"
        self.installation: str = plane.get("/api/v1/version")["installation"]
        self.keys: set[str] = set()
        """The idempotency keys of what was asked."""

    # -- asking -----------------------------------------------------------------------------

    def spec(self, word: str, **more: Any) -> dict[str, Any]:
        """Of an app that answers `word`."""
        check = {"http": {"path": "/healthz", "port": "http"}, "interval": "200ms", "failures": 100}
        return {
            "image": self.image,
            "imagePull": {"policy": "IfNotPresent"},
            "env": {"GREETING": word},
            "ports": [{"name": "http", "port": 8080}],
            "health": {"readiness": check},
            "stopGrace": "1s",
            **more,
        }

    def key(self, word: str) -> str:
        """An idempotency key of this story, which from now on has to have one event."""
        key = f"{self.name}-{word}"
        self.keys.add(key)
        return key

    def apply(self, key: str, word: str, **more: Any) -> Any:
        """Ask for an app that answers `word`; the same key asks the same again."""
        return self.plane.apply(self.name, self.spec(word, **more), Idempotency_Key=self.key(key))

    def deploy(self, word: str, **more: Any) -> None:
        """Ask for the app, and wait until it runs."""
        self.apply("deploy", word, **more)
        self.plane.rolled_out(self.name, BOUND)

    def act(self, verb: str, body: object = None) -> Any:
        return self.plane.act(self.name, verb, body, Idempotency_Key=self.key(verb))

    def events(self, kind: str = "") -> list[Any]:
        return self.plane.events(kind, f"App/default/{self.name}")

    # -- looking ----------------------------------------------------------------------------

    def containers(self) -> list[Container]:
        """All that the installation owns, of whatever app, running or not."""
        mine = {"label": f"{labels.INSTALLATION}={self.installation}"}
        found: list[Container] = self.client.containers(all=True, filters=mine)
        return found

    def in_slot(self, slot: int) -> str:
        """The id of the one container that runs in a slot."""
        running = (one for one in self.containers() if one["State"] == "running")
        (found,) = (one["Id"] for one in running if one["Labels"][labels.SLOT] == str(slot))
        return str(found)

    def revisions(self) -> set[str]:
        """Of which revisions there are containers, running or not."""
        return {one["Labels"][labels.REVISION] for one in self.containers()}

    def at_rest(self, replicas: int, word: str, within: float = BOUND) -> None:
        """Wait until the app is what was asked last, and check what holds of a world at rest."""
        plane = self.plane
        revision = plane.rolled_out(self.name, within)["metadata"]["revision"]
        wanted = [(self.name, f"{revision}", f"{slot}") for slot in range(replicas)]
        plane.until(lambda: self._has_only(wanted), f"only {wanted} and their dead", within)
        said = {greeting(plane.address(self.name, slot)) for slot in range(replicas)}
        assert said == {word}
        self.check_history()

    def _has_only(self, wanted: Sequence[tuple[str, ...]]) -> bool:
        """Whether just these run, with at most the last dead one of each slot, kept for its log."""
        shown = (labels.APP, labels.REVISION, labels.SLOT)
        places: dict[str, list[tuple[str, ...]]] = {"running": [], "exited": []}
        for one in self.containers():  # of one list, for the next may be of another moment
            place = tuple(one["Labels"][label] for label in shown)
            places.setdefault(one["State"], []).append(place)
        dead = places.pop("exited")
        once = len(set(dead)) == len(dead) and set(dead) <= set(wanted)
        return once and sorted(places.pop("running")) == list(wanted) and not places

    def check_history(self) -> None:
        """One event per idempotency key, every key that was asked, and a log that is sound."""
        asked = Counter(one["cause"] for one in self.events() if not one["transition"])
        assert self.keys <= asked.keys(), f"lost: {self.keys - asked.keys()}"
        again = {key: count for key, count in asked.items() if count > 1}
        assert not again, f"decided more than once: {again}"
        verified = self.plane.run(str(self.plane.data), verb="verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr

    def gone(self, within: float = BOUND) -> None:
        """Wait until nothing owned is left: no container and no volume."""
        self.plane.until(lambda: not self._owned(), "nothing owned is left", within)

    def _owned(self) -> list[str]:
        mine = {"label": f"{labels.INSTALLATION}={self.installation}"}
        volumes = self.client.volumes(filters=mine)["Volumes"] or []
        return [str(one["Id"]) for one in self.containers()] + [one["Name"] for one in volumes]


@contextmanager
def foreign(client: docker.APIClient, image: str, name: str | None = None) -> Iterator[str]:
    """A running container of another installation; checks at the end that nobody touched it."""
    theirs = {labels.INSTALLATION: "another", labels.PROJECT: "default", labels.APP: "web"}
    alone = client.create_host_config(network_mode="none")
    made = client.create_container(
        image, ["sleep", "600"], labels=theirs, host_config=alone, name=name, stop_timeout=1
    )["Id"]
    try:
        client.start(made)
        before = _essence(client, made)
        yield made
        assert _essence(client, made) == before
    finally:
        client.remove_container(made, force=True)


def _essence(client: docker.APIClient, container: str) -> tuple[Any, ...]:
    """What somebody would have changed who took a container for theirs."""
    seen = client.inspect_container(container)
    return seen["Name"], seen["Config"]["Labels"], seen["State"]["StartedAt"], seen["RestartCount"]


@contextmanager
def visited(world: World, host: str) -> Iterator[list[set[str]]]:
    """Ask all running containers of an app, ten times a second; checks that one always answered.

    Asks the daemon where they are, for it does not depend on a control plane that is killed.
    Yields what was answered in each round.
    """
    rounds: list[set[str]] = []
    over = threading.Event()
    client = docker.APIClient(host, version="auto")

    def visit() -> None:
        wanted = [f"{labels.INSTALLATION}={world.installation}", f"{labels.APP}={world.name}"]
        while not over.wait(0.1):
            running = client.containers(filters={"label": wanted})
            said = {greeting(url) for url in map(_url, running) if url}
            rounds.append({word for word in said if "Error" not in word})

    visitor = threading.Thread(target=visit)
    visitor.start()
    try:
        yield rounds
    finally:
        over.set()
        visitor.join()
        client.close()
    assert len(rounds) > 2
    assert all(rounds), f"nobody answered in rounds {[n for n, r in enumerate(rounds) if not r]}"


def _url(container: Container) -> str:
    networks = container["NetworkSettings"]["Networks"].values()
    address = next((one["IPAddress"] for one in networks if one["IPAddress"]), "")
    return f"http://{address}:8080" if address else ""
