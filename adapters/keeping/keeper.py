"""The keeper: a program of its own that starts replicas, waits for them, and dates their logs.

It is the parent of all replicas of one data directory and outlives the control plane, so that an
exit code is known to whoever asks later. It decides nothing. Should it die, the replicas live on;
the next keeper finds them by their `pid` files, and only their exit codes are lost. It speaks JSON
lines over `.keeper/socket`, and ends when nobody listens and nothing runs.
"""

import contextlib
import errno
import fcntl
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from adapters.keeping.birth import bear
from adapters.keeping.dates import tend
from adapters.keeping.files import (
    EXIT,
    KEEPER,
    LOCK,
    PID,
    Process,
    directories,
    read_text,
    write_whole,
)
from adapters.keeping.kept import Kept, kill_group

TEND_SECONDS = 1.0  # how exact the dates of log lines are
VERSION = 1  # of what is said over the socket
_now = time.time  # noqa: TID251 - a program of its own has nobody to take a clock from


class Keeper:
    """Children, the sockets that ask about them, and one loop over both."""

    def __init__(self, root: str) -> None:
        self._kept: dict[str, Kept] = {}
        self._clients: dict[socket.socket, bytes] = {}
        self._events = selectors.DefaultSelector()
        self._files = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._files[1], self._files[1]))
        self._listen(root)
        self._adopt(root)

    def run(self) -> None:
        """Serve until nobody asks and nothing runs; the first has a while to come."""
        tended = 0.0
        while self._clients or self._kept or not tended:
            wait = TEND_SECONDS if self._kept or not tended else None
            for key, _ in self._events.select(wait):
                handle: Callable[[Any], None] = key.data
                handle(key.fileobj)
            if time.monotonic() - tended >= TEND_SECONDS:
                tended = time.monotonic()
                for kept in self._kept.values():
                    self._tend(kept)

    def _listen(self, root: str) -> None:
        os.chdir(f"{root}/{KEEPER}")  # A socket's path has 107 bytes at most; its name always fits.
        with contextlib.suppress(FileNotFoundError):
            os.unlink("socket")  # noqa: PTH108 - pathlib takes 10 ms to import
        os.umask(0o077)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind("socket")
        listener.listen(16)
        self._events.register(listener, selectors.EVENT_READ, self._welcome)
        wakeup, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._events.register(wakeup, selectors.EVENT_READ, self._reap)

    def _welcome(self, listener: socket.socket) -> None:
        client = listener.accept()[0]
        client.settimeout(5.0)  # One that does not read is dropped.
        self._clients[client] = b""
        self._events.register(client, selectors.EVENT_READ, self._hear)
        self._say(client, {"keeper": VERSION, "pid": os.getpid()})

    def _hear(self, client: socket.socket) -> None:
        try:
            received = client.recv(2**20)
        except OSError:
            received = b""
        if not received:
            self._drop(client)
            return
        *lines, self._clients[client] = (self._clients[client] + received).split(b"\n")
        for line in lines:
            asked = json.loads(line)
            answer: dict[str, Any] = {
                "start": self._start,
                "signal": self._signal,
                "environ": self._environ,
            }[asked["do"]](asked)
            self._say(client, {"to": asked["id"], **answer})

    def _say(self, client: socket.socket, what: dict[str, Any]) -> None:
        try:
            client.sendall(json.dumps(what).encode() + b"\n")
        except OSError:
            self._drop(client)

    def _drop(self, client: socket.socket) -> None:
        if self._clients.pop(client, None) is not None:
            self._events.unregister(client)
            client.close()

    def _start(self, order: dict[str, Any]) -> dict[str, Any]:
        """Run the program, unless this directory's program ever ran before."""
        directory = os.open(order["path"], os.O_RDONLY | os.O_DIRECTORY)
        lock = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o600, dir_fd=directory)
        problem = ""
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if read_text(directory, PID) is None:
                pid, problem = bear({**order, "files": self._files}, directory, lock, _now())
                if pid:
                    kept = Kept(order["path"], directory, pid, lock, env=order["env"])
                    self._kept[kept.path] = kept
                    return {}
        except BlockingIOError:
            pass  # It runs.
        except OSError as error:
            problem = f"{error.filename}: {error.strerror}"
        os.close(lock)
        os.close(directory)
        return {"problem": problem}

    def _signal(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Signal a replica; `gone` when there is none."""
        kept = self._kept.get(asked["path"])
        if kept is None:
            return {"gone": True}
        kept.signal(asked["signal"], group=asked["group"])
        return {}

    def _environ(self, asked: dict[str, Any]) -> dict[str, Any]:
        kept = self._kept.get(asked["path"])
        return {"env": kept.environment()} if kept else {"gone": True}

    def _adopt(self, root: str) -> None:
        """Take over what an earlier keeper started."""
        for path in directories(root):
            try:
                directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            except OSError:
                continue
            written = read_text(directory, PID)
            if written is None or read_text(directory, EXIT) is not None:
                os.close(directory)
                continue
            process = Process.parse(written)
            kept = self._kept[path] = Kept(path, directory, process.number)
            try:
                pidfd = os.pidfd_open(process.number)
            except OSError as error:
                if error.errno != errno.ESRCH:
                    raise
                self._end(kept, None)
                continue
            if not process.is_alive:  # Asked while the pidfd holds the number.
                os.close(pidfd)
                self._end(kept, None)
                continue
            kept.pidfd = pidfd
            self._events.register(pidfd, selectors.EVENT_READ, self._see_end)

    def _see_end(self, pidfd: int) -> None:
        """An adopted replica ended: its exit code was somebody else's to learn."""
        kept = next(kept for kept in self._kept.values() if kept.pidfd == pidfd)
        kill_group(kept.pid)
        self._end(kept, None)

    def _reap(self, wakeup: int) -> None:
        os.read(wakeup, 4096)
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            kill_group(ended.si_pid)  # Not reaped yet: the number is still its own.
            code = os.waitstatus_to_exitcode(os.waitpid(ended.si_pid, 0)[1])
            for kept in [kept for kept in self._kept.values() if kept.pid == ended.si_pid]:
                self._end(kept, code if code >= 0 else 128 - code)

    def _end(self, kept: Kept, exit_code: int | None) -> None:
        """Write its end, and only then let go of its lock."""
        self._tend(kept)
        with contextlib.suppress(FileNotFoundError):  # Without its directory, nobody asks.
            end = json.dumps({"code": exit_code, "at": _now()})
            write_whole(kept.directory, EXIT, end)
        if kept.pidfd is not None:
            self._events.unregister(kept.pidfd)
        kept.close()
        del self._kept[kept.path]
        for client in tuple(self._clients):
            self._say(client, {"ended": kept.path})

    def _tend(self, kept: Kept) -> None:
        with contextlib.suppress(FileNotFoundError):
            tend(kept.directory, kept.sizes)
        if kept.is_removed:
            kept.signal(signal.SIGKILL, group=True)


def main(root: str) -> int:
    """Become a data directory's keeper in the background; 0 when it serves, or another does."""
    lock = os.open(f"{root}/{KEEPER}/{LOCK}", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    hear, tell = os.pipe()
    if os.fork():
        os.close(tell)
        return 0 if os.read(hear, 1) else 1
    keeper = Keeper(root)
    os.write(tell, b"!")
    os.close(tell)
    keeper.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
