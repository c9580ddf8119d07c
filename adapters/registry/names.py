"""An image as it is written, and where that is. Pure.

Source: https://github.com/distribution/reference, for what is a host and what a path.
"""

from typing import Final, NamedTuple

from domain.addresses import is_loopback, registry_of

_HUB: Final = "registry-1.docker.io"
_HUB_NAMES: Final = frozenset({"docker.io", "index.docker.io"})


class Reference(NamedTuple):
    """A tag in a repository of a registry. `name` is the image as it was written, but for the tag.

    `host` has the port with it.
    """

    name: str
    host: str
    repository: str
    tag: str

    @property
    def registry(self) -> str:
        """The address of the registry: by HTTP on this host, as engines do it, else by HTTPS."""
        return f"{'http' if is_loopback(self.bare_host) else 'https'}://{self.host}"

    @property
    def bare_host(self) -> str:
        """Without the port."""
        return registry_of(f"{self.host}/") or self.host

    @property
    def manifest(self) -> str:
        return f"{self.registry}/v2/{self.repository}/manifests/{self.tag}"


def reference(image: str) -> Reference:
    """What an image without a digest means; no registry is Docker's, and no tag is `latest`."""
    folder, slash, last = image.rpartition("/")
    bare, _, tag = last.partition(":")
    name = f"{folder}{slash}{bare}"
    first, _, rest = name.partition("/")
    is_host = bool(rest) and (bool(set(first) & {".", ":"}) or first == "localhost")
    host, path = (first, rest) if is_host else (_HUB, name)
    if host in _HUB_NAMES:
        host = _HUB
    if host == _HUB and "/" not in path:
        path = f"library/{path}"
    return Reference(name, host, path, tag or "latest")
