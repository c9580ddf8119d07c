"""The kind `App`: a program that should run, in so many replicas, and what healthy means.

An `AppSpec` is what its owner wrote. A *complete* spec is what an event keeps: every default is
filled in, so that a later version of Stateward with other defaults changes nothing that runs.
The *template* is the spec without `replicas`, `running`, `rollout`, `autoscale` and `routes`; a new
template is a new revision.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import blake2b
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, TypeAdapter

from domain import addresses, autoscale, route
from domain.autoscale import MAX_REPLICAS, Autoscale
from domain.refusals import BadValue
from domain.route import Publishes, Routes
from domain.schema import SPEC, Cpu, Duration, Line, Memory, Name

MAX_VARIABLES = 500
MAX_KEPT = 10  # former revisions whose replicas stay: each takes room on a disk

EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)]
PortNumber = Annotated[int, Field(ge=1, le=65535)]
ImageName = Annotated[
    str, StringConstraints(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.:/@-]*$", max_length=512)
]
Path = Annotated[str, StringConstraints(pattern=r"^/[^\x00]*$", max_length=4096)]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOfSecret:
    __pydantic_config__ = SPEC
    name: Name
    key: Line


@dataclass(frozen=True, slots=True, kw_only=True)
class FromSecret:
    """A value taken from a Secret of the same project."""

    __pydantic_config__ = SPEC
    secret_ref: KeyOfSecret


def _env_text(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(
            f'true and false mean different things to programs; quote it: "{str(value).lower()}"'
        )
    return str(value) if isinstance(value, int | float) else value


EnvValue = Annotated[
    Annotated[str, StringConstraints(max_length=32_768, pattern=r"^[^\x00]*$")] | FromSecret,
    BeforeValidator(_env_text),
]


def in_order[T](mapping: Mapping[str, T]) -> Mapping[str, T]:
    """The mapping with its names in order, so that equal ones are written alike."""
    names = sorted(mapping)
    return mapping if list(mapping) == names else {name: mapping[name] for name in names}


Env = Annotated[
    Mapping[EnvName, EnvValue], Field(max_length=MAX_VARIABLES), AfterValidator(in_order)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePull:
    """When to ask the registry, and with which credentials: a Secret."""

    __pydantic_config__ = SPEC
    policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    secret_ref: Name | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    __pydantic_config__ = SPEC
    name: Name
    port: PortNumber
    protocol: Literal["tcp", "udp"] = "tcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCheck:
    """Passes when a GET of `path` answers 200 to 399."""

    __pydantic_config__ = SPEC
    path: Path = "/"
    port: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpCheck:
    """Passes when the port accepts a connection."""

    __pydantic_config__ = SPEC
    port: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecCheck:
    """Passes when the command, run inside the replica, exits with 0."""

    __pydantic_config__ = SPEC
    argv: Annotated[tuple[Line, ...], Field(min_length=1, max_length=256)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question to a replica: exactly one of `http`, `tcp` and `exec`.

    `failures` in a row make it fail, `successes` in a row make it pass again.
    """

    __pydantic_config__ = SPEC
    http: HttpCheck | None = None
    tcp: TcpCheck | None = None
    exec: ExecCheck | None = None
    interval: Duration = "10s"
    timeout: Duration = "1s"
    failures: Annotated[int, Field(ge=1, le=1000)] = 3
    successes: Annotated[int, Field(ge=1, le=1000)] = 1

    @property
    def port(self) -> str | None:
        """The name of the port it asks; None for `exec`."""
        asked = self.http or self.tcp
        return asked.port if asked else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What healthy means.

    Until `startup` passes, the others wait. A replica takes part while `readiness` passes; one
    whose `startup` or `liveness` fails is replaced.
    """

    __pydantic_config__ = SPEC
    startup: Check | None = None
    readiness: Check | None = None
    liveness: Check | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    __pydantic_config__ = SPEC
    cpu: Cpu | None = None
    memory: Memory | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How one revision replaces another.

    `startFirst`: up to `maxSurge` replicas more than asked, never fewer healthy ones than asked
    less `maxUnavailable`. `stopFirst`: the old replica of a slot ends before the new one starts.
    A revision past `progressDeadline` is held, or (`onFailure: undo`) undone: the last one that was
    healthy comes back, as a new revision that nobody undoes but people. A replica that ends and
    gets no new request has `drain` to answer those it has, WebSockets and streams too; it ends
    sooner where its router says that it has none left. Left out, it is 30 s with such a router,
    5 s with one that does not say, and nothing where no router is. Of the last `keep` former
    revisions the replicas stay, stopped, until newer ones take their place: a return to one of
    them starts these instead of making new ones.
    """

    __pydantic_config__ = SPEC
    strategy: Literal["startFirst", "stopFirst"] | None = None
    max_surge: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = 1
    max_unavailable: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = 0
    progress_deadline: Duration = "10m"
    drain: Duration | None = None
    on_failure: Literal["hold", "undo"] = "hold"
    keep: Annotated[int, Field(ge=0, le=MAX_KEPT)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """Data that outlives a replica: one per slot, or one shared by the whole app.

    `size` is what a Kubernetes target asks its cluster for (`1Gi` if left out); elsewhere it is a
    note for people, and limits nothing.
    """

    __pydantic_config__ = SPEC
    name: Name
    path: Path
    size: Memory | None = None
    scope: Literal["replica", "app"] = "replica"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSpec:
    __pydantic_config__ = SPEC
    target: Name | None = None
    image: ImageName | None = None
    command: Annotated[tuple[Line, ...], Field(max_length=256)] = ()
    args: Annotated[tuple[Line, ...], Field(max_length=1024)] = ()
    workdir: Path | None = None
    env: Env = field(default_factory=dict)
    image_pull: ImagePull = ImagePull()
    ports: Annotated[tuple[Port, ...], Field(max_length=32)] = ()
    health: Health = Health()
    resources: Resources = Resources()
    volumes: Annotated[tuple[Volume, ...], Field(max_length=32)] = ()
    stop_signal: Annotated[str, StringConstraints(pattern=r"^SIG[A-Z0-9+]{2,10}$")] = "SIGTERM"
    stop_grace: Duration = "10s"
    publish: Publishes = ()
    replicas: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] | None = None
    running: bool | None = None
    rollout: Rollout = Rollout()
    autoscale: Autoscale | None = None
    routes: Routes = ()

    @property
    def port_protocols(self) -> dict[str, str]:
        """The protocols of the ports by their names."""
        return {port.name: port.protocol for port in self.ports}

    @property
    def checks(self) -> dict[str, Check]:
        asked = self.health
        health = {
            "startup": asked.startup,
            "readiness": asked.readiness,
            "liveness": asked.liveness,
        }
        return {name: check for name, check in health.items() if check}


