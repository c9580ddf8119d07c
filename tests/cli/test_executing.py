"""exec: at once, and as a conversation of a process that has a terminal, or none."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import final

import pytest

from tests.cli.test_applying import WEB
from tests.cli.test_process import PYTHON, environment
from tests.support import program
from tests.support.command_line import CommandLine

CONVERSE = ("--", sys.executable, "-I", "-S", str(program.__file__), "converse")
PATIENCE = 60.0


@pytest.fixture
def apps(cli: CommandLine) -> CommandLine:
    cli.ok("apply", "-f", cli.write("web.yaml", WEB))
    return cli


def test_exec_ends_with_the_code_of_the_command(apps: CommandLine) -> None:
    assert apps.ok("exec", "app/web", "--", "true") == "fine\n"
    assert apps.ok("exec", "app", "web", "--", "true") == "fine\n"
    assert "there is no command 'nope'" in apps.fails("exec", "web", "--", "nope")
    assert "say what to run" in apps.fails("exec", "web", code=2)
    apps.fails("exec", "web", "--", "hang", code=4)


def test_what_is_wrong_with_a_conversation_is_told(apps: CommandLine) -> None:
    assert "standard input is none" in apps.fails("exec", "-it", "web", "--", "sh", code=2)
    said = apps.fails("exec", "-i", "web", "--", "/no/such/program")
    assert "'/no/such/program' cannot be run" in said
    assert "App/shop/none does not exist" in apps.fails("exec", "-i", "none", "--", "sh")
    said = apps.fails("--server", "http://127.0.0.1:1", "exec", "-i", "web", "--", "sh", code=3)
    assert "no server answers at http://127.0.0.1:1" in said
    apps.variables["STATEWARD_TOKEN"] = "wrong"
    assert "the token given was not accepted" in apps.fails("exec", "-i", "web", "--", "sh")


def test_input_goes_in_and_two_streams_come_out(apps: CommandLine) -> None:
    done = subprocess.run(
        [*PYTHON, "exec", "-i", "web", *CONVERSE],
        env=environment(apps.home, apps.variables),
        input=b"hello\ncomplain loudly\n\xff\n",
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        7,
        b"hello\n\xff\nno more\n",
        b"loudly\n",
    )


@final
class Person:
    """Somebody at a terminal in front of a command."""

    def __init__(self, home: Path, variables: dict[str, str], *words: str) -> None:
        self._screen, theirs = pty.openpty()
        self.resize(90, 30)
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.process = subprocess.Popen(
            [*PYTHON, "exec", *words],
            env=environment(home, variables),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        self._seen = b""

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._screen, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self._screen, keys)

    def see(self, text: bytes) -> None:
        """Wait until something is on the screen, and forget all up to there."""
        while text not in self._seen:
            assert select.select([self._screen], [], [], PATIENCE)[0], f"only saw {self._seen!r}"
            self._seen += os.read(self._screen, 4096)
        self._seen = self._seen.partition(text)[2]

    def sees_size(self, told: bytes) -> None:
        """Ask the command for its size until it is this."""
        while True:
            self.type(b"size\r")
            self.see(b"size\r\n")
            while b"\n" not in self._seen:
                self._seen += os.read(self._screen, 4096)
            size, _, self._seen = self._seen.partition(b"\n")
            if size.strip() == told:
                return

    @property
    def is_as_before(self) -> bool:
        return termios.tcgetattr(self._theirs) == self.before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._theirs)
        os.close(self._screen)


@contextmanager
def person(apps: CommandLine, *words: str) -> Iterator[Person]:
    made = Person(apps.home, apps.variables, *words)
    try:
        yield made
    finally:
        made.close()


def test_a_terminal_is_as_large_as_ours_and_ours_is_as_before(apps: CommandLine) -> None:
    with person(apps, "-it", "web", *CONVERSE) as somebody:
        somebody.sees_size(b"90 30")
        assert not somebody.is_as_before
        somebody.resize(70, 20)
        somebody.process.send_signal(signal.SIGWINCH)  # it has no session to be told by
        somebody.sees_size(b"70 20")
        somebody.type(b"leave 6\r")
        assert somebody.process.wait(PATIENCE) == 6
        assert somebody.is_as_before


def test_ctrl_c_is_for_the_command(apps: CommandLine) -> None:
    argv = (
        "--",
        sys.executable,
        "-c",
        "try: print('ready'), input()\nexcept: print('interrupted')",
    )
    with person(apps, "-it", "web", *argv) as somebody:
        somebody.see(b"ready\r\n")
        somebody.type(b"\x03")
        somebody.see(b"interrupted\r\n")
        assert somebody.process.wait(PATIENCE) == 0
        assert somebody.is_as_before


def test_a_signal_leaves_the_terminal_as_before(apps: CommandLine) -> None:
    with person(apps, "-it", "web", *CONVERSE) as somebody:
        somebody.sees_size(b"90 30")
        somebody.process.terminate()
        assert somebody.process.wait(PATIENCE) == 128 + signal.SIGTERM
        assert somebody.is_as_before


def test_a_server_that_stops_leaves_the_terminal_as_before(apps: CommandLine) -> None:
    with person(apps, "-it", "web", *CONVERSE) as somebody:
        somebody.sees_size(b"90 30")

        async def stop() -> None:
            apps.house.services.closing.set()

        apps.do(stop())
        somebody.see(b"the server stops")
        assert somebody.process.wait(PATIENCE) == 1
        assert somebody.is_as_before


def test_what_is_no_terminal_of_the_command_is_cleaned_for_ours(apps: CommandLine) -> None:
    with person(apps, "-i", "web", *CONVERSE) as somebody:
        somebody.type(b"\x1b]0;title\x07\n")
        somebody.see(b"\\x1b]0;title\\x07\r\n")
        assert somebody.is_as_before
