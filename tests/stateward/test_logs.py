"""What stands on the standard streams of a server: JSON alone on stderr, and no token anywhere."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.cli.test_process import PYTHON, environment

LIBRARIES = """
import logging, warnings
from stateward import logs
logs.configure("json", "info")
logging.getLogger("asyncio").warning("slow %s\\nline", "first")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("uvicorn.error").exception("broke")
logging.getLogger("nats").info("not worth telling")
warnings.warn("old")
"""


def test_libraries_log_as_json_too(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-W", "always", "-c", LIBRARIES],
        env=environment(tmp_path, {}),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [json.loads(line) for line in found.stderr.splitlines()]
    assert [(line["logger"], line["level"]) for line in lines] == [
        ("asyncio", "warning"),
        ("uvicorn.error", "error"),
        ("py.warnings", "warning"),
    ]
    assert lines[0]["event"] == "slow first\nline"
    assert "ZeroDivisionError" in lines[1]["exception"]
    assert all("timestamp" in line for line in lines)


def test_a_server_without_a_terminal_keeps_words_and_token_out_of_its_logs(tmp_path: Path) -> None:
    words = ["--data", str(tmp_path / "d"), "--listen", "127.0.0.1:0", "--no-nats"]
    with subprocess.Popen(
        [*PYTHON, "serve", *words, "--engine", "simulated", "--log-level", "debug"],
        env=environment(tmp_path, {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        said = [running.stdout.readline()]
        while said[-1] and "events --watch" not in said[-1]:
            said.append(running.stdout.readline())
        token = (tmp_path / "d" / "token").read_text().strip()
        running.send_signal(signal.SIGTERM)
        _, logged = running.communicate(timeout=60)
    assert running.returncode == 0
    token_file = tmp_path / "d" / "token"
    assert f"STATEWARD_TOKEN=$(cat {token_file})" in "".join(said)
    assert said[0].startswith("Stateward answers at http://127.0.0.1:")
    assert token not in "".join(said) + logged
    assert [line for line in logged.splitlines() if not line.startswith("{")] == []
