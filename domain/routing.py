"""What a target's operator lets routes have: domains, host ports, certificates, and the router.

A target without these settings has the names of this host alone, and no ports.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, StringConstraints

from domain import addresses, domains
from domain.domains import Domain
from domain.refusals import BadValue
from domain.route import HeaderName, HostPort, Publish, Route
from domain.schema import SPEC

_ON_HOSTS: Final = ("caddy", "haproxy", "traefik")
_ON_CLUSTERS: Final = ("gateway", "ingress", "traefik")
_PEM: Final = re.compile(
    r"(-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*)+"
)
_IMAGE: Final = r"^[a-zA-Z0-9][a-zA-Z0-9_.:/@-]*$"
_ENTRY: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:\[\]]*):\d{1,5}")


def _entry(text: str) -> str:
    if _ENTRY.fullmatch(text) is None or int(text.rpartition(":")[2]) > 65535:
        raise ValueError("an entry is an address and a port: 0.0.0.0:80, [::]:443, :8080")
    return text


def _certificates(text: str) -> str:
    if text and _PEM.fullmatch(text.strip()) is None:
        raise ValueError("it is one or more PEM certificates, and nothing else: no key, no path")
    return text


ObjectName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=253)
]
LabelText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9./_-]*$", max_length=253)]
Entry = Annotated[str, Field(max_length=255), AfterValidator(_entry)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRange:
    """Ports of the host that apps may publish, `last` included."""

    __pydantic_config__ = SPEC
    first: HostPort
    last: HostPort
    protocol: Literal["tcp", "udp"] = "tcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Acme:
    """Who gives certificates to routes with `tls.mode: auto`: a directory, asked in this name.

    `trust` is what a directory of one's own is known by: PEM certificates; left out, what the host
    of the router trusts. `challenges` are the ways in which hosts are proven, over port 80 or 443.
    """

    __pydantic_config__ = SPEC
    directory: Annotated[str, StringConstraints(pattern=r"^https?://\S+$", max_length=1000)] = (
        "https://acme-v02.api.letsencrypt.org/directory"
    )
    email: Annotated[str, StringConstraints(pattern=r"^$|^\S+@\S+$", max_length=254)] = ""
    trust: Annotated[str, Field(max_length=65536), AfterValidator(_certificates)] = ""
    challenges: Annotated[
        tuple[Literal["http", "tls-alpn"], ...], Field(min_length=1, max_length=2)
    ] = ("http", "tls-alpn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """Where the router listens. Two targets of one host need entries of their own."""

    __pydantic_config__ = SPEC
    http: Entry = ":80"
    https: Entry = ":443"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A Gateway of the operator's that routes are attached to, and two of its listeners.

    `mirrorPercent` says that it can copy a part of the requests: that of Gateway API 1.3 and later.
    """

    __pydantic_config__ = SPEC
    name: ObjectName = "stateward"
    namespace: ObjectName = "stateward-routing"
    http: ObjectName = "http"
    https: ObjectName = "https"
    mirror_percent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TraefikEntries:
    """How a Traefik in a cluster is set up: two of its entry points, and what else it has.

    `certResolver` gets the certificates of routes with `tls.mode: auto`; `verify` is the URL at
    which it asks who a user is (`/auth/verify` of Stateward, as it is reached from there).
    """

    __pydantic_config__ = SPEC
    http: ObjectName = "web"
    https: ObjectName = "websecure"
    cert_resolver: ObjectName | None = None
    verify: (
        Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#]+$", max_length=1000)] | None
    ) = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressClass:
    """Which controller serves Ingresses; left out, the cluster's default.

    `issuer` is a ClusterIssuer of cert-manager, for routes with `tls.mode: auto`.
    """

    __pydantic_config__ = SPEC
    class_name: ObjectName | None = None
    issuer: ObjectName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterPods:
    """Where the pods of a cluster's router are: they alone are let in from other namespaces.

    `namespace` left out is the Gateway's; without `labels`, all pods there are let in.
    """

    __pydantic_config__ = SPEC
    namespace: ObjectName | None = None
    labels: Annotated[Mapping[LabelText, LabelText], Field(max_length=16)] = field(
        default_factory=dict
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRouter:
    """The router of a cluster, which is the operator's: Stateward only gives it routes."""

    __pydantic_config__ = SPEC
    gateway: Gateway = Gateway()
    traefik: TraefikEntries = TraefikEntries()
    ingress: IngressClass = IngressClass()
    pods: RouterPods = RouterPods()


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """How requests reach the apps of a target.

    `router` left out is `caddy`, on Kubernetes `gateway` (its Gateway API); with `none`, routes are
    not served by Stateward. A Docker target whose host has no Caddy runs it as a container of
    `image`. `contextHeaders` are those by which contexts are told apart here: one that is not among
    them is served as well, but its first context costs a reload of the router. `cluster` says of a
    Kubernetes target's router what is not usual.
    """

    __pydantic_config__ = SPEC
    router: Literal["caddy", "haproxy", "traefik", "gateway", "ingress", "none"] | None = None
    domains: Annotated[tuple[Domain, ...], Field(max_length=64)] = (
        Domain(pattern="localhost"),
        Domain(pattern="*.localhost"),
    )
    port_ranges: Annotated[tuple[PortRange, ...], Field(max_length=64)] = ()
    acme: Acme = Acme()
    entries: Entries = Entries()
    context_headers: Annotated[tuple[HeaderName, ...], Field(max_length=8)] = ("x-context",)
    image: Annotated[str, StringConstraints(pattern=_IMAGE, max_length=512)] | None = None
    cluster: ClusterRouter | None = None

    def router_for(self, engine: str) -> str:
        """The router of a target that runs this engine."""
        return self.router or ("gateway" if engine == "k8s" else "caddy")

    def port_for(self, scheme: Literal["http", "https"]) -> int:
        """The port that clients ask; the router of a cluster has the usual ones."""
        usual = Entries() if self.cluster is not None else self.entries
        entry = usual.https if scheme == "https" else usual.http
        return int(entry.rpartition(":")[2])


def check(routing: Routing, engine: str) -> None:
    """Refuse what no operator means, and routers that another engine has; raises `BadValue`."""
    has = _ON_CLUSTERS if engine == "k8s" else _ON_HOSTS
    if routing.router not in (None, "none", *has):
        rule = f"a target of engine {engine} has the routers {', '.join(has)} and none"
        raise BadValue("spec.routing.router", routing.router, rule)
    if routing.image is not None and engine != "docker":
        rule = "a router is a container only of a target whose engine is docker"
        raise BadValue("spec.routing.image", routing.image, rule)
    if routing.image is not None and addresses.is_closed(addresses.registry_of(routing.image)):
        raise BadValue("spec.routing.image", routing.image, addresses.RULE)
    if routing.cluster is not None and engine != "k8s":
        rule = f"only a target of engine k8s has a router in its cluster, and this is {engine}"
        raise BadValue("spec.routing.cluster", "set", rule)
    domains.check(routing.domains, routing.router_for(engine), engine)
    for index, one in enumerate(routing.port_ranges):
        if one.last < one.first:
            rule = f"the last port of a range is not below its first, {one.first}"
            raise BadValue(f"spec.routing.portRanges[{index}].last", one.last, rule)
    if addresses.is_closed(addresses.host_of(routing.acme.directory)):
        raise BadValue("spec.routing.acme.directory", routing.acme.directory, addresses.RULE)


def check_app(
    routing: Routing, target: str, routes: Sequence[Route], publish: Sequence[Publish]
) -> None:
    """Refuse what the target's operator does not offer; raises `BadValue`."""
    for index, route in enumerate(routes):
        at = f"spec.routes[{index}]"
        domain = domains.domain_of(routing.domains, route.host)
        if domain is None:
            raise BadValue(f"{at}.host", route.host, _not_offered(routing, target, route.host))
        if route.auth != "off" and not domain.auth:
            rule = f"target {target} offers no auth on {domain.pattern}; an operator may allow it"
            raise BadValue(f"{at}.auth", route.auth, rule)
    for index, one in enumerate(publish):
        at, asked = f"spec.publish[{index}].hostPort", f"{one.host_port}/{one.protocol}"
        if not any(_offers(offered, one) for offered in routing.port_ranges):
            ranges = [f"{r.first}-{r.last}/{r.protocol}" for r in routing.port_ranges]
            rule = f"target {target} offers the ports {', '.join(ranges) or 'none'}"
            raise BadValue(at, asked, rule)
        if one.protocol == "tcp" and one.host_port in _router_ports(routing):
            rule = (
                f"the router of target {target} listens there; take another port or a route, or "
                "have spec.routing.router of the target be none"
            )
            raise BadValue(at, asked, rule)


def _not_offered(routing: Routing, target: str, host: str) -> str:
    for one in routing.domains:
        if (excluded := one.leaves_out(host)) is not None:
            return (
                f"target {target} offers the domains {one.pattern} without {excluded}; take "
                "another host, or ask an operator for this one"
            )
    offered = ", ".join(one.pattern for one in routing.domains) or "none"
    return f"target {target} offers the domains {offered}; an operator may add to them"


def _router_ports(routing: Routing) -> tuple[int, ...]:
    if routing.router == "none":
        return ()
    return routing.port_for("http"), routing.port_for("https")


def _offers(offered: PortRange, one: Publish) -> bool:
    return offered.protocol == one.protocol and offered.first <= one.host_port <= offered.last
