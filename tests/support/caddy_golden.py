"""Golden configurations: what Caddy is told for typical tables, as files that people like to read.

`make golden` writes them anew; look at the difference before you commit.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from adapters.caddy.render import render
from adapters.caddy.site import Acme, CertificateFiles, Site, Verify
from projections.route_table import Backend, Header, RouteTable, Row, Share, Tls

DIRECTORY: Final = Path(__file__).parents[1] / "caddy" / "golden"
_WEB, _API = Backend("App/shop/web", 4, "http"), Backend("App/shop/api", 9, "http")
_FEATURE = Backend("App/shop/web-feature", 23, "http")
_LOGIN: Final = "https://login.example.org/verify"
_OTHER, _PLAIN = "b.example.org", "http://[fd00::1]:4181"
_CERTIFICATE: Final = "Secret/shop/certificate"


def site(**more: Any) -> Site:
    told: dict[str, Any] = {"http": (":80",), "inner_port": 5300, "admin": "admin.sock"}
    told |= {"storage": "/data/caddy", "contexts": "/data/contexts"}
    return Site(**(told | more))


def _row(path: str, *shares: Share, **more: Any) -> Row:
    told: dict[str, Any] = {"scheme": "http", "host": "shop.example.org", "context": None} | more
    number = told.pop("number")
    name = f"App/shop/web:{number}"
    return Row(id=name, target="local", path=path, precedence=number, shares=shares, **told)


def _secure(host: str, number: int, tls: Tls, **more: Any) -> Row:
    to = Share(_WEB, 1)
    return _row("/", to, number=number, scheme="https", host=host, tls=tls, **more)


def _table(*rows: Row) -> RouteTable:
    return RouteTable(rows=rows)


CASES: Final[Mapping[str, dict[str, Any]]] = {
    "nothing": render(RouteTable(), site()),
    "apps": render(
        _table(
            _row(
                "/api",
                Share(_API, 1),
                number=130,
                strip_prefix=True,
                request_headers=(Header("x-team", "{shop}"),),
                response_headers=(Header("x-frame-options", "DENY"),),
            ),
            _row("/", Share(_WEB, 1), number=100),
        ),
        site(),
    ),
    "contexts": render(
        _table(
            _row(
                "/",
                Share(_FEATURE, 1),
                number=1000,
                context=Header("x-context", "feature-1"),
                fallback=(Share(_WEB, 1),),
            ),
            _row("/", Share(_WEB, 9), Share(_API, 1), number=100),
        ),
        site(context_headers=("x-context",)),
    ),
    "secure": render(
        _table(
            _secure("auto.example.org", 103, Tls(mode="auto")),
            _secure("inside.example.org", 102, Tls(mode="internal")),
            _secure("own.example.org", 101, Tls(mode="secret", secret=_CERTIFICATE)),
            _row("/", number=100, redirect=True),
        ),
        site(
            https=(":8443",),
            acme=Acme("https://acme.example.org/directory", "ops@example.org", ("/etc/root.pem",)),
            certificates={_CERTIFICATE: CertificateFiles("/data/own.pem", "/data/own.key")},
        ),
    ),
    "users": render(
        _table(
            _row("/admin", Share(_WEB, 1), number=140, auth="hard"),
            _row("/", Share(_WEB, 1), number=100, auth="soft"),
        ),
        site(verify=Verify("127.0.0.1:7440")),
    ),
    "domains": render(
        _table(
            _row("/", Share(_WEB, 1), number=102, auth="hard", verify=_LOGIN),
            _row("/", Share(_WEB, 1), number=101, host=_OTHER, auth="soft", verify=_PLAIN),
            _row("/", Share(_WEB, 1), number=100, host="c.example.org", auth="hard"),
        ),
        site(),
    ),
    "newer": render(
        _table(_row("/", Share(_API, 1), number=100, h2c=True)), site(version=(2, 7, 0))
    ),
}


def text(name: str) -> str:
    """The file of a case."""
    return json.dumps(CASES[name], indent=1) + "\n"


def write() -> None:
    for path in DIRECTORY.glob("*.json"):
        path.unlink()
    for name in CASES:
        (DIRECTORY / f"{name}.json").write_text(text(name))


if __name__ == "__main__":
    write()
