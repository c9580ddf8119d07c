"""The configuration of Caddy for a table of routes: pure, the same table always gives the same.

It names pools and no addresses (`adapters.caddy.pools`), so replicas come and go without it.
"""

from typing import Any, Final

from adapters.caddy import troubles
from adapters.caddy.pages import NO_REPLICA, TROUBLE, page
from adapters.caddy.routes import routes
from adapters.caddy.site import Site, port_of
from projections.route_table import RouteTable, Tls

JSON = dict[str, Any]

ORIGIN: Final = "stateward"  # the Host that its admin socket takes requests for
_ERROR: Final = "{http.error.status_code}"
_SHUTDOWN: Final = "30s"  # that Caddy waits for requests from before a change; they go on after it


def render(table: RouteTable, site: Site) -> JSON:
    """Everything that Caddy is told."""
    http: JSON = {
        "grace_period": _SHUTDOWN,
        "servers": {
            "http": _server(site.http, table, "http", site),
            "nothing": _nothing(site.inner_port),
        },
    }
    if site.http:
        http["http_port"] = port_of(site.http[0])
    apps: JSON = {"http": http}
    if site.https:
        http["https_port"] = port_of(site.https[0])
        secure = _server(site.https, table, "https", site)
        http["servers"]["https"] = secure | {"tls_connection_policies": [{}]}
        apps["pki"] = {"certificate_authorities": {"local": {"install_trust": False}}}
        apps["tls"] = _tls(table, site)
    return {
        "admin": {
            "listen": f"unix/{site.admin}",
            "origins": [ORIGIN],
            "config": {"persist": False},
        },
        "logging": {"logs": {"default": {"level": "WARN"}, "certificates": troubles.LOG}},
        "storage": {"module": "file_system", "root": site.storage},
        "apps": apps,
    }


def _server(listen: tuple[str, ...], table: RouteTable, scheme: str, site: Site) -> JSON:
    return {
        "listen": list(listen),
        "protocols": ["h1", "h2"],
        "automatic_https": {"disable": True},  # What is certified is said below, host by host.
        "routes": routes(table.rows, scheme, site),
        "errors": {"routes": [{"handle": [page(_ERROR, TROUBLE)]}]},
    }


def _nothing(port: int) -> JSON:
    """Where the resolvers send requests that no replica is there for, in whatever HTTP."""
    return {
        "listen": [f"127.0.0.1:{port}"],
        "protocols": ["h1", "h2c"],
        "automatic_https": {"disable": True},
        "routes": [{"handle": [page(503, NO_REPLICA)]}],
    }


def _tls(table: RouteTable, site: Site) -> JSON:
    """A certificate for each host, as the first of its rows that says something wants it."""
    wanted: dict[str, Tls] = {}
    for row in table.rows:
        if row.scheme == "https" and row.tls is not None:
            wanted.setdefault(row.host, row.tls)
    issued = {host: tls.mode for host, tls in wanted.items() if tls.mode != "secret"}
    secrets = sorted({tls.secret for tls in wanted.values() if tls.mode == "secret"})
    files = [
        {"certificate": found.certificate, "key": found.key, "tags": [secret]}
        for secret in secrets
        if (found := site.certificates.get(secret)) is not None
    ]
    return {
        "certificates": {"automate": sorted(issued), "load_files": files},
        "automation": {
            "policies": [
                {"subjects": subjects, "issuers": [issuer]}
                for mode, issuer in (("auto", _acme(site)), ("internal", {"module": "internal"}))
                if (subjects := sorted(host for host, asked in issued.items() if asked == mode))
            ]
        },
    }


def _acme(site: Site) -> JSON:
    issuer: JSON = {"module": "acme", "ca": site.acme.directory}
    if challenges := _challenges(site):
        issuer["challenges"] = challenges
    if site.acme.email:
        issuer["email"] = site.acme.email
    if site.acme.roots:
        issuer["trusted_roots_pem_files"] = list(site.acme.roots)
    return issuer


def _challenges(site: Site) -> JSON:
    """How a host is proven: who asks comes to ports 80 and 443, whatever ours are behind them."""
    found: JSON = {}
    for name, entries, usual in (("http", site.http, 80), ("tls-alpn", site.https, 443)):
        if name not in site.acme.challenges or not entries:
            found[name] = {"disabled": True}
        elif (port := port_of(entries[0])) != usual:
            found[name] = {"alternate_port": port}
    return found
