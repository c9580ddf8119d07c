"""A control plane as its users have it: `stateward serve`, a process with a directory of its own.

Nothing of it runs in the test's process. It may be killed at any moment and started again on the
same directory; `close` ends it and everything that it has left running.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, final, override

import httpx
import psutil

from adapters.keeping.files import KEEPER
from tests.support import requirements
from tests.support.asking import PATIENCE, Asking

ROOT = Path(__file__).parents[2]
_ADDRESS = re.compile(r"Stateward answers at (http://\S+)")


@final
class ControlPlane(Asking):
    """One installation below `home`, reached over HTTP as the admin of the first start.

    Args:
        home: of its own; holds `data` and what the server writes to its terminal.
        options: words for `stateward serve` beside the directory, address and engine.
        engine: of the target `local`.
        data: the data directory, where it is not `home / "data"`.
    """

    def __init__(
        self,
        home: Path,
        options: Sequence[str] = (),
        *,
        engine: str = "process",
        data: Path | None = None,
    ) -> None:
        self.home = home
        self.data = data or home / "data"
        self.output = home / "output.log"
        self._words = [f"--data={self.data}", "--listen=127.0.0.1:0", f"--engine={engine}"]
        self._words += ["--replay-interval=2s", *options]
        self._process: subprocess.Popen[bytes] | None = None
        self._said_before = 0
        home.mkdir(parents=True, exist_ok=True)

    # -- the process ------------------------------------------------------------------------

    def begin(self) -> None:
        """Start it, without waiting until it answers."""
        assert self._process is None, "it runs already"
        self._said_before = self.output.stat().st_size if self.output.exists() else 0
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "stateward", "serve", *self._words],
                cwd=ROOT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.begin()
        found = self.until(self._address_or_end, "the address is printed")
        token = (self.data / "token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        self._client = httpx.Client(base_url=found[1], headers=headers, timeout=30)

    def _address_or_end(self) -> re.Match[str] | None:
        found = _ADDRESS.search(self.said)
        assert found or (self._process and self._process.poll() is None), self._explain()
        return found

    def run(
        self, *words: str, verb: str = "serve", typed: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run another `stateward`, beside this one, to its end; `typed` on its standard input."""
        given = [*self._words, *words] if verb == "serve" else words
        return subprocess.run(
            [sys.executable, "-m", "stateward", verb, *given],
            cwd=ROOT,
            env=self.environment() | self._as_client(),
            input=typed,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def environment(self) -> dict[str, str]:
        """Of a user with a home of their own and no settings."""
        mine = {k: v for k, v in os.environ.items() if not k.startswith(("STATEWARD_", "XDG_"))}
        return mine | {"HOME": str(self.home), "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}

    def _as_client(self) -> dict[str, str]:
        """What makes the command line speak to this server, as its admin."""
        if self._client is None:
            return {}
        token = self._client.headers["Authorization"].removeprefix("Bearer ")
        server = str(self._client.base_url)
        return {
            "STATEWARD_SERVER": server,
            "STATEWARD_TOKEN": token,
            "STATEWARD_PROJECT": "default",
        }

    @property
    def is_running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process is not None, "it does not run"
        return self._process.pid

    @property
    def said(self) -> str:
        """What it wrote to its terminal since it was last started."""
        with self.output.open("rb") as file:
            file.seek(self._said_before)
            return file.read().decode(errors="replace")

    def kill(self) -> None:
        """`kill -9`: it cannot know."""
        self._end(signal.SIGKILL)

    def tell(self, number: signal.Signals) -> None:
        """Send a signal that it may survive, such as SIGSTOP."""
        assert self._process is not None, "it does not run"
        self._process.send_signal(number)

    def terminate(self) -> int:
        """SIGTERM; return its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        assert process is not None, "it does not run"
        if self._client is not None:
            self._client.close()
            self._client = None
        process.send_signal(number)
        return process.wait(PATIENCE)

    def restart(self) -> None:
        """Start it again on the same directory, as after a crash."""
        if self._process is not None:
            self.kill()
        self.start()

    def close(self) -> None:
        """End it and all that it left, however the test went."""
        if self._process is not None:
            self.kill()
        for _ in range(50):  # while one is killed, another may just have been started
            left = [*self.replicas(), *_below(self.data / "replicas" / KEEPER)]
            left += [*self.routers(), *self.bus_servers()]
            if not left:
                return
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=1)
        raise AssertionError(f"processes of {self.data} do not die")

    # -- what runs, as the system sees it ---------------------------------------------------

    def replicas(self, app: str = "") -> list[psutil.Process]:
        """The processes that run as replicas, oldest first; of all apps, or of `PROJECT/APP`."""
        found = _below(self.data / "replicas", app)
        return sorted(found, key=lambda process: (process.create_time(), process.pid))

    def pids(self, app: str = "default/web") -> set[int]:
        return {process.pid for process in self.replicas(app)}

    def directories(self, app: str = "default/web") -> set[str]:
        """The names of the replicas' directories, running or not."""
        try:
            return {entry.name for entry in (self.data / "replicas" / app).iterdir()}
        except FileNotFoundError:
            return set()

    def routers(self) -> list[psutil.Process]:
        """The programs of all routers, and their keeper."""
        return _below(self.data / "routers")

    def bus_servers(self) -> list[psutil.Process]:
        config = str(self.data / "nats" / "server.conf")
        return [
            process
            for process in psutil.process_iter(["name", "cmdline"])
            if process.info["name"] == "nats-server" and config in (process.info["cmdline"] or ())
        ]

    @override
    def _explain(self) -> str:
        if self._process is not None and self._process.poll() is not None:
            return f"the server ended with {self._process.returncode}: {self.said[-6000:]}"
        return self.said[-6000:]


def served(home: Path, *options: str, **how: Any) -> Iterator[ControlPlane]:
    """For fixtures: a control plane that answers, ended afterwards with all it started."""
    requirements.require("pidfd")
    made = ControlPlane(home, options, **how)
    try:
        made.start()
        yield made
    finally:
        made.close()


def _below(root: Path, app: str = "") -> list[psutil.Process]:
    """The processes whose home (replicas) or working directory (keepers, routers) is below."""
    place = f"{root}/{app}".rstrip("/")
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            places = (process.environ().get("HOME", ""), process.cwd())
            if any(f"{one}/".startswith(f"{place}/") for one in places):
                found.append(process)
    return found
