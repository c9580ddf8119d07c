"""What the process engine does beyond the contract: environment, limits, disk, logs, listing."""

import signal
import stat
import sys
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

import msgspec
import pytest

from adapters.keeping.files import KEEPER, directories
from adapters.process.engine import ProcessEngine
from adapters.process.filed import OUT_OF_MEMORY
from adapters.process.limits import Limits
from domain.secret import SecretText
from reconcilers.ports import (
    EngineUnavailable,
    ImageUnavailable,
    Replica,
    ReplicaName,
    ReplicaState,
    StartFailed,
    StartReplica,
)
from tests.contracts.engine_world import DATA, PATIENCE
from tests.support.processes import ProcessWorld
from tests.support.udp import UDP_ECHO, udp_answer, udp_echo

PYTHON = (sys.executable, "-I", "-S", "-c")
MEBIBYTE = 2**20


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ProcessWorld]:
    world = ProcessWorld(tmp_path)
    yield world
    await world.close()


def script(world: ProcessWorld, program: str, **what: object) -> StartReplica:
    order = world.order(command=PYTHON, ports=())
    return msgspec.structs.replace(order, args=(program,), **what)


async def ran(world: ProcessWorld, order: StartReplica) -> tuple[Replica, list[str]]:
    """Run to the end; the replica and its lines."""
    await world.start(order)
    ended = await world.exited(order)
    return ended, [line.text.decode() for line in await world.log(ended)]


async def test_a_port_of_the_host_may_be_one_of_udp(world: ProcessWorld) -> None:
    order = udp_echo(script(world, UDP_ECHO))
    await world.start(order)
    assert await udp_answer(order) == b"who?"


async def test_a_program_gets_its_variables_and_nothing_of_ours(
    world: ProcessWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATEWARD_TEST_LEAK", "ours")
    program = "import os; print(sorted(os.environ))"
    _, lines = await ran(world, script(world, program, env={"MODE": "x"}, volumes=(DATA,)))
    [keeper] = world.keepers()
    assert "STATEWARD_TEST_LEAK" not in Path(f"/proc/{keeper}/environ").read_text()
    assert lines == [str(["HOME", "LANG", "MODE", "PATH", "VOLUME_DATA"])]


async def test_an_app_may_choose_its_own_path_and_place(world: ProcessWorld) -> None:
    program = "import os; print(os.environ['PATH'], os.getcwd())"
    order = script(world, program, env={"PATH": "/opt/bin"}, workdir="/usr")
    assert (await ran(world, order))[1] == ["/opt/bin /usr"]


async def test_a_program_has_no_files_open_but_its_own(world: ProcessWorld) -> None:
    program = "import os; print([os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{n}')])"  # noqa: E501
    order = script(world, program)
    _, [line] = await ran(world, order)
    path = world.path(order)
    assert line == str(["/dev/null", f"{path}/stdout", f"{path}/stderr", f"{path}/lock"])


async def test_a_program_ignores_no_signal_unless_it_says_so(world: ProcessWorld) -> None:
    order = msgspec.structs.replace(
        world.order(command=("cat",), ports=()), args=("/proc/self/status",)
    )
    _, lines = await ran(world, order)
    masks = [line.split(":\t")[1] for line in lines if line.startswith(("SigIgn", "SigBlk"))]
    of_libc = 0b11 << 31  # signals 32 and 33 are its own, and nobody else may set them
    assert [int(mask, 16) & ~of_libc for mask in masks] == [0, 0]


async def test_no_secret_is_on_disk_or_in_an_argument(world: ProcessWorld) -> None:
    secret = "p4ssw0rd-p4ssw0rd"
    replica = await world.serve(world.order(env={"TOKEN": SecretText(secret)}))
    files = [path for path in world.data.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not [path for path in files if secret in path.read_text()]
    for pid in (world.pid(replica), *world.keepers()):
        assert secret not in Path(f"/proc/{pid}/cmdline").read_text()


async def test_the_keeper_s_socket_is_for_its_owner_alone(world: ProcessWorld) -> None:
    await world.serve(world.order())
    folder = world.data / "replicas" / KEEPER
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "socket").stat().st_mode) & 0o077 == 0


