"""Logs, commands, images and absence, where Docker has ways of its own."""

import asyncio
import threading
import time
from pathlib import Path

import pytest

from adapters.docker.engine import docker_answers
from domain.secret import SecretText
from reconcilers.ports import EngineUnavailable, ImageUnavailable
from tests.contracts.engine_world import PATIENCE, eventually, news
from tests.support.docker_daemon import DockerDaemon
from tests.support.docker_world import (
    OURS,
    DockerWorld,
    client,
    daemon,
    docker_world,
    engine_of,
)

__all__ = ["client", "daemon", "docker_world"]


async def test_a_long_line_that_the_daemon_splits_is_one_line(docker_world: DockerWorld) -> None:
    write = "import sys; sys.stdout.write('x' * 50_000 + chr(10) + 'unfinished')"
    order = docker_world.order(" ", command=("python3", "-c", write))
    replica = await docker_world.start(order)
    await docker_world.exited(order)
    assert [len(line.text) for line in await docker_world.log(replica)] == [50_000, 10]


async def test_a_flood_of_lines_arrives_whole_and_in_order(docker_world: DockerWorld) -> None:
    """Of a program that runs on: the daemon may cut a follower short when a program ends."""
    write = "import time\nfor number in range(5000): print(number, flush=True)\ntime.sleep(600)"
    order = docker_world.order(" ", command=("python3", "-c", write))
    replica = await docker_world.start(order)
    said = docker_world.engine.io.logs(replica, tail=None, since=None, follow=True)
    lines: list[bytes] = []
    async with asyncio.timeout(60):
        async for line in said:
            lines.append(line.text)
            if len(lines) == 5000:
                break
    await said.aclose()  # type: ignore[attr-defined]
    assert lines == [str(number).encode() for number in range(5000)]


async def test_a_followed_log_can_be_left_at_once(docker_world: DockerWorld) -> None:
    replica = await docker_world.serve(docker_world.order())
    lines = docker_world.engine.io.logs(replica, tail=None, since=None, follow=True)
    assert await anext(lines)
    await lines.aclose()  # type: ignore[attr-defined]
    await _no_thread_reads()


async def test_a_watch_ends_when_its_reader_goes(docker_world: DockerWorld) -> None:
    async with news(docker_world.engine):
        assert _reading_threads()
    await _no_thread_reads()


async def test_a_command_that_exceeded_its_time_is_gone(
    docker_world: DockerWorld, daemon: DockerDaemon
) -> None:
    if not daemon.owned:
        pytest.skip("whether the daemon's processes can be seen from here is not known")
    replica = await docker_world.serve(docker_world.order())
    with pytest.raises(TimeoutError):
        await docker_world.engine.io.run(replica, ["sleep", "71"], timeout_seconds=0.3)

    async def is_gone() -> bool:
        processes = docker_world.client.top(replica.id)["Processes"]
        return not any(process[-1].endswith("sleep 71") for process in processes)

    await eventually(is_gone)


async def test_the_output_of_a_command_is_bounded(docker_world: DockerWorld) -> None:
    replica = await docker_world.serve(docker_world.order())
    write = ["python3", "-c", "print('x' * 3_000_000)"]
    answer = await docker_world.engine.io.run(replica, write, timeout_seconds=PATIENCE)
    assert (answer.exit_code, len(answer.stdout)) == (0, 2**20)


async def test_an_image_that_may_not_be_pulled_is_not_asked_for(docker_world: DockerWorld) -> None:
    with pytest.raises(ImageUnavailable, match="Never"):
        await docker_world.engine.images.resolve("nothing:1", policy="Never", credentials=None)


async def test_an_id_that_is_not_there_cannot_be_pulled(docker_world: DockerWorld) -> None:
    with pytest.raises(ImageUnavailable, match="no name to pull it by"):
        await docker_world.engine.images.resolve(
            f"sha256:{'0' * 64}", policy="Always", credentials=None
        )


async def test_always_asks_the_registry_though_the_image_is_there(
    docker_world: DockerWorld,
) -> None:
    local = f"localhost:1/here:{OURS}"
    docker_world.client.tag(docker_world.image or "", "localhost:1/here", OURS)
    resolve = docker_world.engine.images.resolve
    secret = {"username": SecretText("me"), "password": SecretText("p4ssw0rd")}
    try:
        assert await resolve(local, policy="IfNotPresent", credentials=None)
        with pytest.raises(ImageUnavailable, match="localhost:1/here"):
            await resolve(local, policy="Always", credentials=secret)
    finally:
        docker_world.client.remove_image(local)


async def test_without_a_daemon_everything_is_unavailable(tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/docker.sock"
    answer = docker_answers(nowhere)
    assert answer is not None
    assert "No such file" in answer
    engine = engine_of(nowhere, OURS)
    with pytest.raises(EngineUnavailable, match=r"docker\.sock does not answer"):
        await engine.replicas.list()
    with pytest.raises(EngineUnavailable):
        await engine.grounds.prepare("shop")
    with pytest.raises(EngineUnavailable):
        await engine.images.resolve("x", policy="Always", credentials=None)
    await engine.close()


async def test_a_daemon_that_goes_and_comes_is_missed_and_then_heard_again(
    docker_world: DockerWorld, daemon: DockerDaemon
) -> None:
    if not daemon.owned:
        pytest.skip("this daemon runs other people's containers, and is not restarted")
    order = docker_world.order()
    await docker_world.serve(order)
    async with news(docker_world.engine) as events:
        await asyncio.to_thread(daemon.stop)
        with pytest.raises(EngineUnavailable):
            await docker_world.engine.replicas.list()
        await asyncio.to_thread(daemon.start)
        async with asyncio.timeout(PATIENCE):
            while (await anext(events)).app is not None:
                pass  # the last words of the old daemon
        await docker_world.exited(order)


def _reading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "docker-feed"]


async def _no_thread_reads() -> None:
    async def none_reads() -> bool:
        return not _reading_threads()

    began = time.monotonic()
    await eventually(none_reads)
    assert time.monotonic() - began < PATIENCE
