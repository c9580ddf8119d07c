"""What becomes of processes when the control plane, the keeper or the machine dies."""

import asyncio
import fcntl
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from adapters.keeping.files import EXIT, LOCK, PID, Process
from adapters.process.engine import ProcessEngine
from adapters.process.filed import UNSEEN
from reconcilers.ports import EngineEvent, ReplicaName, ReplicaState
from tests.contracts.engine_world import PATIENCE, eventually, news
from tests.support.processes import ProcessWorld


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ProcessWorld]:
    world = ProcessWorld(tmp_path)
    yield world
    await world.close()


async def keeper_of(world: ProcessWorld) -> int:
    [pid] = world.keepers()
    return pid


async def test_a_killed_control_plane_leaves_its_replicas_to_the_next(
    world: ProcessWorld,
) -> None:
    order = world.order()
    first = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.control_plane",
        str(world.data),
        world.installation,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert first.stdin
    assert first.stdout
    first.stdin.write(msgspec.json.encode(order) + b"\n")
    assert await first.stdout.readline() == b"started\n"
    first.kill()
    await first.wait()

    adopted = await world.seen(order)
    assert adopted.state is ReplicaState.RUNNING
    await world.answers(adopted.addresses[0])
    async with news(world.engine) as events:
        with pytest.raises(OSError, match=r".*"):
            await world.fetch(adopted.addresses[0], "/exit/5")
        async with asyncio.timeout(PATIENCE):
            assert await anext(events) == EngineEvent(("shop", "web"))
    assert (await world.seen(order)).exit_code == 5


async def test_a_killed_control_plane_s_replica_can_be_stopped(world: ProcessWorld) -> None:
    order = world.order()
    await world.serve(order)
    await world.process_engine.close()
    again = ProcessEngine(world.data, world.installation)
    [adopted] = await again.ports.replicas.list()
    await again.ports.replicas.stop(adopted, grace=5)
    [stopped] = await again.ports.replicas.list()
    assert (stopped.state, stopped.exit_code) == (ReplicaState.EXITED, 128 + signal.SIGTERM)
    await again.close()


async def test_an_end_while_no_control_plane_runs_is_known_to_the_next(
    world: ProcessWorld,
) -> None:
    order = world.order()
    replica = await world.serve(order)
    await world.process_engine.close()
    with pytest.raises(OSError, match=r".*"):
        await world.fetch(replica.addresses[0], "/exit/6")
    await eventually(lambda: _exists(world.path(order) / EXIT))
    again = ProcessEngine(world.data, world.installation)
    [ended] = await again.ports.replicas.list()
    assert ended.exit_code == 6
    await again.close()


