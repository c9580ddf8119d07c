"""Route tables for tests: short ways to write rows, and one table with everything a row can say."""

from typing import Final, TypedDict, Unpack

import msgspec

from projections.route_table import (
    Auth,
    Backend,
    Header,
    Mirror,
    RouteTable,
    Row,
    Scheme,
    Share,
    Tls,
)

WEB: Final = Backend("App/shop/web", 11, "http")
API: Final = Backend("App/shop/api", 12, "http")
FEATURE: Final = Backend("App/shop/web-feature", 13, "http")
STREAM: Final = Backend("App/shop/stream", 14, "grpc")


class Further(TypedDict, total=False):
    """What most rows do not say."""

    scheme: Scheme
    context: Header | None
    fallback: tuple[Share, ...]
    strip_prefix: bool
    redirect: bool
    h2c: bool
    auth: Auth
    verify: str
    middlewares: tuple[str, ...]
    tls: Tls | None
    request_headers: tuple[Header, ...]
    response_headers: tuple[Header, ...]
    mirror: Mirror | None


def shares(*backends: Backend) -> tuple[Share, ...]:
    return tuple(Share(backend, 1) for backend in backends)


def row(
    host: str, path: str, to: tuple[Share, ...], /, name: str = "", **more: Unpack[Further]
) -> Row:
    """Return a row; one of a context comes before all without, a longer path before a shorter."""
    context = more.get("context")
    scheme = more.pop("scheme", "http")
    plain = Row(
        id=name or f"{scheme}-{host}{path.replace('/', '-')}{context.value if context else ''}",
        target="local",
        scheme=scheme,
        host=host,
        path=path,
        precedence=(10_000 if context else 1_000) + len(path),
        context=None,
        shares=to,
    )
    return msgspec.structs.replace(plain, **more)


def table(*rows: Row) -> RouteTable:
    return RouteTable(rows=tuple(sorted(rows, key=lambda one: -one.precedence)))


EVERYTHING: Final = table(
    row("shop.example", "/", shares(WEB), "web"),
    row("shop.example", "/api", shares(API), "api", strip_prefix=True),
    row(
        "shop.example",
        "/",
        shares(FEATURE),
        "feature",
        context=Header("x-context", "feature 1"),
        fallback=shares(WEB),
    ),
    row("shop.example", "/split", (Share(WEB, 9), Share(FEATURE, 1)), "split"),
    row("rpc.example", "/", shares(STREAM), "rpc", h2c=True),
    row(
        "shop.example",
        "/told",
        shares(WEB),
        "told",
        request_headers=(Header("x-team", "shop one"), Header("x-gone", "")),
        response_headers=(Header("cache-control", "no-store"),),
    ),
    row("safe.example", "/", shares(WEB), "safe", scheme="https", tls=Tls(mode="internal")),
    row("safe.example", "/", (), "safe-redirect", redirect=True),
    row(
        "own.example",
        "/",
        shares(WEB),
        "own",
        scheme="https",
        tls=Tls(mode="secret", secret="Secret/shop/own"),
    ),
    row(
        "open.example",
        "/",
        shares(WEB),
        "open",
        scheme="https",
        tls=Tls(mode="auto"),
    ),
    row("inner.example", "/", shares(WEB), "inner", auth="hard"),
    row("known.example", "/", shares(WEB), "known", auth="soft"),
    row("copied.example", "/", shares(WEB), "copied", mirror=Mirror(API, 8080, 10)),
)
"""A table with everything that a row can say."""


def asked_by_domain(*middlewares: str) -> RouteTable:
    """A table in which domains have users of their own, one by the operator's middlewares."""
    login, other = "https://login.example.org/verify", "http://other.example:4181"
    return table(
        row("own.example", "/", shares(WEB), "own-hard", auth="hard", verify=login),
        row("own.example", "/soft", shares(WEB), "own-soft", auth="soft", verify=login),
        row("other.example", "/", shares(WEB), "other", auth="hard", verify=other),
        row("usual.example", "/", shares(WEB), "usual", auth="hard"),
        row(
            "given.example",
            "/app",
            shares(WEB),
            "given",
            auth="hard",
            verify=login,
            middlewares=middlewares,
            strip_prefix=True,
        ),
    )
