"""A real PostgreSQL for tests: a cluster of its own in a private directory, on a free port.

PostgreSQL refuses to be run by root, so then the user `postgres` runs it. One cluster serves a
whole run; each test gets a database of its own, copied from one that is migrated already.
"""

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Final, final

import asyncpg
import psutil

from adapters.postgres.schema import NEWEST, migrate
from adapters.postgres.server import Server
from tests.support.requirements import find_program

PATIENCE: Final = 60.0  # seconds: for a server to start or stop
USER: Final = "stateward"
GUARDED: Final = "guarded"
"""A user who needs a password, `RIGHT`."""
RIGHT: Final = "right"
QUICK: Final = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
"""For tests that crash no machine: they see the same, without waiting for the disk."""


@final
class Cluster:
    """One server. `settings` are those of postgresql.conf."""

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.settings = dict(settings)
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._names = count(1)

    def make(self) -> None:
        """Lay out an empty cluster."""
        options = ("--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "--username", USER)
        self.run("initdb", "-D", str(self.data), *options)
        rules = self.data / "pg_hba.conf"
        rules.write_text(f"host all {GUARDED} all scram-sha-256\n{rules.read_text()}")

    def copy(self, primary: "Cluster") -> None:
        """Become a standby of another cluster, that follows it from now on."""
        place = ("-h", "127.0.0.1", "-p", str(primary.port), "-U", USER)
        self.run("pg_basebackup", "-D", str(self.data), "-R", "--checkpoint=fast", *place)

    def promote(self) -> None:
        """Make a standby take writes."""
        self.run("pg_ctl", "promote", "-D", str(self.data), "-w", "-t", str(int(PATIENCE)))

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.directory),
            "max_connections": "200",
            **self.settings,
        }
        argv = [_program("postgres"), "-D", str(self.data)]
        argv += [f"--{name}={value}" for name, value in options.items()]
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, **_owner())
        ends = time.monotonic() + PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > ends:
                raise RuntimeError((self.directory / "server.log").read_text()[-2000:])
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends sessions and writes all down, SIGQUIT is a crash."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """`kill -9` of the server with all its processes: it writes nothing down."""
        process, self._process = self._process, None
        assert process is not None, "it does not run"
        leader = psutil.Process(process.pid)
        family = [leader, *leader.children(recursive=True)]
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait()
        psutil.wait_procs(family, PATIENCE)

    def url(self, database: str = "postgres", *, user: str = USER) -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def create(self, template: str = "template0") -> str:
        """Make a database, and return its address."""
        name = f"test_{next(self._names)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def migrated(self, schema: int = NEWEST) -> str:
        """Make a database with a schema of the log, and return its address."""
        template = f"schema_{schema}"
        if not self.execute(f"SELECT FROM pg_database WHERE datname = '{template}'"):
            self.execute(f"CREATE DATABASE {template} TEMPLATE template0")
            _run(migrate(Server(self.url(template)), schema))
        return self.create(template)

    def execute(self, sql: str, url: str | None = None) -> list[Any]:
        """Run one statement, and return its rows."""
        return _run(execute(url or self.url(), sql))

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return True

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs to its end, as the user that runs the server."""
        argv = [_program(program), *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, **_owner())
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr.strip()}")


async def execute(url: str, sql: str, *arguments: object) -> list[Any]:
    """Run one statement on a connection of its own, and return its rows."""
    connection = await asyncpg.connect(url, timeout=PATIENCE)
    try:
        return [tuple(row) for row in await connection.fetch(sql, *arguments)]
    finally:
        await connection.close()


@contextmanager
def cluster(
    settings: Mapping[str, str] | None = None, *, of: Cluster | None = None, on: Path | None = None
) -> Iterator[Cluster]:
    """A running server, gone afterwards.

    Args:
        settings: of postgresql.conf; by default nothing waits for the disk.
        of: the cluster to be a standby of.
        on: where its directory is made; else where temporary files are.
    """
    with private_directory(on) as directory:
        made = Cluster(directory, QUICK if settings is None else settings)
        if of is None:
            made.make()
        else:
            made.copy(of)
        try:
            made.start()
            if of is None:
                made.execute(f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{RIGHT}'")
            yield made
        finally:
            made.stop()


@contextmanager
def private_directory(on: Path | None = None) -> Iterator[Path]:
    """A directory of the user that runs the server."""
    directory = Path(tempfile.mkdtemp(prefix="stateward-postgres-", dir=on))
    try:
        if owner := _owner():
            shutil.chown(directory, owner["user"], owner["group"])
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _owner() -> dict[str, Any]:
    """As whom programs of the server are run."""
    if os.geteuid() != 0:
        return {}
    postgres = pwd.getpwnam("postgres")
    return {"user": postgres.pw_uid, "group": postgres.pw_gid, "extra_groups": [], "cwd": "/"}


def _program(name: str) -> str:
    found = find_program(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed")
    return str(found)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run[T](call: Coroutine[Any, Any, T]) -> T:
    """Run a call to its end, whether a loop runs here or not."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, call).result()