async def test_a_data_directory_may_have_a_long_path(tmp_path: Path) -> None:
    world = ProcessWorld(tmp_path / ("long-" * 30))
    assert (await world.serve(world.order())).state is ReplicaState.RUNNING
    await world.close()


async def test_images_belong_elsewhere(world: ProcessWorld) -> None:
    with pytest.raises(ImageUnavailable, match="runs commands of its host, not images"):
        await world.engine.images.resolve("nginx:1", policy="Always", credentials=None)
    with pytest.raises(StartFailed, match="runs no images"):
        await world.start(msgspec.structs.replace(world.order(), image="nginx:1"))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"command": ()}, "needs a command"),
        ({"stop_signal": "SIGNAL"}, "no signal 'SIGNAL'"),
        ({"workdir": "/no/such/place"}, "/no/such/place"),
        ({"command": ("/etc/hostname",)}, "/etc/hostname"),
    ],
    ids=["no command", "no signal", "no workdir", "not executable"],
)
async def test_what_cannot_be_run_is_refused_and_leaves_nothing(
    world: ProcessWorld, what: dict[str, object], said: str
) -> None:
    with pytest.raises(StartFailed, match=said):
        await world.start(msgspec.structs.replace(world.order(), **what))
    assert await world.engine.replicas.list() == []
    assert not list(directories(str(world.data / "replicas")))
    assert not world.groups()


async def test_the_stop_signal_is_the_app_s(world: ProcessWorld) -> None:
    program = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(9))\n"
        "print('up', flush=True)\n"
        "time.sleep(600)\n"
    )
    order = script(world, program, stop_signal="SIGUSR1")
    await world.logged(await world.start(order), b"up")
    await world.engine.replicas.stop(await world.seen(order), grace=PATIENCE)
    assert (await world.seen(order)).exit_code == 9


async def test_a_limit_of_memory_holds(world: ProcessWorld) -> None:
    order = script(
        world,
        "print('up', flush=True); x = bytearray(200 << 20); print(len(x))",
        memory_bytes=64 * MEBIBYTE,
    )
    ended, lines = await ran(world, order)
    if not world.groups():
        pytest.skip("this host lets nobody here make control groups")
    assert (ended.exit_code, ended.reason) == (128 + signal.SIGKILL, OUT_OF_MEMORY)
    assert lines == ["up"]


async def test_limits_are_written_into_control_groups(world: ProcessWorld) -> None:
    await world.serve(world.order(cpu_millis=250, memory_bytes=64 * MEBIBYTE))
    if not (groups := world.groups()):
        pytest.skip("this host lets nobody here make control groups")
    written = {
        path.name: path.read_text().strip()
        for group in groups
        for name in ("memory.limit_in_bytes", "memory.max", "cpu.cfs_quota_us", "cpu.max")
        if (path := Path(group, name)).exists()
    }
    assert set(written.values()) <= {str(64 * MEBIBYTE), "25000", "25000 100000"}
    assert len(written) == 2


async def test_without_control_groups_it_says_what_does_not_hold(tmp_path: Path) -> None:
    world = ProcessWorld(tmp_path / "data", control_groups=tmp_path / "none")
    program = "import resource; print(resource.getrlimit(resource.RLIMIT_DATA))"
    order = script(world, program, cpu_millis=250, memory_bytes=64 * MEBIBYTE)
    ended, lines = await ran(world, order)
    assert lines == [str((64 * MEBIBYTE, 64 * MEBIBYTE))]
    assert "CPU limit of 250m does not hold" in ended.reason
    assert "memory limit holds per process only" in ended.reason
    await world.close()


