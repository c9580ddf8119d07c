"""The directory of one Caddy: what it starts with, what the resolvers read, certificates.

`config.json` is the configuration that Caddy took last, and the one it begins with after a crash;
`snapshot` is what the resolvers answer from; `contexts` has a file for each context that is no
route of its own; `port` is the inner port, chosen once.
"""

import hashlib
import os
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, final

import msgspec

from adapters.caddy.site import CertificateFiles
from adapters.caddy.snapshot import Snapshot
from adapters.keeping.files import write_whole

JSON = dict[str, Any]

_LOOPBACK: Final = "127.0.0.1"
_TRIES: Final = 100


class Certificate(NamedTuple):
    """A chain and its key, as PEM."""

    chain: bytes
    key: bytes


@final
class Files:
    """The files below `directory`; nobody ever sees a part of one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "config.json"
        self.snapshot = directory / "snapshot"
        self.admin = directory / "admin.sock"
        self.storage = directory / "storage"
        self.contexts = directory / "contexts"
        self._certificates = directory / "certificates"
        self._port = directory / "port"

    def prepare(self) -> None:
        for folder in (self.directory, self.storage, self.contexts, self._certificates):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    # -- the inner port ---------------------------------------------------------------------

    def inner_port(self) -> int | None:
        """The port that was chosen, if one was."""
        with suppress(OSError, ValueError):
            return int(self._port.read_text())
        return None

    def choose_port(self) -> int:
        """A port that was free a moment ago for UDP and TCP alike, kept for the next time."""
        for _ in range(_TRIES):
            number = _free_tcp()
            if is_free(number):
                self._write("port", str(number).encode())
                return number
        raise OSError(f"no port of {_LOOPBACK} is free for both UDP and TCP")

    # -- what is written and read -----------------------------------------------------------

    def read_config(self) -> JSON | None:
        with suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode(self.config.read_bytes(), type=JSON)
        return None

    def write_config(self, config: JSON) -> None:
        self._write("config.json", msgspec.json.format(msgspec.json.encode(config)), durable=True)

    def read_snapshot(self) -> Snapshot | None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            return Snapshot.decode(self.snapshot.read_bytes())
        return None

    def write_snapshot(self, snapshot: Snapshot) -> None:
        """Not durable: after a power cut no replica that it names runs, and it is written anew."""
        self._write("snapshot", snapshot.encode())

    def read_contexts(self) -> frozenset[str]:
        return frozenset(path.name for path in self.contexts.iterdir())

    def add_contexts(self, names: Iterable[str]) -> None:
        """Let there be these contexts, from now on; their files say it by their names."""
        for name in names:
            (self.contexts / name).touch(mode=0o644)

    def remove_contexts(self, names: Iterable[str]) -> None:
        for name in names:
            (self.contexts / name).unlink(missing_ok=True)

    def write_certificate(self, found: Certificate) -> CertificateFiles:
        """Files of this certificate, named after it: another one has others.

        Raises:
            ssl.SSLError: it is no certificate with its key. Caddy would refuse all routes for it.
        """
        name = hashlib.sha256(found.chain + b"\0" + found.key).hexdigest()[:32]
        chain, key = self._certificates / f"{name}.pem", self._certificates / f"{name}.key"
        for path, text in ((chain, found.chain), (key, found.key)):
            if not path.exists():
                self._write(path.name, text, folder=self._certificates, durable=True)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, password=lambda: "")
        return CertificateFiles(str(chain), str(key))

    def write_trust(self, text: str) -> Path:
        """A file of the certificates that a directory is known by."""
        self._write("trust.pem", text.encode(), durable=True)
        return self.directory / "trust.pem"

    def read_certificates(self) -> dict[str, CertificateFiles]:
        """Those that Caddy has, by the Secret that each came from."""
        config = self.read_config() or {}
        try:
            loaded = config["apps"]["tls"]["certificates"]["load_files"]
            return {
                one["tags"][0]: CertificateFiles(one["certificate"], one["key"]) for one in loaded
            }
        except (KeyError, TypeError, IndexError):
            return {}

    def keep_certificates(self, wanted: set[str]) -> None:
        """Remove the files of certificates that no longer are."""
        for path in self._certificates.iterdir():
            if str(path) not in wanted:
                path.unlink(missing_ok=True)

    def _write(
        self, name: str, text: bytes, *, folder: Path | None = None, durable: bool = False
    ) -> None:
        opened = os.open(folder or self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            write_whole(opened, name, text.decode(), durable=durable)
        finally:
            os.close(opened)


def is_free(port: int) -> bool:
    """Whether the inner port can be had for UDP and TCP."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as trial:
            try:
                trial.bind((_LOOPBACK, port))
            except OSError:
                return False
    return True


def _free_tcp() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        trial.bind((_LOOPBACK, 0))
        number: int = trial.getsockname()[1]
        return number
