"""The command as a process: start, signals, colours, completion."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.cli.test_applying import WEB
from tests.support.asking import until
from tests.support.command_line import CommandLine

VERBS = (
    "apply get describe explain diff delete scale stop start restart rollout logs exec events wait "
    "why secret context verify backup restore adopt doctor token completion serve version"
)
PYTHON = [sys.executable, "-W", "error", "-m", "stateward"]


def process(
    home: Path, words: Sequence[str], variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PYTHON, *words],
        env=environment(home, variables or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def environment(home: Path, variables: Mapping[str, str]) -> dict[str, str]:
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path.cwd()), "COLUMNS": "100"}
    return {**kept, "HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), **variables}


def test_help_lists_every_verb_with_the_exit_codes(tmp_path: Path) -> None:
    found = process(tmp_path, ["--help"])
    assert (found.returncode, found.stderr) == (0, "")
    for verb in VERBS.split():
        assert f" {verb} " in found.stdout
    assert "Exit codes: 0 done" in found.stdout


def test_a_client_imports_nothing_that_only_a_server_needs(tmp_path: Path) -> None:
    code = (
        "import sys, stateward.cli.app, stateward.cli.http;"
        "heavy = ('fastapi', 'nats', 'docker', 'pydantic', 'uvicorn', 'sqlite3');"
        "print([name for name in heavy if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(tmp_path, {}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "[]\n"


def test_no_server_is_said_in_one_line_with_its_own_code(tmp_path: Path) -> None:
    found = process(tmp_path, ["get", "apps"], {"STATEWARD_SERVER": "http://127.0.0.1:9"})
    assert found.returncode == 3
    assert found.stderr.startswith("error: no server answers at http://127.0.0.1:9")
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--listen", "nowhere"], "write HOST:PORT"),
        (
            ["--set", "api.prot=1"],
            "flag api.prot: there is no setting api.prot; did you mean 'port'",
        ),
        (["--set", "x"], "write SECTION.FIELD=VALUE"),
        (["--engine", "dokcer"], "flag engine.default: engine.default: input should be 'auto'"),
        (["--replay-interval", "10"], "a duration is a number with its unit"),
        (["--config", "none.yaml"], "none.yaml cannot be read"),
    ],
)
def test_serve_refuses_settings_that_cannot_be_used(
    tmp_path: Path, words: list[str], said: str
) -> None:
    found = process(tmp_path, ["serve", *words])
    assert found.returncode == 2
    assert said in found.stderr


def test_serve_refuses_a_daemon_that_nobody_may_ask(tmp_path: Path) -> None:
    words = ["--data", str(tmp_path), "--listen", "127.0.0.1:0", "--no-nats", "--engine", "docker"]
    found = process(tmp_path, ["serve", *words, "--docker-host", "tcp://169.254.169.254:2375"])
    assert found.returncode == 1
    assert "stateward cannot serve: spec.docker.host: 'tcp://169.254.169.254:2375'" in found.stderr


def test_ctrl_c_ends_it_silently(cli: CommandLine) -> None:
    with subprocess.Popen(
        [*PYTHON, "events", "--watch", "--last", "1"],
        env=environment(cli.home, cli.variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert "Project/shop" in running.stdout.readline()
        running.send_signal(signal.SIGINT)
        rest, trouble = running.communicate(timeout=20)
    assert (running.returncode, rest, trouble) == (130, "", "")


def on_a_terminal(cli: CommandLine, *words: str, **variables: str) -> str:
    """What a command writes when its output is a terminal."""
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb", buffering=0) as screen:
        with os.fdopen(follower, "wb", buffering=0) as terminal:
            running = subprocess.Popen(
                [*PYTHON, *words],
                env=environment(cli.home, {"TERM": "xterm", **cli.variables, **variables}),
                stdin=subprocess.DEVNULL,
                stdout=terminal,
                stderr=terminal,
            )
        shown = b""
        try:
            while more := screen.read(4096):
                shown += more
        except OSError:
            pass  # how Linux says that the other end was closed
        running.wait(20)
    return shown.decode()


def test_colours_only_on_a_terminal_and_not_where_nobody_wants_them(cli: CommandLine) -> None:
    cli.ok("apply", "-f", cli.write("web.yaml", WEB))
    cli.publish("web")
    assert "\x1b[32mReady" in on_a_terminal(cli, "get", "apps")
    assert "\x1b[31merror:" in on_a_terminal(cli, "get", "app/none")
    for words in (["get", "apps"], ["get", "app/none"]):
        plain = on_a_terminal(cli, *words, NO_COLOR="1")
        assert "\x1b[3" not in plain
    assert "\x1b" not in process(cli.home, ["get", "apps"], cli.variables).stdout


def test_the_terminal_is_safe_from_what_a_server_says(cli: CommandLine) -> None:
    cli.ok("apply", "-f", cli.write("web.yaml", WEB))
    cli.publish("web", {"Degraded": ("True", "\x1b]0;owned\x07", "x")})
    for words in (["get", "apps"], ["get", "app/web", "-o", "json"], ["describe", "app/web"]):
        shown = on_a_terminal(cli, *words)
        assert "\x1b]0;" not in shown
        assert "\x07" not in shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(tmp_path: Path, shell: str) -> None:
    found = process(tmp_path, ["completion", shell])
    assert found.returncode == 0
    assert "_STATEWARD_COMPLETE" in found.stdout


def complete(cli: CommandLine, line: str) -> list[str]:
    words = line.split(" ")
    found = process(
        cli.home,
        [],
        {
            **cli.variables,
            "_STATEWARD_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
    )
    return found.stdout.split()


def check_completed(cli: CommandLine, line: str, name: str) -> None:
    """A server that takes its time is not waited for: then the key is pressed again."""
    until(lambda: complete(cli, line) == [name], f"{line} is completed to {name}", lambda: "")


def test_verbs_kinds_and_names_are_completed(cli: CommandLine) -> None:
    cli.ok("apply", "-f", cli.write("web.yaml", WEB))
    assert complete(cli, "stateward roll") == ["rollout"]
    assert complete(cli, "stateward get ap") == ["apps"]
    check_completed(cli, "stateward get app/", "app/web")
    check_completed(cli, "stateward get apps w", "web")
    check_completed(cli, "stateward logs -n s", "shop")
    cli.variables["STATEWARD_SERVER"] = "http://127.0.0.1:9"
    assert complete(cli, "stateward get app/") == []


def test_watching_apps_goes_on_with_each_change(cli: CommandLine) -> None:
    cli.ok("apply", "-f", cli.write("web.yaml", WEB))
    with subprocess.Popen(
        [*PYTHON, "get", "apps", "--watch"],
        env=environment(cli.home, cli.variables),
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline().split()[:3] == ["NAME", "PROJECT", "READY"]
        assert running.stdout.readline().split()[4] == "NotObserved"
        cli.publish("web")
        assert running.stdout.readline().split()[4] == "Ready"
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=20)
    assert running.returncode == 130


def test_watching_another_kind_goes_on_with_each_change(cli: CommandLine) -> None:
    with subprocess.Popen(
        [*PYTHON, "get", "secrets", "--watch", "-o", "name"],
        env=environment(cli.home, cli.variables),
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        cli.ok("secret", "set", "db", "pw=x")
        assert running.stdout.readline() == "secret/db\n"
        cli.ok("secret", "delete", "db")
        assert running.stdout.readline() == "secret/db is gone\n"
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=20)
    assert running.returncode == 130


def test_a_value_that_is_typed_is_not_echoed(cli: CommandLine) -> None:
    leader, follower = pty.openpty()
    with os.fdopen(leader, "r+b", buffering=0) as screen:
        with os.fdopen(follower, "r+b", buffering=0) as terminal:
            running = subprocess.Popen(
                [*PYTHON, "secret", "set", "db", "pw"],
                env=environment(cli.home, cli.variables),
                stdin=terminal,
                stdout=terminal,
                stderr=terminal,
                start_new_session=True,
            )
        shown = b""
        for _ in range(2):  # the value, and once more
            while not shown.endswith(b": "):
                shown += screen.read(1)
            screen.write(b"hunter2\n")
            shown += b"|"
        try:
            while more := screen.read(4096):
                shown += more
        except OSError:
            pass  # how Linux says that the other end was closed
        assert running.wait(20) == 0, shown
    assert b"hunter2" not in shown
    assert cli.json("get", "secret/db")["spec"]["keys"] == ["pw"]
