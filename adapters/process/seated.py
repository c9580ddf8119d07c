"""A program of its own: it takes the terminal at its standard input for its session's, and becomes
what it is told. `seated.py PROBLEM ARGV...`, where PROBLEM is the descriptor to tell a failure to.

Between the fork and the exec of a process with threads nothing else may be done, so this is run.
"""

import fcntl
import os
import signal
import sys
import termios


def main() -> None:
    problem, argv = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(problem, False)  # noqa: FBT003 - the standard library's signature
    try:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
            signal.signal(number, signal.SIG_DFL)
        os.execvp(argv[0], argv)  # noqa: S606 -- an argv list, without a shell
    except OSError as error:
        os.write(problem, os.strerror(error.errno or 0).encode())
        sys.exit(127)


if __name__ == "__main__":
    main()
