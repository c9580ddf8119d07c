"""Routes: by which URLs requests reach an app, and by which ports of its host.

A route changes nothing that runs, so it makes no revision; a published port does, for replicas are
made with it. What is claimed for a route is its URL: who else may use it is `domain.claims`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter

from domain.refusals import BadValue
from domain.schema import SPEC, Name
from domain.url import check_claimable, check_international, host_name, path_prefix

MAX_ROUTES: Final = 64  # of one app
MAX_CONTEXTS: Final = 64  # of one route
OF_A_CONNECTION: Final = frozenset(
    {
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)  # headers that say where a message ends or what becomes of its connection: a router's own
CERTIFICATE_KEYS: Final = ("tls.crt", "tls.key")  # of a Secret with a certificate, as elsewhere

_HEADER: Final = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"  # what RFC 9110 lets a header be named


Host = Annotated[str, Field(max_length=1000), AfterValidator(host_name)]
PathPrefix = Annotated[str, Field(max_length=1024), AfterValidator(path_prefix)]
HeaderName = Annotated[
    str, StringConstraints(pattern=_HEADER, max_length=128), AfterValidator(str.lower)
]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[!-~]+( +[!-~]+)*$", max_length=1024)]
HostPort = Annotated[int, Field(ge=1, le=65535)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Where the certificate comes from: the router's ACME, its own authority, or a Secret.

    A Secret has the keys `tls.crt` and `tls.key`. With `redirect`, plain HTTP is answered with the
    same URL over HTTPS.
    """

    __pydantic_config__ = SPEC
    mode: Literal["auto", "internal", "secret", "off"] = "off"
    secret: Name | None = None
    redirect: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteContext:
    """Requests that carry this header come here, whichever app has the URL otherwise.

    The value is compared letter by letter. While no replica here is ready, `fallback` `base` lets
    the app without a context answer, and `none` answers 503; so does `base` where that app's route
    asks for more `auth` than this one, or differs in `h2c` or in what is stripped.
    """

    __pydantic_config__ = SPEC
    header: HeaderName
    value: HeaderValue
    fallback: Literal["base", "none"] = "base"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderToSet:
    __pydantic_config__ = SPEC
    name: HeaderName
    value: HeaderValue


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteMirror:
    """Another app of the project gets copies of so many of a hundred requests.

    Its answers are dropped, and nothing waits for them. Copies go to its port of the same name, or
    to its only tcp port.
    """

    __pydantic_config__ = SPEC
    app: Name
    percent: Annotated[int, Field(ge=1, le=100)] = 100


