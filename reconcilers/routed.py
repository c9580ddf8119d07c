"""What is said of an app's routes: whether requests reach it by them, or why not."""

from collections.abc import Iterator, Sequence

from projections.route_table import Row
from reconcilers import certifying
from reconcilers.router_driver import RouterDriver
from reconcilers.status import Condition, Truth

type _Said = tuple[Truth, str, str]


def without_router(target: str) -> Condition:
    """What is said where the operator wants none."""
    message = f"target {target} has no router; its replicas have their own addresses"
    return _condition(("False", "NoRouter", message))


def condition(stream: str, rows: Sequence[Row], driver: RouterDriver | None) -> Condition:
    """What is said of the rows that lead to an app, where `driver` drives the router."""
    if driver is None:
        message = "no worker drives the router of its target"
        return _condition(("Unknown", "NotDriven", message))
    if driver.trouble is not None:
        return _condition(("False", *driver.trouble))
    return _condition(_served(stream, rows, driver))


def _served(stream: str, rows: Sequence[Row], driver: RouterDriver) -> _Said:
    if not all(map(driver.serves, rows)):
        return "False", "Applying", "its routes are on their way to the router"
    for row in rows:
        if row.id in driver.unserved:
            return "False", "RouteUnserved", driver.unserved[row.id]
    if (lacking := certifying.lacking(rows, driver.certificates.shown)) is not None:
        return "False", *lacking
    behind = driver.reached[stream]
    if not behind:
        to = "left to who has its URLs without a context"
        answer = to if rows and all(row.fallback for row in rows) else "answered with 503"
        return "False", "NoEndpoints", f"no replica takes requests; they are {answer}"
    urls = "1 URL leads" if len(rows) == 1 else f"{len(rows)} URLs lead"
    replicas = "1 replica" if behind == 1 else f"{behind} replicas"
    notes = "".join(f"; {one}" for one in _uncopied(rows, driver))
    return "True", "Routed", f"{urls} to {replicas}{notes}"


def _uncopied(rows: Sequence[Row], driver: RouterDriver) -> Iterator[str]:
    """Why some app gets no copies of requests that it should; they are answered all the same."""
    for mirror in dict.fromkeys(row.mirror for row in rows if row.mirror is not None):
        stream, uid, _ = mirror.backend
        why = driver.without_copies
        if not why and not uid:
            why = f"it is not on target {driver.target} with a port for them; apply it there"
        elif not why and not driver.reached[stream]:
            why = "it has no replica that is ready"
        if why:
            yield f"{stream} gets no copies of requests: {why}"


def _condition(said: _Said) -> Condition:
    status, reason, message = said
    return Condition(type="Routed", status=status, reason=reason, message=message)