SPEC_ADAPTER: TypeAdapter[AppSpec] = TypeAdapter(AppSpec)


def check(spec: AppSpec) -> None:
    """Refuse what each field allows alone but not together.

    Raises:
        BadValue: names the field and the rule.
    """
    if spec.image:
        check_image(spec.image)
    if spec.ports:
        _distinct("ports", [port.name for port in spec.ports])
        _distinct("ports", [f"{port.port}/{port.protocol}" for port in spec.ports])
    if spec.volumes:
        _distinct("volumes", [volume.name for volume in spec.volumes])
        _distinct("volumes", [volume.path for volume in spec.volumes])
    for name, asked in spec.checks.items():
        _check_check(spec, f"spec.health.{name}", asked)
    if spec.autoscale:
        autoscale.check(spec.autoscale, has_memory=spec.resources.memory is not None)
    if spec.routes or spec.publish:
        route.check(spec.routes, spec.publish, spec.port_protocols)
    rollout = spec.rollout
    if rollout.strategy == "startFirst" and spec.publish:
        rule = "of replicas that publish a port of the host, one runs at a time: use stopFirst"
        raise BadValue("spec.rollout.strategy", "startFirst", rule)
    is_start_first = complete_rollout(spec).strategy == "startFirst"
    if is_start_first and rollout.max_surge == 0 and rollout.max_unavailable == 0:
        raise BadValue(
            "spec.rollout", "maxSurge 0, maxUnavailable 0", "one of them must be at least 1"
        )


_PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_NAMED = re.compile(
    rf"(?:[A-Za-z0-9.-]+(?::\d+)?/)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[a-z0-9+._-]+:[0-9a-f]+)?"
)


def check_image(image: str) -> None:
    """Raises `BadValue`: no engine could read it, or its registry is one that is never asked."""
    if rule := _rule_against(image):
        raise BadValue("spec.image", image, rule)


@lru_cache(maxsize=4096)
def _rule_against(image: str) -> str:
    if _NAMED.fullmatch(image) is None:
        return (
            "it is no name of an image; write [HOST/]NAME[:TAG] or NAME@sha256:DIGEST, the name in "
            "lower case"
        )
    return addresses.RULE if addresses.is_closed(addresses.registry_of(image)) else ""


def _distinct(what: str, names: list[str]) -> None:
    if len(names) == 1:
        return
    for index, name in enumerate(names):
        if name in names[:index]:
            raise BadValue(f"spec.{what}[{index}]", name, "it is already taken by an earlier one")


def _check_check(spec: AppSpec, path: str, asked: Check) -> None:
    ways = [way for way in (asked.http, asked.tcp, asked.exec) if way]
    if len(ways) != 1:
        raise BadValue(path, len(ways), "give exactly one of http, tcp and exec")
    tcp = [port.name for port in spec.ports if port.protocol == "tcp"]
    if asked.port is not None and asked.port not in tcp:
        rule = f"name a tcp port of this app (has {', '.join(tcp) or 'none'})"
        raise BadValue(f"{path}.port", asked.port, rule)
    if asked.timeout == "0s" or asked.interval == "0s":
        raise BadValue(path, "0s", "interval and timeout are longer than nothing")


def complete_rollout(spec: AppSpec) -> Rollout:
    """The spec's rollout with its strategy filled in."""
    if spec.rollout.strategy is not None:
        return spec.rollout
    return _with_strategy(
        spec.rollout, "stopFirst" if spec.volumes or spec.publish else "startFirst"
    )


@lru_cache(maxsize=1024)
def _with_strategy(rollout: Rollout, strategy: Literal["startFirst", "stopFirst"]) -> Rollout:
    return replace(rollout, strategy=strategy)


@lru_cache(maxsize=256)
def decode(data: bytes) -> AppSpec:
    """Read a stored spec. What is read often is remembered, for specs never change.

    Raises:
        ValueError: it is not one (pydantic's `ValidationError` is a `ValueError`).
    """
    return SPEC_ADAPTER.validate_json(data)


def digest(template_json: bytes, secrets: Mapping[str, str]) -> str:
    """What a replica is made from, in 16 hexadecimal digits: its template and secret tokens."""
    hasher = blake2b(template_json, digest_size=8)
    for name in sorted(secrets):
        hasher.update(f"\x00{name}={secrets[name]}".encode())
    return hasher.hexdigest()
