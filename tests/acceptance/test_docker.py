"""The same stories on Docker: what `docker ps` shows is what was asked for, and nothing else."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker
import pytest

from tests.support.asking import greeting
from tests.support.docker_daemon import DockerDaemon, daemon, erase_installation
from tests.support.images import python_image
from tests.support.serving import ControlPlane, served
from tests.support.town import HOST, Town

__all__ = ["daemon"]
pytestmark = [pytest.mark.needs("docker"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def client(daemon: DockerDaemon) -> Iterator[docker.APIClient]:
    client = docker.APIClient(daemon.host, version="auto")
    yield client
    client.close()


@pytest.fixture(scope="module")
def plane(
    daemon: DockerDaemon, client: docker.APIClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    options = (f"--docker-host={daemon.host}", "--no-nats")
    home = tmp_path_factory.mktemp("docker")
    with contextmanager(served)(home, *options, engine="docker") as started:
        yield started
        installation = started.get("/api/v1/version")["installation"]
    erase_installation(client, installation)


@pytest.fixture
def image(client: docker.APIClient) -> str:
    return python_image(client)


@pytest.fixture
def shop(plane: ControlPlane, client: docker.APIClient) -> Iterator[ControlPlane]:
    """The control plane of this module, afterwards without the app `web`."""
    yield plane
    if not plane.is_running:
        plane.start()
    plane.delete("web")
    plane.until(lambda: not containers(plane, client), "docker ps shows nothing of it")


def containers(plane: ControlPlane, client: docker.APIClient) -> list[dict[str, Any]]:
    """All that the daemon has of this installation, running or not."""
    installation = plane.get("/api/v1/version")["installation"]
    owned = {"label": f"stateward/installation={installation}"}
    found: list[dict[str, Any]] = client.containers(all=True, filters=owned)
    return found


def spec(image: str, word: str, **more: Any) -> dict[str, Any]:
    check = {"http": {"path": "/healthz", "port": "http"}, "interval": "200ms", "failures": 100}
    return {
        "image": image,
        "imagePull": {"policy": "IfNotPresent"},
        "env": {"GREETING": word},
        "ports": [{"name": "http", "port": 8080}],
        "health": {"readiness": check},
        "stopGrace": "1s",
        **more,
    }


def check_only(plane: ControlPlane, client: docker.APIClient, replicas: int, word: str) -> None:
    """So many containers, all of them running, ready and answering `word`."""
    plane.until(
        lambda: [one["State"] for one in containers(plane, client)] == ["running"] * replicas,
        f"docker ps shows {replicas} running containers and nothing else",
    )
    answers = [greeting(plane.address(slot=slot)) for slot in range(replicas)]
    assert answers == [word] * replicas


def test_an_app_grows_shrinks_survives_a_bad_image_and_is_undone(
    shop: ControlPlane, client: docker.APIClient, image: str
) -> None:
    shop.apply("web", spec(image, "one"))
    shop.rolled_out()
    check_only(shop, client, 1, "one")
    shop.act("web", "scale", {"replicas": 5})
    shop.rolled_out()
    check_only(shop, client, 5, "one")
    shop.act("web", "scale", {"replicas": 2})
    shop.rolled_out()
    check_only(shop, client, 2, "one")
    before = {one["Id"] for one in containers(shop, client)}
    shop.apply("web", spec("stateward-test/no-such-image:1", "two"))
    shop.until(lambda: shop.condition("Degraded")[0] == "True", "it says that it is degraded")
    assert shop.condition("Degraded")[1] == "ImageUnavailable"
    assert shop.condition("Ready")[0] == "True"
    check_only(shop, client, 2, "one")
    shop.act("web", "undo")
    shop.rolled_out()
    check_only(shop, client, 2, "one")
    assert not before & {one["Id"] for one in containers(shop, client)}
    shop.apply("web", spec(image, "three"))
    shop.rolled_out()
    check_only(shop, client, 2, "three")


def test_what_is_done_behind_its_back_is_undone_and_told_of(
    shop: ControlPlane, client: docker.APIClient, image: str
) -> None:
    shop.apply("web", spec(image, "well", replicas=3))
    uid = shop.rolled_out()["metadata"]["uid"]
    removed, killed, stopped = (one["Id"] for one in containers(shop, client))
    client.remove_container(removed, force=True)
    client.kill(killed)
    client.stop(stopped, timeout=1)

    def is_healed() -> bool:
        events = shop.events("replica.healed")
        return len({one["data"]["slot"] for one in events if one["data"]["uid"] == uid}) == 3

    def is_replaced() -> bool:
        ready = [one for one in shop.app()["status"]["replicas"] if one["ready"]]
        lives = {one["Id"] for one in containers(shop, client) if one["State"] == "running"}
        return len(ready) == 3 and not lives & {removed, killed, stopped}

    shop.until(is_healed, "three healings are recorded")
    shop.until(is_replaced, "three replacements are ready")
    shop.rolled_out()
    running = [one for one in containers(shop, client) if one["State"] == "running"]
    assert len(running) == 3
    assert not {removed, killed, stopped} & {one["Id"] for one in running}
    assert {greeting(shop.address(slot=slot)) for slot in range(3)} == {"well"}


def test_a_program_that_dies_at_once_leaves_the_old_revision_serving(
    shop: ControlPlane, client: docker.APIClient, image: str
) -> None:
    shop.apply("web", spec(image, "old", replicas=2))
    shop.rolled_out()
    shop.apply("web", spec(image, "new", command=["/bin/no-such-program"]))
    shop.until(lambda: shop.condition("Degraded")[0] == "True", "it says that it is degraded")
    assert {greeting(shop.address(slot=slot)) for slot in (0, 1)} == {"old"}
    shop.apply("web", spec(image, "newer"))
    shop.rolled_out()
    check_only(shop, client, 2, "newer")


def test_a_rollout_survives_kills_of_the_control_plane(
    shop: ControlPlane, client: docker.APIClient, image: str
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    shop.apply("web", spec(image, "0", replicas=3))
    revision = shop.rolled_out()["metadata"]["revision"]
    check_only(shop, client, 3, "0")
    for number in (1, 2, 3):
        shop.apply("web", spec(image, str(number)))
        time.sleep(chance.uniform(number - 1, number))
        addresses = ready_addresses(shop)
        shop.kill()
        answers = {greeting(f"http://{address}") for address in addresses}
        assert answers & {str(number - 1), str(number)}, "somebody serves all the time"
        shop.start()
        shop.rolled_out()
        check_only(shop, client, 3, str(number))
    assert shop.app()["metadata"]["revision"] == revision + 3
    kept = {one["Id"] for one in containers(shop, client)}
    shop.restart()
    shop.rolled_out()
    assert {one["Id"] for one in containers(shop, client)} == kept
    assert shop.run(str(shop.data), verb="verify").returncode == 0


def ready_addresses(plane: ControlPlane) -> list[str]:
    replicas = plane.app()["status"]["replicas"]
    return [one["addresses"]["http"] for one in replicas if one["ready"]]


WELL = "/tmp/well"  # a file that the image's own check looks for


def checked(client: docker.APIClient, word: str, retries: int, **more: Any) -> dict[str, Any]:
    """An app that only its image's own HEALTHCHECK says anything of."""
    check = f'HEALTHCHECK --interval=200ms --retries={retries} CMD ["cat", "{WELL}"]'
    routes = [{"host": HOST}]
    return spec(python_image(client, (check,)), word, health={}, routes=routes, **more)


