"""How the keeper turns a fork of itself into a replica.

The child waits until its parent has written who it is: a program that runs is always known by its
`pid` file, whenever the keeper dies. What fails before the program runs is told to the parent.
"""

import os
import resource
import signal
from contextlib import suppress
from typing import Any

from adapters.keeping.files import PID, Process, boot_id, ticks_of, write_whole


def bear(order: dict[str, Any], directory: int, lock: int, now: float) -> tuple[int, str]:
    """Start the program of an order; return its process number, or 0 and what went wrong."""
    go, let_go = os.pipe()
    hear_problem, tell_problem = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(let_go)
            _become(order, directory, lock, go)
        except OSError as error:
            what = os.fsdecode(error.filename) if error.filename else "a limit or a stream"
            os.write(tell_problem, f"{what}: {error.strerror}".encode())
        finally:
            os._exit(127)
    os.close(go)
    os.close(tell_problem)
    process = Process(pid, ticks_of(pid) or "", boot_id(), now)
    try:
        write_whole(directory, PID, str(process))
        with suppress(BrokenPipeError):  # it has failed already, and told why
            os.write(let_go, b"!")
    finally:
        os.close(let_go)
    problem = os.read(hear_problem, 4096).decode()
    os.close(hear_problem)
    if not problem:
        return pid, ""
    os.waitpid(pid, 0)
    os.unlink(PID, dir_fd=directory)
    return 0, problem


def _become(order: dict[str, Any], directory: int, lock: int, go: int) -> None:
    """Become the program. Comes back only when the keeper died; raises what went wrong."""
    os.setsid()
    os.umask(0o022)
    signal.set_wakeup_fd(-1)
    # Python changed some, and whoever started us (as nohup does) may have had others ignored.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for standard, name in ((1, "stdout"), (2, "stderr")):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND  # appending survives that a log is cut
        os.dup2(os.open(name, flags, 0o600, dir_fd=directory), standard)
    for group in order["cgroups"]:
        with open(f"{group}/cgroup.procs", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write("0")
    if order["data_bytes"]:
        resource.setrlimit(resource.RLIMIT_DATA, (order["data_bytes"], order["data_bytes"]))
    resource.setrlimit(resource.RLIMIT_NOFILE, tuple(order["files"]))
    os.chdir(order["workdir"])
    os.set_inheritable(lock, True)  # noqa: FBT003 - the standard library's signature
    if os.read(go, 1):
        os.execvpe(order["argv"][0], order["argv"], order["env"])  # noqa: S606 - argv, no shell
