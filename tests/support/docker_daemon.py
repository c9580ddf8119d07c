"""A Docker daemon to test against: the one that answers, or one of our own.

Our own lives in a directory of its own (socket, data, containerd, address pool), changes neither
firewall nor routing, and is stopped with everything it made. The directory is locked while it is
used; what a killed run left in it is taken over and cleared by the next.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, final

import docker
import psutil
import pytest

from adapters.docker.engine import docker_answers

SYSTEM_HOST = "unix:///var/run/docker.sock"
SLOTS = 8  # test runs at the same time on one machine
PATIENCE = 60.0  # seconds for a daemon to start or stop


class NoDocker(Exception):
    """There is no daemon to be had here; the message is a sentence that says why."""


@final
class DockerDaemon:
    """A daemon at `host`. `owned` says that it is ours alone, and may be restarted."""

    def __init__(self, host: str, own: "_OwnDaemon | None" = None) -> None:
        self.host = host
        self._own = own

    @property
    def owned(self) -> bool:
        return self._own is not None

    def stop(self) -> None:
        assert self._own is not None, "only a daemon of our own may be stopped"
        self._own.stop()

    def start(self) -> None:
        assert self._own is not None, "only a daemon of our own may be started"
        self._own.start()


@contextmanager
def running_daemon() -> Iterator[DockerDaemon]:
    """Yield the daemon that answers, or start one for the time of the block.

    Raises:
        NoDocker: neither is possible.
    """
    for host in (os.environ.get("DOCKER_HOST"), SYSTEM_HOST):
        if host and docker_answers(host) is None:
            yield DockerDaemon(host)
            return
    if sys.platform != "linux" or os.geteuid() != 0:
        raise NoDocker("no Docker daemon answers, and only root on Linux may start one")
    if shutil.which("dockerd") is None:
        raise NoDocker("no Docker daemon answers, and dockerd is not installed")
    with _free_slot() as (slot, home):
        own = _OwnDaemon(slot, home)
        try:
            own.start()
            own.clear()
            yield DockerDaemon(own.host, own)
            own.clear()
        finally:
            own.stop()
            own.erase()


_shared = ExitStack()
_sharers: list[DockerDaemon] = []


@pytest.fixture(scope="session")
def daemon() -> Iterator[DockerDaemon]:
    """One daemon for the whole run, however many test modules import this fixture."""
    if not _sharers:
        try:
            _sharers.append(_shared.enter_context(running_daemon()))
        except NoDocker as reason:
            pytest.skip(str(reason))
    _sharers.append(_sharers[0])
    yield _sharers[0]
    _sharers.pop()
    if len(_sharers) == 1:
        _sharers.clear()
        _shared.close()


@final
class _OwnDaemon:
    def __init__(self, slot: int, home: Path) -> None:
        self._slot = slot
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        self.host = f"unix://{home}/docker.sock"

    def start(self) -> None:
        self._end_orphan()
        (self._home / "daemon.json").write_text("{}")
        log = self._home / "dockerd.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                self._argv(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        deadline = time.monotonic() + PATIENCE
        while reason := docker_answers(self.host):
            if self._process.poll() is not None or time.monotonic() > deadline:
                lines = log.read_text(errors="replace").splitlines() or [reason]
                raise NoDocker(f"no Docker daemon answers, and dockerd did not start: {lines[-1]}")
            time.sleep(0.05)

    def _argv(self) -> list[str]:
        home = self._home
        return [
            "dockerd",
            f"--host={self.host}",
            f"--config-file={home}/daemon.json",
            f"--data-root={home}/data",
            f"--exec-root={home}/run",
            f"--pidfile={home}/dockerd.pid",
            # in case a system containerd runs, which dockerd then uses
            f"--containerd-namespace=stateward-test-{self._slot}",
            f"--containerd-plugins-namespace=stateward-test-plugins-{self._slot}",
            # leave the machine's firewall and routing alone: the host reaches containers anyway
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-masq=false",
            "--ip-forward=false",
            "--dns-opt=timeout:1",  # a name that nobody knows is soon known to be none
            "--dns-opt=attempts:1",
            f"--default-address-pool=base=10.{213 + self._slot}.0.0/16,size=24",
        ]

    def _end_orphan(self) -> None:
        pidfile = self._home / "dockerd.pid"
        with suppress(OSError, ValueError, psutil.NoSuchProcess):
            orphan = psutil.Process(int(pidfile.read_text()))
            if f"--host={self.host}" in orphan.cmdline():
                orphan.terminate()
                psutil.wait_procs([orphan], timeout=PATIENCE)
        for file in (pidfile, self._home / "run" / "containerd" / "containerd.pid"):
            file.unlink(missing_ok=True)
        for process in psutil.process_iter(["cmdline"]):  # of a daemon that was killed as well
            if any(f"{self._home}/run/" in word for word in process.info["cmdline"] or ()):
                _kill_tree(process)

    def clear(self) -> None:
        """Remove every container, network and volume; images stay."""
        client = docker.APIClient(self.host, version="auto", timeout=int(PATIENCE))
        try:
            for container in client.containers(all=True):
                client.remove_container(container["Id"], force=True, v=True)
            for network in client.networks():
                if network["Name"] not in {"bridge", "host", "none"}:
                    client.remove_network(network["Id"])
            for volume in client.volumes()["Volumes"] or ():
                client.remove_volume(volume["Name"])
        finally:
            client.close()

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            _kill_tree(psutil.Process(self._process.pid))
            self._process.wait()
        self._process = None

    def erase(self) -> None:
        mounts = [line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for mount in reversed(mounts):
            if mount.startswith(f"{self._home}/"):
                subprocess.run(["/bin/umount", "--lazy", mount], check=False)
        shutil.rmtree(self._home, ignore_errors=True)


def _kill_tree(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        for member in (*process.children(recursive=True), process):
            member.kill()


@contextmanager
def _free_slot() -> Iterator[tuple[int, Path]]:
    for slot in range(SLOTS):
        home = Path(tempfile.gettempdir()) / f"stateward-docker-{slot}"
        lock = home.with_suffix(".lock").open("w")
        with lock:
            if _locked(lock):
                home.mkdir(mode=0o700, exist_ok=True)
                try:
                    yield slot, home
                finally:
                    Path(lock.name).unlink()
                return
    raise NoDocker(f"no Docker daemon answers, and {SLOTS} test runs have one of their own already")


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # its last user removes it: then this lock is one on nothing
        return os.path.samestat(os.fstat(file.fileno()), Path(file.name).stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def erase_installation(client: docker.APIClient, installation: str) -> None:
    """Remove every container, network and volume of an installation, as `docker` would."""
    owned = {"label": f"stateward/installation={installation}"}
    for container in client.containers(all=True, filters=owned):
        with suppress(docker.errors.NotFound):  # whoever stopped it may be removing it, too
            client.remove_container(container["Id"], force=True, v=True)
    for network in client.networks(filters=owned):
        client.remove_network(network["Id"])
    for volume in client.volumes(filters=owned)["Volumes"] or ():
        client.remove_volume(volume["Name"])
