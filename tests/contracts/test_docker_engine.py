"""The Docker engine keeps the contract of engines, on a real daemon."""

from typing import override

import pytest

from tests.contracts.engine import EngineContract
from tests.support.docker_world import DockerWorld, client, daemon, docker_world

__all__ = ["client", "daemon", "docker_world"]


@pytest.mark.timeout(120)
class TestDockerEngine(EngineContract):
    @override
    @pytest.fixture
    def world(self, docker_world: DockerWorld) -> DockerWorld:
        return docker_world
