"""The files of an embedded server: its configuration, its credentials and its port.

All are readable by us only. Port and credentials stay what they are over restarts, so that
clients find the server again.
"""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final, final

import msgspec

from bus.nats.credentials import CONTROL_PLANE, PRODUCER, Generated, write_private
from bus.nats.subjects import Permissions, producer_permissions

HOST: Final = "127.0.0.1"
MAX_PAYLOAD: Final = 4 << 20  # a set of manifests in one message


@final
class ServerFiles:
    """The directory `<data>/nats`.

    Args:
        directory: made, with mode 0700, when it is missing.
        new_secret: gives a fresh password.
    """

    def __init__(self, directory: Path, new_secret: Callable[[], str]) -> None:
        self._directory = directory
        self._new_secret = new_secret
        self.config = directory / "server.conf"
        self.pid = directory / "server.pid"
        self.lock = directory / "lock"
        self.log = directory / "server.log"
        self.output = directory / "output.log"
        self._port = directory / "port"
        self._credentials = directory / "credentials.json"

    def prepare(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def credentials(self) -> Generated:
        """The passwords; made and kept when there are none, or none that can be read."""
        try:
            return msgspec.json.decode(self._credentials.read_bytes(), type=Generated)
        except (FileNotFoundError, msgspec.MsgspecError):
            made = Generated(control_plane=self._new_secret(), producer=self._new_secret())
            write_private(self._credentials, msgspec.json.encode(made).decode())
            return made

    def choose_port(self) -> int:
        """The port of the last time, or a free one if that is unknown or taken; remembered."""
        try:
            known = int(self._port.read_text())
        except (FileNotFoundError, ValueError):
            known = 0
        port = _free(known) or _free(0)
        write_private(self._port, str(port))
        return port

    def write_config(self, port: int) -> None:
        credentials = self.credentials()
        users = "\n".join(
            (
                _user(CONTROL_PLANE, credentials.control_plane, None),
                _user(PRODUCER, credentials.producer, producer_permissions(PRODUCER)),
            )
        )
        write_private(self.config, self._text(port, users))

    def _text(self, port: int, users: str) -> str:
        store = _quoted(str(self._directory / "jetstream"))
        return f"""\
# Written by Stateward at every start; what is changed here is lost.
listen: "{HOST}:{port}"
server_name: "stateward"
pid_file: {_quoted(str(self.pid))}
log_file: {_quoted(str(self.log))}
logfile_size_limit: 10MB
logfile_max_num: 2
max_payload: {MAX_PAYLOAD}
jetstream {{
  store_dir: {store}
  max_memory_store: 64MB
  max_file_store: 1GB
  # What a producer was told is stored survives a power cut.
  sync_interval: always
}}
authorization {{
  timeout: 5
  users: [
{users}
  ]
}}
"""


def _user(name: str, password: str, allowed: Permissions | None) -> str:
    permissions = ""
    if allowed is not None:
        publish, subscribe = ("[" + ", ".join(map(_quoted, side)) + "]" for side in allowed)
        permissions = f", permissions: {{publish: {publish}, subscribe: {subscribe}}}"
    return f"    {{user: {name}, password: {_quoted(password)}{permissions}}}"


def _quoted(text: str) -> str:
    """A text of the configuration; JSON's quoting is understood, and `$` stays itself."""
    return msgspec.json.encode(text).decode()


def _free(port: int) -> int:
    """`port`, or any free one for 0; 0 if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return 0
        chosen: int = probe.getsockname()[1]
        return chosen
