"""Which hosts apps of a target may have, and who is asked about the users of each.

Of several domains that have a host, the most specific decides: the host itself, then the longest
`*.` pattern, then the one named first.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints

from domain import addresses
from domain.refusals import BadValue
from domain.schema import SPEC
from domain.url import host_name

_ASKING: Final = ("caddy", "traefik")  # routers that ask whom a row names
_CLUSTERED: Final = "/"  # is in the name of a middleware of a cluster, `@` in that of any other


def _pattern(text: str) -> str:
    """Return a host, or `*.` before one; raises `ValueError`."""
    host_name(text.removeprefix("*."))
    return text


def _asked(text: str) -> str:
    """Return a URL that a router can ask; raises `ValueError`."""
    parts = urlsplit(text)
    if not parts.hostname or parts.port == 0:
        raise ValueError("it names a host: https://login.example.org/verify")
    return text


Pattern = Annotated[str, Field(max_length=255), AfterValidator(_pattern)]
VerifyUrl = Annotated[
    str,
    StringConstraints(
        pattern=r"^https?://[A-Za-z0-9_.:\[\]-]+(/[A-Za-z0-9._~%/+:=,-]*)?$", max_length=1000
    ),
    AfterValidator(_asked),
]
MiddlewareName = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z0-9.-]+/[a-z0-9.-]+|[A-Za-z0-9_.-]+@[a-z][a-z-]*)$", max_length=320
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Middlewares:
    """Middlewares of the operator's own Traefik, in the order in which requests pass them.

    Routes with this `auth` have them instead of a question of ours; an empty list changes nothing.
    They are named `name@provider`, in a cluster `namespace/name`.
    """

    __pydantic_config__ = SPEC
    soft: Annotated[tuple[MiddlewareName, ...], Field(max_length=16)] = ()
    hard: Annotated[tuple[MiddlewareName, ...], Field(max_length=16)] = ()

    def of(self, auth: Literal["off", "soft", "hard"]) -> tuple[str, ...]:
        return {"off": (), "soft": self.soft, "hard": self.hard}[auth]


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """Hosts that apps may have: one, or with `*.` all below one, but for those in `exclude`.

    `auth` says that routes there may ask who it is, `verify` whom: a URL that answers as
    `/auth/verify` does, which is asked where there is none; `?auth=soft|hard` is added. With
    `middlewares`, a Traefik of the operator's asks by these. Of several domains that have a host,
    the most specific decides.
    """

    __pydantic_config__ = SPEC
    pattern: Pattern
    exclude: Annotated[tuple[Pattern, ...], Field(max_length=64)] = ()
    auth: bool = False
    verify: VerifyUrl | None = None
    middlewares: Middlewares | None = None

    def has(self, host: str) -> bool:
        """Whether an app may have this host."""
        return _fits(self.pattern, host) and not any(_fits(one, host) for one in self.exclude)

    def leaves_out(self, host: str) -> str | None:
        """The exclusion that keeps a host of this pattern from apps."""
        if not _fits(self.pattern, host):
            return None
        return next((one for one in self.exclude if _fits(one, host)), None)


def _fits(pattern: str, host: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return host == pattern


def domain_of(domains: Iterable[Domain], host: str) -> Domain | None:
    """The domain that decides over a host; None if none has it."""
    having = (one for one in domains if one.has(host))
    return max(having, key=_specificity, default=None)


def _specificity(domain: Domain) -> tuple[bool, int]:
    return not domain.pattern.startswith("*."), len(domain.pattern)


def check(domains: Sequence[Domain], router: str, engine: str) -> None:
    """Refuse what this router of a target of this engine cannot do; raises `BadValue`."""
    for index, one in enumerate(domains):
        at = f"spec.routing.domains[{index}]"
        if not one.auth and (one.verify or one.middlewares):
            rule = "verify and middlewares say who is asked, so they want auth: true beside them"
            raise BadValue(f"{at}.auth", one.auth, rule)
        if one.verify and addresses.is_closed(addresses.host_of(one.verify)):
            raise BadValue(f"{at}.verify", one.verify, addresses.RULE)
        if one.verify and router not in _ASKING:
            others = "traefik" if engine == "k8s" else " or ".join(_ASKING)
            rule = (
                f"the router of this target, {router}, asks nobody for one domain alone; leave it "
                f"out, or have spec.routing.router be {others}"
            )
            raise BadValue(f"{at}.verify", one.verify, rule)
        if one.middlewares is None:
            continue
        if router != "traefik":
            rule = (
                f"only Traefik has middlewares, and the router of this target is {router}; name "
                "whom it asks by verify, or have spec.routing.router be traefik"
            )
            raise BadValue(f"{at}.middlewares", "set", rule)
        for field, name in _named(one.middlewares):
            if (_CLUSTERED in name) != (engine == "k8s"):
                form = "namespace/name" if engine == "k8s" else "name@provider"
                rule = f"a target of engine {engine} names a middleware of its Traefik by {form}"
                raise BadValue(f"{at}.middlewares.{field}", name, rule)


def _named(middlewares: Middlewares) -> Iterator[tuple[str, str]]:
    for auth, names in (("soft", middlewares.soft), ("hard", middlewares.hard)):
        for index, name in enumerate(names):
            yield f"{auth}[{index}]", name
