"""The route table: which app answers which request. One for all targets, a pure projection.

A table is immutable and fully ordered: the first row that fits a request answers it. A row names
backends, never addresses: which replicas of a backend are healthy is a second table that changes
faster (`Endpoints`), so that a rollout changes no route.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

type Scheme = Literal["http", "https"]
type Auth = Literal["off", "soft", "hard"]
type TlsMode = Literal["auto", "internal", "secret"]


class Header(NamedTuple):
    """`name` is in lower case; `value` is compared letter by letter."""

    name: str
    value: str


class Backend(NamedTuple):
    """One named port of an app. `app` is its stream, `uid` tells lives of one name apart."""

    app: str
    uid: int
    port: str


class Share(NamedTuple):
    """A backend, and its part of the requests against the weights of the others of a row."""

    backend: Backend
    weight: int


class Mirror(NamedTuple):
    """Who gets copies of `percent` of a row's requests; its answers are dropped.

    `number` is the backend's port as its spec has it. There is nobody by that name while `uid` of
    the backend is 0.
    """

    backend: Backend
    number: int
    percent: int


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Where a row's certificate comes from; `secret` is the stream of a Secret, else empty."""

    mode: TlsMode
    secret: str = ""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to requests of one (scheme, host, path, context).

    `id` stays the same as long as app and URL do; `app` is the stream of the app that declared it.
    `path` has no slash at its end, except that the
    root is `/`; it covers itself and what is below it (`/api` covers `/api/x`, not `/apix`).
    `context` is the header that a request must carry. `shares` are asked first; when none of their
    backends has an endpoint, `fallback` is, and when that has none either (or is empty), the
    answer is 503. A row with `redirect` answers with its https twin's URL and has no shares.
    `mirror` makes no difference to any answer. `verify` is the URL that is asked about users, where
    that is not the target's own; `middlewares` are those of the operator's Traefik that requests
    pass instead, in this order.
    `precedence` orders rows, higher first; rows of equal precedence can not fit the same request.
    """

    id: str
    target: str
    scheme: Scheme
    host: str
    path: str
    context: Header | None
    precedence: int
    shares: tuple[Share, ...]
    fallback: tuple[Share, ...] = ()
    strip_prefix: bool = False
    redirect: bool = False
    h2c: bool = False
    auth: Auth = "off"
    verify: str = ""
    middlewares: tuple[str, ...] = ()
    tls: Tls | None = None
    request_headers: tuple[Header, ...] = ()
    response_headers: tuple[Header, ...] = ()
    mirror: Mirror | None = None
    app: str = ""


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A port of the host that leads to one app, without HTTP."""

    target: str
    backend: Backend
    protocol: Literal["tcp", "udp"]
    host_port: int


class RouteTable(msgspec.Struct, frozen=True, kw_only=True):
    """`rows` from the highest precedence to the lowest; what fits none is answered with 404."""

    rows: tuple[Row, ...] = ()
    published: tuple[Published, ...] = ()


class Reach(msgspec.Struct, frozen=True):
    """By which URLs one app is to be reached, and all rows of these hosts; both in order.

    `copied` are those of its ports that copies of requests to other apps come to, `tokens` the
    keyed digests of the Secrets that its certificates are in, by their streams.
    """

    rows: tuple[Row, ...] = ()
    beside: tuple[Row, ...] = ()
    copied: frozenset[str] = frozenset()
    tokens: tuple[tuple[str, str], ...] = ()


class Endpoint(NamedTuple):
    """A healthy replica's port, as this host reaches it. `weight` against those beside it."""

    host: str
    number: int
    weight: int = 1


type Endpoints = Mapping[Backend, tuple[Endpoint, ...]]
"""The endpoints of each backend, in order of slot and attempt; what has none may be missing."""
