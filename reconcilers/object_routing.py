"""Routes of an app as objects: which of them its cluster can have, and what is said of its URLs.

Nothing about routes keeps an app from running: what a cluster has no kind for is not asked of it,
and what it refuses is told in the condition `Routed` alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from projections.desired import DesiredApp
from reconcilers.judging import claim
from reconcilers.object_ports import (
    AppOrder,
    KindMissing,
    Manifest,
    ObjectForbidden,
    ObjectKey,
    Objects,
    ObjectView,
    RouteView,
    Stage,
)
from reconcilers.ports import EngineError, NameTaken
from reconcilers.status import AppStatus, Condition
from reconcilers.targets import TargetView, router_of

_KIND = "Routed"


class Possible(NamedTuple):
    """Objects that can be there, and why others cannot; of each kind, what the cluster lacks."""

    manifests: tuple[Manifest, ...]
    lacks: tuple[EngineError, ...]


class Fate(NamedTuple):
    """What is known of an app's routes: `refused` are objects that the cluster would not take.

    `pending`: something is still to be applied. `order` is None while nothing can be rendered.
    """

    order: AppOrder | None
    found: RouteView
    lacks: Sequence[EngineError]
    refused: Mapping[ObjectKey, EngineError]
    pending: bool


def possible(objects: Objects, manifests: Iterable[Manifest]) -> Possible:
    """Leave out the routes of kinds that the cluster has not."""
    kept: list[Manifest] = []
    lacks: dict[tuple[str, str], EngineError] = {}
    for one in manifests:
        kind = one.key.api_version, one.key.kind
        error = objects.engine.lacks(*kind) if one.stage is Stage.ROUTE else None
        if error is None:
            kept.append(one)
        else:
            lacks[kind] = error
    return Possible(tuple(kept), tuple(lacks.values()))


def routed(
    app: DesiredApp, target: TargetView, fate: Fate, view: ObjectView, before: AppStatus | None
) -> Condition | None:
    """Whether requests reach the app by its URLs; None if it has none."""
    if not app.spec.routes:
        return None
    if router_of(target) == "none":
        message = f"target {target.name} has no router; its cluster reaches it by its Service"
        return claim(_KIND, "False", "NoRouter", message)
    if fate.order is None:
        last = before.condition(_KIND) if before is not None else None
        message = "its routes are looked at when its objects can be rendered"
        return last or claim(_KIND, "False", "Applying", message)
    return _obstacle(target, fate) or _served(fate.found, view)


def _obstacle(target: TargetView, fate: Fate) -> Condition | None:
    for error in (*fate.lacks, *fate.refused.values()):
        return claim(_KIND, "False", *_told(target, error))
    if fate.pending:
        return claim(_KIND, "False", "Applying", "its routes are on their way to the cluster")
    if fate.found.refused:
        return claim(_KIND, "False", "RouterRefused", fate.found.refused)
    if fate.found.unserved:
        return claim(_KIND, "False", "RouteUnserved", fate.found.unserved)
    return None


def _told(target: TargetView, error: EngineError) -> tuple[str, str]:
    if isinstance(error, KindMissing):
        router = router_of(target)
        return "RouterMissing", (
            f"{error}, which comes with a router for {router!r}; or give target {target.name} "
            "another spec.routing.router"
        )
    if isinstance(error, ObjectForbidden):
        return "Forbidden", str(error)
    return ("NameTaken" if isinstance(error, NameTaken) else "RouterRefused"), str(error)


def _served(found: RouteView, view: ObjectView) -> Condition:
    if found.silent:
        return claim(_KIND, "Unknown", "NotConfirmed", found.silent)
    if not view.ready:
        message = "no replica takes requests; they are answered with 503"
        return claim(_KIND, "False", "NoEndpoints", message)
    urls = "1 URL leads" if found.urls == 1 else f"{found.urls} URLs lead"
    replicas = "1 replica" if view.ready == 1 else f"{view.ready} replicas"
    notes = f"; {found.notes}" if found.notes else ""
    return claim(_KIND, "True", "Routed", f"{urls} to {replicas}{notes}")
