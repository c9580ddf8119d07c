"""The files that HAProxy starts from, and what we must remember to change it while it runs."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from adapters.files.durable import replace_file
from adapters.haproxy.asking import PROGRAM
from adapters.haproxy.certificates import FOLDER
from adapters.haproxy.config import Shape
from adapters.haproxy.pool import Pool
from adapters.haproxy.servers import Slots
from adapters.haproxy.settings import ASKING, BACKENDS, CERTIFICATES, CONFIGURATION, MAP, STATE
from projections.route_table import Backend, Endpoint, Endpoints


class Told(NamedTuple):
    """Endpoints of a backend; for the file, which knows no tuples as keys."""

    backend: Backend
    endpoints: tuple[Endpoint, ...]


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What the running HAProxy holds, as far as we know.

    `loaded` is the fingerprint of what it has read and can only learn anew by a reload.
    """

    pool: Pool
    shape: Shape
    slots: Mapping[str, Slots]
    told: tuple[Told, ...] = ()
    loaded: str = ""

    @property
    def endpoints(self) -> Endpoints:
        """What was published last, by whomever."""
        return {one.backend: one.endpoints for one in self.told}


def told(endpoints: Endpoints) -> tuple[Told, ...]:
    return tuple(Told(backend, found) for backend, found in endpoints.items())


def fingerprint(configuration: str, backends: Iterable[str]) -> str:
    return hashlib.sha256("\n".join((configuration, *backends)).encode()).hexdigest()


class Disk:
    """The files of one directory. What is written survives a power cut."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def prepare(self) -> None:
        (self._directory / FOLDER).mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in (MAP, CERTIFICATES):
            if not (self._directory / name).exists():
                self._write(name, "")

    def state(self) -> State | None:
        """Return what was remembered; None when nothing is, or nothing that can be read."""
        try:
            return msgspec.json.decode((self._directory / STATE).read_bytes(), type=State)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def entries(self) -> dict[str, str]:
        """Return the map, as it was written last."""
        lines = self._read(MAP).splitlines()
        return dict(line.split(" ", 1) for line in lines if " " in line)

    def certificates(self) -> dict[str, str]:
        """Return the PEMs in the list, by the names of their files."""
        return {name: self._read(name) for name in self._read(CERTIFICATES).splitlines()}

    def differing(self, texts: Mapping[str, str]) -> tuple[str, ...]:
        """Name the files that do not hold these texts."""
        return tuple(name for name, text in texts.items() if self._read(name) != text)

    def write_program(self) -> None:
        """Write what asks who users are. No configuration may lead to it before."""
        self._write(ASKING, PROGRAM)

    def write_configuration(self, text: str) -> None:
        self._write(CONFIGURATION, text)

    def write_backends(self, text: str) -> None:
        self._write(BACKENDS, text)

    def write_entries(self, entries: Mapping[str, str]) -> None:
        self._write(MAP, lines_of(entries))

    def write_certificates(self, pems: Mapping[str, str]) -> None:
        """Write files before the list that names them, and remove those that it names no more."""
        for name, pem in pems.items():
            self._write(name, pem)
        self._write(CERTIFICATES, "".join(f"{name}\n" for name in pems))
        for path in (self._directory / FOLDER).glob("*.pem"):
            if f"{FOLDER}/{path.name}" not in pems:
                path.unlink()

    def write_state(self, state: State) -> None:
        self._write(STATE, msgspec.json.encode(state).decode())

    def try_out(self, configuration: str, backends: str) -> tuple[str, str]:
        """Put a configuration aside, and return the names of its two files."""
        names = (f"{CONFIGURATION}.tried", f"{BACKENDS}.tried")
        for name, text in zip(names, (configuration, backends), strict=True):
            (self._directory / name).write_text(text)
        return names

    def _write(self, name: str, text: str) -> None:
        """Write a file, unless it is so already."""
        if self._read(name) != text or not (self._directory / name).exists():
            replace_file(self._directory / name, text.encode())

    def _read(self, name: str) -> str:
        try:
            return (self._directory / name).read_text()
        except FileNotFoundError:
            return ""


def lines_of(entries: Mapping[str, str]) -> str:
    return "".join(f"{key} {value}\n" for key, value in entries.items())
