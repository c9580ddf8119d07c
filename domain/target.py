"""The kind `Target`: one registered engine: this host's processes, a Docker daemon, a cluster."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, TypeAdapter

from domain import addresses, routing
from domain.app import Path
from domain.refusals import BadValue
from domain.routing import Routing
from domain.schema import SPEC


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerSettings:
    """Where the daemon listens, and how many replicas may start at the same time."""

    __pydantic_config__ = SPEC
    host: Annotated[str, StringConstraints(pattern=r"^(unix|tcp|https?)://\S+$")] = (
        "unix:///var/run/docker.sock"
    )
    parallel_starts: Annotated[int, Field(ge=1, le=64)] = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class K8sSettings:
    """Which cluster, and what is particular about it.

    `kubeconfig` is a file on the control plane's host, read with its `context` or its current one;
    without it, the cluster is the one that the control plane runs in. A project's namespace is
    `namespacePrefix` and its name. A kubeconfig that names a program to run for credentials is
    refused unless `allowExec`. `userNamespaces`: its nodes can give each pod users of its own.
    `resolveImages`: registries are asked which digest a tag names; without, nodes pull it as named.
    """

    __pydantic_config__ = SPEC
    kubeconfig: Path | None = None
    context: Annotated[str, StringConstraints(min_length=1, max_length=253)] | None = None
    # with a project's name, of at most 40 characters, it is at most 63
    namespace_prefix: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,21}-$")] = "stw-"
    allow_exec: bool = False
    user_namespaces: bool = False
    resolve_images: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSettings:
    """Where a simulated engine listens that several processes share; without one each has its own.

    It is for trying things out, and for measuring them.
    """

    __pydantic_config__ = SPEC
    host: Annotated[str, StringConstraints(pattern=r"^unix:///\S+$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpec:
    __pydantic_config__ = SPEC
    engine: Literal["process", "docker", "k8s", "simulated"]
    docker: DockerSettings | None = None
    k8s: K8sSettings | None = None
    simulated: SimulatedSettings | None = None
    description: Annotated[str, StringConstraints(max_length=1000)] = ""
    routing: Routing | None = None


type Place = tuple[str, str]
"""Where a target's apps are: its engine, and the address of a daemon or cluster (or nothing)."""


def place(spec: TargetSpec) -> Place:
    """The place that a spec leads to; what is left in one is never reached through another."""
    if spec.engine == "docker":
        return spec.engine, (spec.docker or DockerSettings()).host
    if spec.engine == "k8s":
        return spec.engine, _cluster(spec.k8s or K8sSettings())
    return spec.engine, spec.simulated.host if spec.simulated else ""


def _cluster(settings: K8sSettings) -> str:
    found = f"{settings.kubeconfig}#{settings.context or ''}" if settings.kubeconfig else "inside"
    return f"{found}/{settings.namespace_prefix}"


SPEC_ADAPTER: TypeAdapter[TargetSpec] = TypeAdapter(TargetSpec)


def check(spec: TargetSpec) -> None:
    """Refuse settings of one engine that are given to another, and hosts that nobody may ask.

    Raises:
        BadValue: names the field and the rule.
    """
    if spec.docker and spec.engine != "docker":
        raise BadValue("spec.docker", "set", f"engine {spec.engine} has no docker settings")
    if spec.simulated and spec.engine != "simulated":
        raise BadValue("spec.simulated", "set", f"engine {spec.engine} has no simulated settings")
    if spec.docker:
        _check_host(spec.docker.host)
    if spec.k8s and spec.engine != "k8s":
        raise BadValue("spec.k8s", "set", f"engine {spec.engine} has no k8s settings")
    if spec.k8s:
        _check_cluster(spec.k8s)
    if spec.routing:
        routing.check(spec.routing, spec.engine)


def _check_host(url: str) -> None:
    try:
        host = addresses.host_of(url)
    except ValueError as error:
        raise BadValue("spec.docker.host", url, f"it is no URL: {error}") from None
    if addresses.is_closed(host):
        raise BadValue("spec.docker.host", url, addresses.RULE)


def _check_cluster(settings: K8sSettings) -> None:
    if settings.kubeconfig is None and settings.context is not None:
        rule = "it is one of a kubeconfig; name the file, or leave both out for the cluster around"
        raise BadValue("spec.k8s.context", settings.context, rule)
    if settings.kubeconfig is None and settings.allow_exec:
        rule = "only a kubeconfig names programs to run; name the file, or leave it out"
        raise BadValue("spec.k8s.allowExec", settings.allow_exec, rule)
    if settings.namespace_prefix.startswith("kube-"):
        rule = "kube- is Kubernetes' own; take another, such as stw-"
        raise BadValue("spec.k8s.namespacePrefix", settings.namespace_prefix, rule)
    if "--" in settings.namespace_prefix:
        rule = "two dashes in a row are reserved for generated names"
        raise BadValue("spec.k8s.namespacePrefix", settings.namespace_prefix, rule)


def encode(spec: TargetSpec) -> bytes:
    """The canonical JSON of a spec: equal specs give equal bytes."""
    return SPEC_ADAPTER.dump_json(spec, by_alias=True, exclude_none=True)


@lru_cache(maxsize=1024)  # every intent for an app asks for its target's
def decode(data: bytes) -> TargetSpec:
    """Read a stored spec; raises `ValueError` when it is not one."""
    return SPEC_ADAPTER.validate_json(data)
