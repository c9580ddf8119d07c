"""How the SDK reaches a daemon's Unix socket: over few connections, closed whatever happens.

The SDK's own transport has a pool of connections per URL, which with an id in most URLs is a new
connection per call, and leaves a socket open when nobody listens.
"""

import socket
from collections.abc import Mapping
from typing import final, override

import docker
from docker.transport import UnixHTTPAdapter
from docker.transport.unixconn import UnixHTTPConnection, UnixHTTPConnectionPool

_UNIX = "unix://"


def connect(host: str, *, timeout: int, connections: int) -> docker.APIClient:
    """A client of the daemon at `host`, which fixes the version of the API that they speak.

    Raises:
        OSError, DockerException: there is none.
    """
    path = host.removeprefix(_UNIX)
    if path == host:
        return docker.APIClient(host, version="auto", timeout=timeout, max_pool_size=connections)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(timeout)
        trial.connect(path)
    client = docker.APIClient(host, version="auto", timeout=timeout, user_agent="stateward")
    client.mount("http+docker://", _Transport(path, timeout, max_pool_size=connections))
    return client


@final
class _Connection(UnixHTTPConnection):
    @override
    def connect(self) -> None:
        try:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self.unix_socket)
        except OSError:
            self.close()
            raise


@final
class _Pool(UnixHTTPConnectionPool):
    @override
    def _new_conn(self) -> _Connection:  # type: ignore[override]  # as the one it overrides
        return _Connection(self.base_url, self.socket_path)


@final
class _Transport(UnixHTTPAdapter):
    def __init__(self, socket_path: str, timeout: int, *, max_pool_size: int) -> None:
        super().__init__(socket_path, timeout, max_pool_size=max_pool_size)
        self._pool = _Pool("http+docker://localhost", socket_path, timeout, max_pool_size)

    @override
    def get_connection(
        self, url: bytes | str, proxies: Mapping[str, str] | None = None
    ) -> UnixHTTPConnectionPool:
        return self._pool

    @override
    def close(self) -> None:
        super().close()
        self._pool.close()
