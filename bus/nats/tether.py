"""Becomes the program of its arguments, which ends when the process that started it does.

Run as a script: `tether.py PARENT_PID PROGRAM ARGUMENT...`. The kernel sends SIGTERM when the
parent dies, however it dies; the setting survives `exec`. A script of its own, for Python code
between fork and exec of a process with threads may hang.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was told
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 -- an argv list, without a shell


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