HeadersToSet = Annotated[tuple[HeaderToSet, ...], Field(max_length=32)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteHeaders:
    """Headers that are set on the way to the app, and on the way back."""

    __pydantic_config__ = SPEC
    request: HeadersToSet = ()
    response: HeadersToSet = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Requests of a host, below a path, reach a named port of the app.

    `port` may be left out where the app has one tcp port. With `contexts`, only requests that carry
    one of their headers come here. `auth` `soft` tells the app who asks, if that is known; `hard`
    sends who is not known to the login.
    """

    __pydantic_config__ = SPEC
    host: Host
    path: PathPrefix = "/"
    strip_prefix: bool = False
    port: Name | None = None
    tls: Tls = Tls()
    h2c: bool = False
    auth: Literal["off", "soft", "hard"] = "off"
    contexts: Annotated[tuple[RouteContext, ...], Field(max_length=MAX_CONTEXTS)] = ()
    headers: RouteHeaders = RouteHeaders()
    mirror: RouteMirror | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """A port of the host that leads to a named port of the app, without HTTP.

    One replica at a time can have it, so the old one ends before the new one starts.
    """

    __pydantic_config__ = SPEC
    port: Name
    protocol: Literal["tcp", "udp"] = "tcp"
    host_port: HostPort


Routes = Annotated[tuple[Route, ...], Field(max_length=MAX_ROUTES)]
Publishes = Annotated[tuple[Publish, ...], Field(max_length=32)]

_ROUTES: Final[TypeAdapter[tuple[Route, ...]]] = TypeAdapter(Routes)


def check(routes: Sequence[Route], publish: Sequence[Publish], ports: Mapping[str, str]) -> None:
    """Refuse what each field allows alone but not together; `ports` is protocol by name.

    Raises:
        BadValue: names the field and the rule.
    """
    tcp = [name for name, protocol in ports.items() if protocol == "tcp"]
    for index, route in enumerate(routes):
        _check_route(f"spec.routes[{index}]", route, tcp)
    for index, one in enumerate(publish):
        at = f"spec.publish[{index}]"
        if ports.get(one.port) != one.protocol:
            of_kind = ", ".join(name for name, kind in ports.items() if kind == one.protocol)
            rule = f"name a {one.protocol} port of this app (has {of_kind or 'none'})"
            raise BadValue(f"{at}.port", one.port, rule)
        for earlier in publish[:index]:
            if (earlier.host_port, earlier.protocol) == (one.host_port, one.protocol):
                raise BadValue(f"{at}.hostPort", one.host_port, "an earlier one has it already")


def _check_route(at: str, route: Route, tcp: Sequence[str]) -> None:
    try:
        check_international(route.host)
    except ValueError as error:
        raise BadValue(f"{at}.host", route.host, str(error)) from None
    try:
        check_claimable(route.path)
    except ValueError as error:
        raise BadValue(f"{at}.path", route.path, str(error)) from None
    _check_headers(at, route)
    if route.port is None and len(tcp) != 1:
        rule = f"name a tcp port of this app (has {', '.join(tcp) or 'none'})"
        raise BadValue(f"{at}.port", None, rule)
    if route.port is not None and route.port not in tcp:
        rule = f"name a tcp port of this app (has {', '.join(tcp) or 'none'})"
        raise BadValue(f"{at}.port", route.port, rule)
    if route.strip_prefix and route.path == "/":
        raise BadValue(f"{at}.stripPrefix", value=True, rule="the path / has nothing to strip")
    if (route.tls.mode == "secret") != (route.tls.secret is not None):
        rule = "mode secret needs the name of a Secret, and no other mode has one"
        raise BadValue(f"{at}.tls.secret", route.tls.secret, rule)


def _check_headers(at: str, route: Route) -> None:
    for index, context in enumerate(route.contexts):
        if context.header in OF_A_CONNECTION or context.header == "host":
            rule = "contexts are told apart by a header that says nothing else, such as x-context"
            raise BadValue(f"{at}.contexts[{index}].header", context.header, rule)
    for way, headers in (("request", route.headers.request), ("response", route.headers.response)):
        names = [one.name for one in headers]
        for index, name in enumerate(names):
            field = f"{at}.headers.{way}[{index}].name"
            if name in OF_A_CONNECTION:
                rule = "it belongs to a connection, and each has its own; leave it out"
                raise BadValue(field, name, rule)
            if name in names[:index]:
                raise BadValue(field, name, "an earlier one sets it already; leave out one of them")


def complete(routes: Sequence[Route], ports: Mapping[str, str]) -> tuple[Route, ...]:
    """The routes with the port that goes without saying."""
    tcp = [name for name, protocol in ports.items() if protocol == "tcp"]
    if len(tcp) != 1:
        return tuple(routes)
    return tuple(replace(one, port=tcp[0]) if one.port is None else one for one in routes)


def encode(routes: Sequence[Route]) -> bytes:
    """The canonical JSON of routes: equal ones give equal bytes; nothing for none."""
    if not routes:
        return b""
    return _ROUTES.dump_json(tuple(routes), by_alias=True, exclude_none=True)


@lru_cache(maxsize=4096)
def decode(data: bytes) -> tuple[Route, ...]:
    """Read stored routes; raises `ValueError` when they are none."""
    return _ROUTES.validate_json(data) if data else ()


def mirrored_port(wanted: str, ports: Mapping[str, str]) -> str | None:
    """The port that copies go to of an app with these: the one that is named so, or the only one.

    None: it has no such tcp port. `ports` is protocol by name.
    """
    tcp = [name for name, protocol in ports.items() if protocol == "tcp"]
    if wanted in tcp:
        return wanted
    return tcp[0] if len(tcp) == 1 else None


def secrets_of(routes: Sequence[Route]) -> frozenset[str]:
    """The names of the Secrets whose certificates the routes use."""
    return frozenset(one.tls.secret for one in routes if one.tls.secret)