def test_version_2_of_control_groups_is_written_as_the_kernel_reads_it(tmp_path: Path) -> None:
    ours = tmp_path / "stateward" / "i"
    (ours / "r").mkdir(parents=True)
    (tmp_path / "cgroup.controllers").touch()
    for folder in (tmp_path, tmp_path / "stateward", ours):
        (folder / "cgroup.subtree_control").touch()
    for name in ("memory.max", "cpu.max"):
        (ours / "r" / name).touch()
    fence = Limits(tmp_path, "i").fence("r", 250, 64 * MEBIBYTE)
    assert fence == ((str(ours / "r"),), None, "")
    assert (ours / "r" / "memory.max").read_text() == str(64 * MEBIBYTE)
    assert (ours / "r" / "cpu.max").read_text() == "25000 100000"
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +memory"


async def test_two_targets_of_this_host_leave_each_others_replicas_alone(
    world: ProcessWorld, tmp_path: Path
) -> None:
    """Both list all that is theirs, and end what is left of replicas that they do not know."""
    replica = await world.serve(world.order())
    if not world.groups():
        pytest.skip("this host lets nobody here make control groups")
    second = ProcessEngine(tmp_path / "targets" / "second", world.installation)
    assert await second.ports.replicas.list() == []
    await second.close()
    assert (await world.fetch(replica.addresses[0], "/"))[0] == HTTPStatus.OK
    assert (await world.engine.replicas.list())[0].state is ReplicaState.RUNNING


async def test_more_output_than_anyone_reads_is_dropped(world: ProcessWorld) -> None:
    replica = await world.serve(world.order())
    argv = [*PYTHON, "import sys; sys.stdout.write('x' * 3_000_000)"]
    result = await world.engine.io.run(replica, argv, timeout_seconds=PATIENCE)
    assert (result.exit_code, result.stdout) == (0, b"x" * MEBIBYTE)


async def test_what_is_in_the_way_is_never_taken_for_a_replica(world: ProcessWorld) -> None:
    await world.engine.grounds.prepare("shop")
    apps = world.data / "replicas" / "shop"
    (apps / "note.txt").touch()
    (apps / "web").mkdir()
    (apps / "web" / "r1.0.1").mkdir()
    (apps / "web" / "r1.0.1" / "order.json").write_text("{}")
    (apps / "web" / "r2.0.1").touch()
    (apps / "web" / "r3.0.1").symlink_to("/")
    assert await world.engine.replicas.list() == []
    replica = await world.serve(world.order())
    assert await world.engine.replicas.list() == [replica]
    await world.engine.replicas.remove(replica)
    assert (apps / "web" / "r1.0.1" / "order.json").exists()


async def test_a_directory_that_cannot_be_made_is_no_verdict_on_the_app(tmp_path: Path) -> None:
    (tmp_path / "replicas").touch()
    world = ProcessWorld(tmp_path)
    with pytest.raises(EngineUnavailable):
        await world.engine.replicas.start(world.order())
    assert not world.groups()


async def test_ports_of_two_replicas_differ(world: ProcessWorld) -> None:
    names = [ReplicaName("shop", "web", 1, slot, 1) for slot in range(8)]
    replicas = [await world.start(world.order(name=name)) for name in names]
    assert len({replica.addresses[0].number for replica in replicas}) == len(names)


async def test_what_a_kept_process_wrote_goes_over_to_the_one_that_returns(
    world: ProcessWorld,
) -> None:
    program = "import os; print(os.path.exists('mark')); open('mark', 'w'); print(os.getcwd())"
    first = script(world, program)
    ended, lines = await ran(world, first)
    await world.engine.replicas.stop(ended, grace=1, keep=True)
    name = first.name._replace(revision=first.name.revision + 2)
    now, again = await ran(world, msgspec.structs.replace(first, name=name, reuses=first.name))
    assert (lines[0], again[0]) == ("False", "True")
    assert lines[1] != again[1]
    assert [one.id for one in await world.engine.replicas.list()] == [now.id]