async def test_a_killed_keeper_leaves_its_replicas_to_the_next(world: ProcessWorld) -> None:
    order = world.order()
    replica = await world.serve(order)
    async with news(world.engine) as events:
        first = await keeper_of(world)
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            assert await anext(events) == EngineEvent(None)
        assert await keeper_of(world) != first
        assert await world.seen(order) == replica
        await world.answers(replica.addresses[0])

        os.kill(world.pid(replica), signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            assert await anext(events) == EngineEvent(("shop", "web"))
    ended = await world.seen(order)
    assert (ended.state, ended.exit_code) == (ReplicaState.EXITED, None)
    assert UNSEEN in ended.reason


async def test_a_replica_of_a_killed_keeper_can_be_stopped(world: ProcessWorld) -> None:
    order = world.order("serve", "stubborn")
    replica = await world.serve(order)
    os.kill(await keeper_of(world), signal.SIGKILL)
    await world.engine.io.run(replica, [*world.program, "both"], timeout_seconds=PATIENCE)
    await world.engine.replicas.stop(replica, grace=0.2)
    assert (await world.seen(order)).state is ReplicaState.EXITED


async def test_an_end_that_nobody_saw_is_an_end(world: ProcessWorld) -> None:
    order = world.order()
    replica = await world.serve(order)
    pid = world.pid(replica)
    os.kill(await keeper_of(world), signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    ended = await world.exited(order)
    assert ended.reason == UNSEEN
    assert ended.finished_at is not None
    assert ended.started_at is not None
    assert ended.finished_at >= ended.started_at - 1


async def test_what_ran_before_a_reboot_has_ended(world: ProcessWorld) -> None:
    order = world.order()
    await world.create_only(order)
    # The number in it is that of a living process, but of another boot; its lock is free.
    before = Process(os.getpid(), "1", "00000000-0000-4000-8000-000000000000", 1000.0)
    (world.path(order) / PID).write_text(str(before))
    (world.path(order) / LOCK).touch()
    (world.path(order) / "stdout").touch()
    (world.path(order) / "stderr").touch()
    assert (await world.seen(order)).state is ReplicaState.EXITED
    await world.engine.replicas.start(order)
    ended = await world.seen(order)
    assert (ended.state, ended.started_at) == (ReplicaState.EXITED, 1000.0)
    await world.engine.replicas.stop(ended, grace=0)
    await world.engine.replicas.remove(ended)
    assert not world.path(order).exists()


async def test_a_replica_runs_exactly_while_its_lock_is_held(world: ProcessWorld) -> None:
    order = world.order()
    replica = await world.serve(order)
    with (world.path(order) / LOCK).open("r+") as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        await world.engine.replicas.stop(replica, grace=5)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def test_a_process_whose_directory_is_gone_is_ended(world: ProcessWorld) -> None:
    replica = await world.serve(world.order())
    shutil.rmtree(world.path(replica))
    await eventually(lambda: _is_dead(world, replica.addresses[0]))


async def test_what_a_replica_leaves_behind_ends_with_it(world: ProcessWorld) -> None:
    order = world.order(
        command=(sys.executable, "-I", "-S", "-c"),
        name=ReplicaName("shop", "parent", 1, 0, 1),
        ports=(),
    )
    program = (
        "import os, time\n"
        "pid = os.fork()\n"
        "if pid: print(pid, flush=True)\n"
        "time.sleep(0 if pid else 600)\n"
    )
    order = msgspec.structs.replace(order, args=(program,))
    await world.start(order)
    ended = await world.exited(order)
    [line] = await world.log(ended)
    await eventually(lambda: _is_gone(int(line.text)))


async def test_a_daemon_that_left_its_session_ends_with_its_replica(world: ProcessWorld) -> None:
    program = (
        "import os, time\n"
        "pid = os.fork()\n"
        "if not pid: os.setsid()\n"
        "print(os.getpid(), flush=True)\n"
        "time.sleep(600)\n"
    )
    order = msgspec.structs.replace(
        world.order(command=(sys.executable, "-I", "-S", "-c"), ports=()), args=(program,)
    )
    replica = await world.start(order)
    if not world.groups():
        pytest.skip("this host lets nobody here make control groups")

    async def both_wrote() -> bool:
        return len(await world.log(replica)) == 2

    await eventually(both_wrote)
    pids = [int(line.text) for line in await world.log(replica)]
    await world.engine.replicas.stop(replica, grace=1)

    async def both_are_gone() -> bool:
        return all([await _is_gone(pid) for pid in pids])

    await eventually(both_are_gone)


async def test_a_daemon_ends_when_the_replica_that_left_it_is_removed(
    world: ProcessWorld,
) -> None:
    program = (
        "import os, time\n"
        "pid = os.fork()\n"
        "if not pid: os.setsid()\n"
        "if not pid: print(os.getpid(), flush=True)\n"
        "while pid and not os.path.getsize(os.readlink('/proc/self/fd/1')): time.sleep(0.01)\n"
        "time.sleep(0 if pid else 600)\n"
    )
    order = msgspec.structs.replace(
        world.order(command=(sys.executable, "-I", "-S", "-c"), ports=()), args=(program,)
    )
    await world.start(order)
    if not world.groups():
        pytest.skip("this host lets nobody here make control groups")
    ended = await world.exited(order)
    [line] = await world.log(ended)
    assert not await _is_gone(int(line.text))
    await world.engine.replicas.remove(ended)
    await eventually(lambda: _is_gone(int(line.text)))


async def _exists(path: Path) -> bool:
    return path.exists()


async def _is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists() or _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    return ") Z " in Path(f"/proc/{pid}/stat").read_text()


async def _is_dead(world: ProcessWorld, address: object) -> bool:
    try:
        await world.fetch(address, "/")  # type: ignore[arg-type]
    except OSError:
        return True
    return False
