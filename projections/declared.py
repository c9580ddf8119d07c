"""What one app declares of how it is reached: its routes and published ports. Pure.

And of whom else that speaks: who gets copies of its requests, and Secrets with its certificates.
When one of these changes, so do the app's rows.
"""

from collections.abc import Iterable
from typing import NamedTuple

from domain.names import Ref
from domain.names import app as app_ref
from domain.route import Publish, Route, mirrored_port, secrets_of
from projections.desired import DesiredApp, DesiredState
from projections.route_table import Backend, Mirror, Published


class Declared(NamedTuple):
    """What one app says of how it is reached, and who gets the copies of each route's requests."""

    stream: str
    uid: int
    target: str
    routes: tuple[Route, ...]
    publish: tuple[Publish, ...]
    mirrors: tuple[Mirror | None, ...]


def by(desired: DesiredState, app: DesiredApp | None) -> Declared | None:
    """What an app declares as it is desired, or as it might be; None if it declares nothing."""
    if app is None or not (app.spec.routes or app.spec.publish):
        return None
    routes = app.spec.routes
    mirrors = tuple(_mirror(desired, app, one) for one in routes)
    return Declared(app.ref.stream, app.uid, app.reached_at, routes, app.spec.publish, mirrors)


def _mirror(desired: DesiredState, app: DesiredApp, route: Route) -> Mirror | None:
    """Who gets the copies; without a life and a port where there is no such app."""
    if route.mirror is None:
        return None
    stream = app_ref(app.ref.project, route.mirror.app).stream
    other = desired.app(stream)
    port = None
    if other is not None and other.reached_at == app.reached_at:
        port = mirrored_port(route.port or "", other.spec.port_protocols)
    if other is None or port is None:
        return Mirror(Backend(stream, 0, ""), 0, route.mirror.percent)
    number = next(one.port for one in other.spec.ports if one.name == port)
    return Mirror(Backend(stream, other.uid, port), number, route.mirror.percent)


def copied(others: Iterable[Declared], app: DesiredApp) -> frozenset[str]:
    """Which ports of an app, as it is said to be, copies of requests to others come to."""
    found = {
        mirrored_port(route.port or "", app.spec.port_protocols)
        for other in others
        for route, mirror in zip(other.routes, other.mirrors, strict=True)
        if mirror is not None and (mirror.backend.app, other.target) == (app.ref.stream, app.target)
    }
    return frozenset(port for port in found if port is not None)


def spoken_of(declared: Declared) -> dict[str, None]:
    """Who gets copies, and the Secrets with certificates: when they change, routes do."""
    mirrored = {one.backend.app: None for one in declared.mirrors if one is not None}
    return mirrored | dict.fromkeys(secrets(declared))


def secrets(declared: Declared) -> list[str]:
    project = Ref.parse(declared.stream).project
    return [Ref("Secret", project, name).stream for name in sorted(secrets_of(declared.routes))]


def hosts_of(declared: Declared) -> dict[tuple[str, str], None]:
    return {(declared.target, route.host): None for route in declared.routes}


def published(declared: Declared) -> tuple[Published, ...]:
    return tuple(
        Published(
            target=declared.target,
            backend=Backend(declared.stream, declared.uid, one.port),
            protocol=one.protocol,
            host_port=one.host_port,
        )
        for one in declared.publish
    )
