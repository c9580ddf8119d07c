"""Labels prove little, since whoever has the daemon may set them: what is listed is told apart."""

from collections.abc import Mapping

import pytest

from adapters.docker import labels
from tests.support.docker_world import OTHERS, OURS, STRANGER, DockerWorld, client, daemon
from tests.support.docker_world import docker_world as world

__all__ = ["client", "daemon", "world"]
pytestmark = pytest.mark.timeout(120)

WHOLE = {
    labels.INSTALLATION: OURS,
    labels.PROJECT: "shop",
    labels.APP: "web",
    labels.REVISION: "3",
    labels.SLOT: "0",
    labels.ATTEMPT: "1",
}


def squatter(world: DockerWorld, changes: Mapping[str, str], *volumes: str) -> str:
    """A container that somebody made and labelled by hand; its volumes have no names."""
    marks = {**WHOLE, **STRANGER, **changes}
    made = world.client.create_container(
        world.image or "", ["sleep", "60"], labels=marks, volumes=list(volumes)
    )
    return str(made["Id"])


@pytest.mark.parametrize(
    "changes",
    [
        {labels.INSTALLATION: "another"},
        {labels.INSTALLATION: OURS.upper()},
        {labels.INSTALLATION: ""},
        {labels.REVISION: "three"},
        {labels.SLOT: ""},
    ],
)
async def test_labels_that_no_stateward_writes_are_not_listed(
    world: DockerWorld, changes: Mapping[str, str]
) -> None:
    squatter(world, changes)
    assert list(await world.other.foreign.list()) == []
    assert list(await world.other.foreign.list(("shop", "web"))) == []


async def test_volumes_without_a_name_stay_as_well(world: DockerWorld) -> None:
    made = squatter(world, {}, "/data")
    [mount] = world.client.inspect_container(made)["Mounts"]
    try:
        [found] = await world.other.foreign.list()
        assert (found.id, found.installation) == (made, OURS)
        await world.other.foreign.end(found, grace=0)
        assert world.client.inspect_volume(mount["Name"])
    finally:
        world.client.remove_volume(mount["Name"], force=True)


async def test_two_targets_on_one_daemon_own_the_same(world: DockerWorld) -> None:
    squatter(world, {labels.INSTALLATION: OTHERS, labels.TARGET: "elsewhere"})
    assert list(await world.other.foreign.list()) == []
