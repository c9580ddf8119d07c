"""How a cluster is reached, and as whom: a kubeconfig and its context, or the pod that we run in.

A kubeconfig may name a program that makes credentials. Starting it is refused unless the
configuration of the target allows it: a kubeconfig is data, and data starts nothing by itself.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.incluster_config import InClusterConfigLoader
from kubernetes.aio.config.kube_config import load_kube_config

from adapters.k8s.certificate import ClientCertificate, read
from adapters.k8s.kubeconfig import AccessRefused, Chosen, check, choose

READ_BUFFER: Final = 2**21  # bytes; an event of a watch may be that large
CONNECTIONS: Final = 64  # at once to one cluster: 16 writes, and a watch for each kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubeconfig:
    """A file, and the context in it (its current one when None)."""

    path: Path
    context: str | None = None
    allow_programs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InCluster:
    """The service account of the pod that we run in.

    `environment` is that of the process, `folder` where the pod has the account's token.
    """

    environment: Mapping[str, str]
    folder: Path


type Access = Kubeconfig | InCluster
type Files = tuple[tuple[Path, int, int, int], ...]


class Way(NamedTuple):
    """Connections to an address, and who sends there. The SDK keeps tokens fresh.

    `certificate` is by which the cluster knows us; `files` are what all of it was read from.
    """

    api: ApiClient
    session: aiohttp.ClientSession
    host: str
    proxy: str | None
    server_name: str | None
    certificate: ClientCertificate | None
    files: Files

    async def headers(self, method: str, path: str) -> dict[str, str]:
        headers = dict(self.api.default_headers)
        await self.api.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
        return headers

    async def close(self) -> None:
        await self.session.close()
        await self.api.close()


async def open_way(access: Access, *, user_agent: str) -> Way:
    """A way to a cluster; nothing is sent yet.

    Raises:
        AccessRefused: the configuration is missing, broken, or names a program.
    """
    files = await asyncio.to_thread(_stamped, access)  # before they are read
    api = await _client(access)
    api.user_agent = user_agent
    configuration, host = api.configuration, str(api.configuration.host)
    # no environment: else aiohttp looks for a netrc at each request, in a thread
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=api.rest_client.ssl_context),
        read_bufsize=READ_BUFFER,
    )
    proxy = configuration.proxy or _proxy_to(host)
    certificate = await asyncio.to_thread(_certificate, access, configuration)
    server_name = configuration.tls_server_name
    return Way(api, session, host, proxy, server_name, certificate, files)


def is_renewed(access: Access, way: Way) -> bool:
    """Whether a file that the way was read from is another now."""
    return _stamped(access) != way.files


def _stamped(access: Access) -> Files:
    """What tells the present files from later ones: kubeconfig, and the certificates it names."""
    if isinstance(access, InCluster):
        named = [access.folder / "token", access.folder / "ca.crt"]
    else:
        named = [access.path, *_named_in(access)]
    found = []
    for path in named:
        try:
            told = path.stat()
        except OSError:
            continue
        found.append((path, told.st_ino, told.st_size, told.st_mtime_ns))
    return tuple(found)


def _named_in(access: Kubeconfig) -> list[Path]:
    try:
        cluster, user = choose(access.path, access.context)
    except AccessRefused:
        return []
    files = ("client-certificate", "client-key", "tokenFile")
    named = (cluster.get("certificate-authority"), *(user.get(name) for name in files))
    return [access.path.parent / str(name) for name in named if name]


def _certificate(access: Access, configuration: Configuration) -> ClientCertificate | None:
    if not configuration.cert_file:
        return None
    try:
        return read(Path(configuration.cert_file), _described(access))
    except (ValueError, OSError):
        return None  # connecting has failed by it, or will, and says so


async def _client(access: Access) -> ApiClient:
    """A client of the SDK with address, certificates and credentials.

    Raises:
        AccessRefused: the configuration is missing, broken, or names a program.
    """
    configuration = Configuration()
    configuration.connection_pool_maxsize = CONNECTIONS
    try:
        if isinstance(access, InCluster):
            _load_pod(access, configuration)
        else:
            chosen = await asyncio.to_thread(_choose, access)
            await load_kube_config(
                str(access.path), access.context, configuration, persist_config=False
            )
            _check_program(access, chosen, configuration)
        # in a thread: to read the certificates of this machine takes 40 ms
        client = await asyncio.to_thread(ApiClient, configuration)
    except (ConfigException, OSError, KeyError, ValueError, TypeError) as error:
        told = f"no access to the cluster of {_described(access)}: {_why(error)}"
        in_pod = isinstance(access, InCluster)
        remedy = "; outside of a pod, name a kubeconfig as k8s.kubeconfig" if in_pod else ""
        raise AccessRefused(f"{told}{remedy}") from error
    return client


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"its certificates cannot be used ({error.reason or error}); copy them again"
    return str(error)


def _proxy_to(address: str) -> str | None:
    """The proxy that this machine uses for an address, if any."""
    asked = urlsplit(address)
    if proxy_bypass(asked.hostname or ""):
        return None
    return getproxies().get(asked.scheme)


def _load_pod(access: InCluster, configuration: Configuration) -> None:
    loader = InClusterConfigLoader(
        token_filename=str(access.folder / "token"),
        cert_filename=str(access.folder / "ca.crt"),
        environ=access.environment,
    )
    loader.load_and_set(configuration)


def _described(access: Access) -> str:
    if isinstance(access, InCluster):
        return "the pod that this runs in"
    context = f" (context {access.context!r})" if access.context else ""
    return f"kubeconfig {str(access.path)!r}{context}"


def _choose(access: Kubeconfig) -> Chosen:
    """What a kubeconfig leads to, if it may be used.

    Raises:
        AccessRefused: the file is missing or broken, or names a program.
    """
    chosen = choose(access.path, access.context)
    program = chosen.program
    if program is not None and not access.allow_programs:
        raise AccessRefused(
            f"{_described(access)} gets its credentials by {program[0]!r} from {program[1]!r}, "
            "which is not started for this target; use a token or a certificate, or set allowExec"
        )
    check(chosen, _described(access), access.path.parent)
    return chosen


def _check_program(access: Kubeconfig, chosen: Chosen, configuration: Configuration) -> None:
    """Refuse to go on as nobody: the SDK only logs what went wrong with a program."""
    known = configuration.api_key.get("BearerToken") or configuration.cert_file
    if chosen.program is not None and not known:
        raise AccessRefused(
            f"{_described(access)} gets its credentials from {chosen.program[1]!r}, which gave "
            "none; run it as the account that Stateward runs as, with its environment"
        )
