"""Whether this machine has what a control plane needs, and what to do where it has not.

Every check is a function from an `Examined` to a `Finding`; none changes anything. NATS may be
several servers, so `stateward.cli.nats_check` finds something for each; so does
`stateward.cli.worker_check` for each of several workers.
"""

import os
import platform
import re
import shutil
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import typer

from stateward.cli import flags
from stateward.cli.flags import Format
from stateward.cli.screen import Cell
from stateward.cli.session import Session, session
from stateward.cli.trouble import Trouble

if TYPE_CHECKING:
    from stateward.settings import Settings

SECONDS: Final = 3.0  # for an answer
LOW_SPACE: Final = 1 << 30
NO_SPACE: Final = 64 << 20
FIRST_YEAR: Final = 2025  # a clock before this was never set
DOCKER_SOCKET: Final = "unix:///var/run/docker.sock"


class Finding(NamedTuple):
    """What one check found. `bad` keeps a control plane from running; `advice` helps."""

    name: str
    good: bool
    found: str
    advice: str = ""
    bad: bool = False


class Examined(NamedTuple):
    """What is looked at."""

    settings: "Settings"
    year: int


def doctor(
    ctx: typer.Context,
    data: flags.DataDirectory = None,
    config: flags.Config = None,
    output: flags.Output = Format.TABLE,
) -> None:
    """Check this machine: Python, data directory, disk, clock, port, Docker, NATS, workers."""
    at = session(ctx)
    findings = examine(_examined(at, data, config))
    if output in (Format.JSON, Format.YAML):
        facts = {"items": [finding._asdict() for finding in findings]}
        at.screen.json(facts) if output is Format.JSON else at.screen.yaml([facts])
    else:
        at.screen.table(("", "CHECK", "FOUND", "WHAT TO DO"), [_row(f) for f in findings])
    bad = [finding.name for finding in findings if finding.bad]
    if bad:
        raise Trouble(f"a control plane cannot run here yet: {', '.join(bad)}")


def _row(finding: Finding) -> tuple[Cell | str, ...]:
    mark = Cell("ok", "green") if finding.good else Cell("bad" if finding.bad else "note", "yellow")
    return (mark, Cell(finding.name, "bold"), finding.found, finding.advice)


def _examined(at: Session, data: Path | None, config: Path | None) -> Examined:
    from stateward.layers import BadSettings, load  # noqa: PLC0415 -- pydantic takes its time

    chosen = {"data": {"directory": data.absolute()}} if data else {}
    try:
        settings = load(at.environment, flags=chosen, config=config)
    except BadSettings as error:
        raise Trouble(str(error)) from None
    return Examined(settings, at.now().year)


def examine(examined: Examined) -> Sequence[Finding]:
    """Run every check, in the order in which they are read."""
    return [*(check(examined) for check in _CHECKS), *_nats(examined), *_workers(examined)]


def _python(_examined: Examined) -> Finding:
    return Finding("python", good=True, found=platform.python_version())


def _data(examined: Examined) -> Finding:
    directory = examined.settings.data.directory
    there = _nearest_existing(directory)
    if not os.access(there, os.W_OK | os.X_OK):
        advice = "name another by --data, or give this user the right to write there"
        return Finding("data directory", False, f"{there} cannot be written", advice, bad=True)
    if directory == there and directory.stat().st_mode & 0o077:
        advice = f"chmod 700 {directory}: the secrets' key is in it"
        return Finding("data directory", False, f"{directory} is open to other users", advice)
    state = "is there" if directory == there else "will be made"
    return Finding("data directory", True, f"{directory} {state}")


def _disk(examined: Examined) -> Finding:
    free = shutil.disk_usage(_nearest_existing(examined.settings.data.directory)).free
    found = f"{free / (1 << 30):.1f} GiB free"
    if free < LOW_SPACE:
        advice = "make room: intents are refused when the log cannot grow"
        return Finding("disk", False, found, advice, bad=free < NO_SPACE)
    return Finding("disk", True, found)


def _clock(examined: Examined) -> Finding:
    if examined.year < FIRST_YEAR:
        advice = "set the clock, best by NTP: events carry its time"
        return Finding("clock", False, f"the year is {examined.year}", advice, bad=True)
    return Finding("clock", True, f"the year is {examined.year}")


def _port(examined: Examined) -> Finding:
    api = examined.settings.api
    name = f"{api.host}:{api.port}"
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            api.host, api.port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if _is_stateward(api.host, api.port):
            return Finding("port", True, f"a control plane already answers at {name}")
        advice = "stop what listens there, or set another by --listen"
        return Finding("port", False, f"{name}: {error.strerror or error}", advice, bad=True)
    return Finding("port", True, f"{name} is free")


def _is_stateward(host: str, port: int) -> bool:
    answer = _http_get(lambda: socket.create_connection((host, port), SECONDS), "/livez")
    return "ok" in answer or "failed" in answer


def _docker(examined: Examined) -> Finding:
    place = examined.settings.engine.docker_host or DOCKER_SOCKET
    needed = examined.settings.engine.default == "docker"
    if not place.startswith("unix://"):
        return Finding("docker", True, f"at {place}, which is not asked from here")
    answer = _http_get(lambda: _unix_socket(place.removeprefix("unix://")), "/version")
    version = re.search(r'"Version"\s*:\s*"([^"]+)"', answer)
    if version:
        return Finding("docker", True, f"{version[1]} at {place}")
    advice = "start it, or join the group docker; without it, apps run as processes"
    return Finding("docker", False, f"no daemon answers at {place}", advice, bad=needed)


def _nats(examined: Examined) -> Sequence[Finding]:
    nats = examined.settings.nats
    if not nats.enabled:
        return [Finding("nats", True, "off: healing waits for the replay tick")]
    from stateward.cli import nats_check  # noqa: PLC0415 -- only for this check

    found = nats_check.external(nats) if nats.servers else [nats_check.embedded()]
    # One that answers will do, so what is wrong with another keeps nobody from running.
    usable = any(not one.remedy for one in found)
    return [
        Finding(
            "nats" if len(found) == 1 else f"nats {one.address.partition('://')[2]}",
            good=not one.remedy,
            found=one.found,
            advice=one.remedy,
            bad=bool(one.remedy) and not one.away and not usable,
        )
        for one in found
    ]


def _workers(examined: Examined) -> Sequence[Finding]:
    """Of workers that share a log, which live and who holds what."""
    if not examined.settings.nats.servers:
        return []
    from stateward.cli import worker_check  # noqa: PLC0415 -- only for this check

    return [
        Finding(one.name, not one.remedy, one.found, one.remedy)
        for one in worker_check.workers(examined.settings)
    ]


def _nearest_existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _unix_socket(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(SECONDS)
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _http_get(connect: Callable[[], socket.socket], path: str) -> str:
    """The answer to a GET as text; empty when there is none."""
    try:
        with connect() as connection:
            request = f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"
            connection.sendall(request.encode())
            answer = b""
            while len(answer) < 65_536 and (more := connection.recv(8192)):
                answer += more
    except OSError:
        return ""
    return answer.decode(errors="replace")


_CHECKS: Final = (_python, _data, _disk, _clock, _port, _docker)