def newest(plane: ControlPlane, client: docker.APIClient, count: int) -> str:
    """The youngest of so many running containers."""
    words = f"{count} containers run"
    plane.until(lambda: len(running(plane, client)) == count, words)
    return str(max(running(plane, client), key=lambda one: one["Created"])["Id"])


def running(plane: ControlPlane, client: docker.APIClient) -> list[dict[str, Any]]:
    return [one for one in containers(plane, client) if one["State"] == "running"]


def streak(client: docker.APIClient, container: str) -> int:
    """How often in a row its own check has failed."""
    return int(client.inspect_container(container)["State"]["Health"]["FailingStreak"])


def make_well(client: docker.APIClient, container: str) -> None:
    made: str = client.exec_create(container, ["sh", "-c", f": > {WELL}"])["Id"]
    client.exec_start(made)


@pytest.mark.needs("caddy")
def test_who_gets_requests_is_decided_by_the_images_own_health_check(
    shop: ControlPlane, client: docker.APIClient
) -> None:
    """Until it passes the old replica answers; where it fails for good, the rollout is held."""
    town = Town(shop)
    shop.apply("web", checked(client, "one", 1000))
    make_well(client, newest(shop, client, 1))
    shop.rolled_out()
    town.until_said("one")

    shop.apply("web", checked(client, "two", 1000))
    new = newest(shop, client, 2)
    said: set[str] = set()

    def has_failed_for_long() -> bool:
        said.add(town.get().text)
        return streak(client, new) >= 6  # without a check it would have been ready by now

    shop.until(has_failed_for_long, "the new one's check goes on failing")
    assert said == {"one"}
    assert len(running(shop, client)) == 2
    make_well(client, new)
    shop.rolled_out()
    town.until_said("two")
    assert newest(shop, client, 1) == new

    shop.apply("web", checked(client, "three", 1, rollout={"progressDeadline": "1s"}))
    said.clear()

    def is_held() -> bool:
        said.add(town.get().text)
        return shop.condition("Progressing") == ("False", "DeadlineExceeded")

    shop.until(is_held, "the rollout is held")
    assert said == {"two"}

    def is_told_why() -> bool:
        [why] = [one for one in shop.app()["status"]["conditions"] if one["type"] == "Degraded"]
        return "the image's own health check failed" in why["message"]

    shop.until(is_told_why, "whose check it is that fails is told")


def test_containers_of_another_installation_stay_untouched(
    shop: ControlPlane, client: docker.APIClient, image: str
) -> None:
    """As after a log was lost: the daemon runs what an earlier installation started."""
    labels = {"stateward/installation": "another", "stateward/app": "web"}
    alone = client.create_host_config(network_mode="none")
    foreign = client.create_container(image, ["sleep", "600"], labels=labels, host_config=alone)
    client.start(foreign)
    try:
        before = client.inspect_container(foreign)["State"]
        shop.apply("web", spec(image, "mine"))
        shop.rolled_out()
        check_only(shop, client, 1, "mine")
        shop.delete("web")
        shop.until(lambda: not containers(shop, client), "its own container is gone")
        assert client.inspect_container(foreign)["State"] == before
    finally:
        client.remove_container(foreign, force=True)


def test_the_target_is_the_daemon_that_was_named(shop: ControlPlane, daemon: DockerDaemon) -> None:
    target = shop.get("/api/v1/targets/local")
    assert target["spec"]["engine"] == "docker"
    assert target["spec"]["docker"]["host"] == daemon.host
