"""A log is lost while what it ran goes on; a new installation takes over without an outage."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import docker
import pytest

from tests.acceptance.conftest import Serve
from tests.support.asking import greeting
from tests.support.docker_daemon import DockerDaemon, daemon, erase_installation
from tests.support.images import python_image
from tests.support.serving import ControlPlane

__all__ = ["daemon"]
pytestmark = [pytest.mark.needs("docker"), pytest.mark.timeout(300)]

ANOTHER = "77777777-7777-4777-8777-777777777777"


@pytest.fixture
def client(daemon: DockerDaemon) -> Iterator[docker.APIClient]:
    client = docker.APIClient(daemon.host, version="auto")
    yield client
    client.close()


def spec(image: str, word: str) -> dict[str, Any]:
    check = {"http": {"path": "/healthz", "port": "http"}, "interval": "200ms", "failures": 100}
    return {
        "image": image,
        "imagePull": {"policy": "IfNotPresent"},
        "replicas": 2,
        "env": {"GREETING": word},
        "ports": [{"name": "http", "port": 8080}],
        "volumes": [{"name": "data", "path": "/data"}],
        "rollout": {"strategy": "startFirst"},
        "health": {"readiness": check},
        "stopGrace": "1s",
    }


def owned(installation: str) -> dict[str, str]:
    return {"label": f"stateward/installation={installation}"}


def containers(client: docker.APIClient, installation: str) -> list[str]:
    return [one["State"] for one in client.containers(all=True, filters=owned(installation))]


def volumes(client: docker.APIClient, installation: str) -> set[str]:
    return {one["Name"] for one in client.volumes(filters=owned(installation))["Volumes"] or ()}


def of_another(client: docker.APIClient, image: str) -> str:
    """A container of the same app of a third installation, which nobody adopts."""
    labels = {
        "stateward/installation": ANOTHER,
        "stateward/project": "default",
        "stateward/app": "web",
        "stateward/revision": "1",
        "stateward/slot": "0",
        "stateward/attempt": "1",
    }
    alone = client.create_host_config(network_mode="none")
    made = client.create_container(image, ["sleep", "600"], labels=labels, host_config=alone)
    client.start(made)
    return str(made["Id"])


@contextmanager
def somebody_serves(*addresses: str) -> Iterator[list[str]]:
    """Ask two addresses all the time; what is yielded tells when neither answered."""
    outages: list[str] = []
    over = Event()

    def ask() -> None:
        while not over.wait(0.05):
            troubles = [trouble for one in addresses if (trouble := _trouble(one))]
            if len(troubles) == len(addresses):
                outages.append("; ".join(troubles))

    asking = Thread(target=ask)
    asking.start()
    try:
        yield outages
    finally:
        over.set()
        asking.join()


def _trouble(address: str) -> str:
    said = greeting(address)
    return "" if said in ("former", "present") else said


def test_a_new_installation_takes_over_what_a_lost_one_runs(
    serve: Serve, daemon: DockerDaemon, client: docker.APIClient
) -> None:
    image = python_image(client)
    options = (f"--docker-host={daemon.host}", "--no-nats")
    lost = serve(*options, engine="docker")
    planes = [lost]
    former = lost.get("/api/v1/version")["installation"]
    present = ""
    third = of_another(client, image)
    try:
        for name in ("web", "api"):
            lost.apply(name, spec(image, "former"))
            lost.rolled_out(name)
        theirs = lost.address(slot=0)
        lost.kill()
        shutil.rmtree(lost.data)

        found = serve(*options, engine="docker")
        planes.append(found)
        present = found.get("/api/v1/version")["installation"]
        listed = found.run(verb="adopt")
        assert listed.stdout.count(former) == 2
        assert "not applied" in listed.stdout
        found.apply("web", spec(image, "present"))
        found.rolled_out()
        assert containers(client, former) == ["running"] * 4, "nobody asked to adopt yet"

        with somebody_serves(theirs, found.address(slot=0)) as outages:
            taken = found.run("web", "--from", former[:8], "--wait", verb="adopt")
        assert taken.returncode == 0, taken.stderr
        assert f"app/web has taken over from {former}" in taken.stdout
        assert not outages
        assert {greeting(found.address(slot=slot)) for slot in (0, 1)} == {"present"}
        assert containers(client, present) == ["running"] * 2
        left = client.containers(all=True, filters=owned(former))
        assert {one["Labels"]["stateward/app"] for one in left} == {"api"}
        assert client.networks(filters=owned(former)), "api still needs it"

        _adopt_the_rest(found, client, image, former)
        assert len(volumes(client, former)) == 4, "its data is nobody's to remove"
        assert client.inspect_container(third)["State"]["Running"]
    finally:
        client.remove_container(third, force=True)
        for plane in planes:
            if plane.is_running:
                plane.kill()  # else it heals what is erased
        for installation in filter(None, (former, present)):
            erase_installation(client, installation)


def _adopt_the_rest(found: ControlPlane, client: docker.APIClient, image: str, former: str) -> None:
    refused = found.run("-A", "--from", former, verb="adopt")
    assert refused.returncode == 1
    assert "app/default/api on target local" in refused.stderr
    found.apply("api", spec(image, "present"))
    assert found.run("-A", "--from", former, "--wait", verb="adopt").returncode == 0
    assert not containers(client, former)
    assert not client.networks(filters=owned(former))
    nothing = found.run("-A", "--from", former, verb="adopt")
    assert (nothing.returncode, nothing.stdout) == (0, "")
