"""Invariants of URLs over routers and clusters: whose they are, and that somebody answers.

A cluster has a router of its own, which follows routes, Services and pods; what holds of routers of
machines holds there as well. Beside, a URL that led somewhere goes on doing so while its app moves
from one place to another.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, final

from domain.names import Ref
from domain.target import decode as target_of
from projections.desired import DesiredApp
from projections.route_table import Header, RouteTable, Row
from reconcilers.object_labels import APP, INSTALLATION, PROJECT
from reconcilers.object_ports import ObjectKey
from reconcilers.status import AppStatus
from simulation.cluster.cluster import Cluster
from simulation.cluster.nodes import Pod
from simulation.cluster.serving import Served
from simulation.invariants.engines import EngineInvariants
from simulation.invariants.routers import RouterInvariants
from simulation.invariants.truth import PROBES_LAG, Truth
from simulation.invariants.violations import Invariant, Report
from simulation.machine import Deed, Running
from simulation.router import SimulatedRouter

UNSERVED: Final = 3  # looks, a second apart, after which a URL that leads to nothing is told
TROUBLED: Final = 60.0  # seconds after which what befell a place is over there

type StatusOf = Callable[[str], AppStatus | None]
type Broken = tuple[Invariant, str]


class Url(NamedTuple):
    """What a request says of where it goes: `header` is `name: value` of a context, or empty."""

    scheme: str
    host: str
    path: str
    header: str


@final
class ServingInvariants:
    """Told of every deed right before it happens; `look` is for every second."""

    def __init__(
        self,
        truth: Truth,
        routing: RouterInvariants,
        engines: EngineInvariants,
        report: Report,
        clock: Callable[[], float],
        routers: Mapping[str, SimulatedRouter],
    ) -> None:
        self._truth, self._routing, self._engines = truth, routing, engines
        self._report, self._clock, self._routers = report, clock, routers
        self._ill: dict[str, float] = {}  # when a place was last ill
        self._missed: dict[tuple[int, Url], int] = {}  # looks; of URLs that were served before
        self._owned_at = -1

    # -- deeds --------------------------------------------------------------------------------

    def deed(self, target: str, deed: Deed) -> None:
        """A pod is about to get its signal."""
        cluster, one = self._truth.clusters.get(target), deed.about
        if cluster is None or one is None or deed.verb != "signal":
            return
        stream = Ref("App", deed.project, deed.app).stream
        if deed.installation != self._truth.installation or self._is_excused(stream):
            return
        app = self._truth.desired.app(stream)
        mine = [pod for pod in self._behind(cluster, stream) if pod.hand is one]
        if any(map(cluster.serving.meets, mine)):
            words = f"the signal of {_named(one)} on {target}"
            self._report(Invariant.UNMET, f"{words}, which may still get requests")
        if app is not None and mine and (app.uid, app.target) == (one.order.uid, target):
            self._check_reached(app, cluster, one)

    def _check_reached(self, app: DesiredApp, cluster: Cluster, one: Running) -> None:
        """Those that stay are as many as a rollout has to keep, and requests reach them."""
        is_kept = app.spec.rollout.strategy != "stopFirst" and app.paused is None
        if not is_kept or app.spec.volumes or not app.stable or not self._engines.is_settled(app):
            return
        reached = [
            pod
            for pod in self._behind(cluster, app.ref.stream)
            if pod.hand is not one and cluster.serving.reaches(pod)
        ]
        if len(reached) < (least := self._engines.least(app)):
            words = f"the end of {_named(one)} leaves {len(reached)} of at least {least}"
            self._report(Invariant.REACHED, f"{words} for requests")

    def _behind(self, cluster: Cluster, stream: str) -> list[Pod]:
        """The pods that routes of a cluster lead to, for the sake of an app."""
        services = {one.service: None for one in cluster.serving.urls()}
        return [
            pod
            for service in services
            if _app_of(cluster, service) == stream
            for pod in cluster.serving.behind(service)
        ]

    def _is_excused(self, stream: str) -> bool:
        disturbed = self._truth.disturbed.get(stream, -PROBES_LAG)
        return self._engines.is_confused(stream) or self._clock() < disturbed + PROBES_LAG

    # -- every second -------------------------------------------------------------------------

    def look(self) -> None:
        """See to whom URLs belong, and that those that led somewhere do."""
        truth = self._truth
        now, illness = self._clock(), self._ill
        for target, machine in truth.machines.items():
            router = self._routers.get(target)
            is_ill = router is not None and (router.away or now < router.troubled_at + 1.0)
            if machine.faults.unavailable or is_ill:
                illness[target] = now
        if truth.desired.position != self._owned_at:
            self._owned_at = truth.desired.position
            self._check_owners()
        if self._routers and truth.clusters:
            self._check_served()

    def upset(self, target: str) -> None:
        """Somebody laid hands on what a place serves."""
        self._ill[target] = self._clock()

    def _check_owners(self) -> None:
        owners: dict[Url, Ref] = {}
        for app in self._truth.apps():
            for url in _urls(app):
                if (other := owners.setdefault(url, app.ref)) != app.ref:
                    self._report(Invariant.CLAIMED, f"{url} is that of {other} and of {app.ref}")

    def _check_served(self) -> None:
        places = [self._served(target) for target in self._truth.machines]
        missed: dict[tuple[int, Url], int] = {}
        for app in self._truth.apps():
            if not app.spec.routes or not self._has_to_serve(app):
                continue
            for url in _urls(app):
                key, is_served = (app.uid, url), any((url, app.ref.stream) in at for at in places)
                before = self._missed.get(key)
                if is_served:
                    missed[key] = 0
                elif before is not None:
                    missed[key] = before + 1
                    if before + 1 == UNSERVED:
                        self._report(
                            Invariant.SERVED,
                            f"{url.host}{url.path} {url.header} leads to nothing, and {app.ref} is "
                            f"on its way from {app.stable_target or 'nowhere'} to {app.target}",
                        )
        self._missed = missed

    def _has_to_serve(self, app: DesiredApp) -> bool:
        truth, now = self._truth, self._clock()
        rollout = app.spec.rollout
        if rollout.strategy == "stopFirst" or app.spec.volumes or app.paused is not None:
            return False
        if not app.stable or app.wanted <= rollout.max_unavailable or self._engines.least(app) < 1:
            return False
        stream = app.ref.stream
        if self._is_excused(stream) or stream in truth.frozen or not truth.runs_as_held(app):
            return False
        stable = truth.revision(app, app.stable)
        places = {app.stable_target, app.target, app.reached_at} & truth.machines.keys()
        return stable is not None and all(
            truth.can_run(stable, truth.machines[place])
            and now >= self._ill.get(place, -TROUBLED) + TROUBLED
            for place in places
        )

    def _served(self, target: str) -> set[tuple[Url, str]]:
        """What leads to somebody who answers there: a URL, and the stream of the app."""
        cluster = self._truth.clusters.get(target)
        if cluster is not None:
            return {
                (_url_of(one), stream)
                for one in cluster.serving.urls()
                if (stream := _app_of(cluster, one.service))
                and any(map(self._answers, cluster.serving.behind(one.service)))
            }
        router = self._routers.get(target)
        if router is None:
            return set()
        hosts = self._truth.machines[target].hosts
        found = set()
        for row in router.table.rows:
            for share in row.shares:
                ends = [hosts.get(one.host) for one in router.endpoints.get(share.backend, ())]
                if any(one is not None and self._truth.is_well(one) for one in ends):
                    url = Url(row.scheme, row.host, row.path, _words(row.context))
                    found.add((url, share.backend.app))
        return found

    def _answers(self, pod: Pod) -> bool:
        is_in = pod.ready_since is not None
        return is_in and pod.hand is not None and self._truth.is_well(pod.hand)

    # -- at rest ------------------------------------------------------------------------------

    def broken(self, status_of: StatusOf) -> Iterator[Broken]:
        """What clusters do not (yet) serve as they should."""
        for target, cluster in sorted(self._truth.clusters.items()):
            table = self._routing.table(target) if self._is_routed(target) else RouteTable()
            yield from self._answered(target, cluster, table)
            for app in self._truth.apps():
                if app.spec.routes and app.reached_at == target and self._can_serve(app):
                    yield from self._told(app, cluster, status_of(app.ref.stream))

    def _answered(self, target: str, cluster: Cluster, table: RouteTable) -> Iterator[Broken]:
        """Who answers a request is the same by log and cluster, for each that differs."""
        urls = [one for one in cluster.serving.urls() if _app_of(cluster, one.service)]
        apps = {app.ref.stream: app for app in self._truth.apps()}
        asked = {(row.host, row.path) for row in table.rows}
        asked |= {(one.host, one.path) for one in urls}
        headers = {_words(row.context) for row in table.rows} | {one.header for one in urls} | {""}
        for host, path in sorted(asked):
            for header in sorted(headers):
                wanted = _row(table, host, path, header)
                found = _chosen(urls, host, path, header)
                should = wanted.shares[0].backend.app if wanted is not None else ""
                does = _app_of(cluster, found.service) if found is not None else ""
                known = [apps.get(stream) for stream in (should, does) if stream]
                if should != does and all(one and self._can_serve(one) for one in known):
                    request = f"{host}{path} {header} on {target}"
                    words = f"{request} is answered by {does or 'nobody'}"
                    yield Invariant.ROUTES, f"{words}, and {should or 'nobody'} should"

    def _told(
        self, app: DesiredApp, cluster: Cluster, status: AppStatus | None
    ) -> Iterator[Broken]:
        """Exactly the healthy replicas get requests, and the status says so."""
        truth = self._truth
        running = truth.running(app.ref.project, app.ref.name)
        well = {one.host for at, one in running if at == cluster.name and truth.is_well(one)}
        behind = self._behind(cluster, app.ref.stream)
        served = {pod.hand.host for pod in behind if cluster.serving.reaches(pod) and pod.hand}
        if served != well:
            words = f"requests for {app.ref} on {cluster.name} go to {sorted(served)}"
            yield Invariant.ROUTES, f"{words}, and {sorted(well)} are healthy"
        said = status.condition("Routed") if status is not None else None
        if said is None or (said.status == "True") != (app.wanted > 0):
            words = said.message if said is not None else "nothing"
            yield Invariant.ROUTES, f"{app.ref} has routes, and its status says {words!r}"

    def _can_serve(self, app: DesiredApp) -> bool:
        return app.ref.stream not in self._truth.frozen and self._truth.runs_as_held(app)

    def _is_routed(self, target: str) -> bool:
        resource = self._truth.desired.resource(f"Target/{target}")
        if resource is None:
            return False
        routing = target_of(resource.spec).routing
        return routing is None or routing.router != "none"

    def summary(self) -> dict[str, list[tuple[str, int, str]]]:
        """What each cluster serves, in words that are the same wherever it is the same."""
        return {
            f"routes of {target}": sorted(
                (f"{one.host}{one.path} {one.header}", 0, stream)
                for one in cluster.serving.urls()
                if (stream := _app_of(cluster, one.service)) and self._is_known(stream)
            )
            for target, cluster in sorted(self._truth.clusters.items())
        }

    def _is_known(self, stream: str) -> bool:
        app = self._truth.desired.app(stream)
        return app is not None and self._can_serve(app)


def _urls(app: DesiredApp) -> list[Url]:
    return [
        Url("http", route.host, route.path, context)
        for route in app.spec.routes
        for context in ([f"{one.header}: {one.value}" for one in route.contexts] or [""])
    ]


def _url_of(one: Served) -> Url:
    return Url("http", one.host, one.path, one.header)


def _words(header: Header | None) -> str:
    return f"{header.name}: {header.value}" if header is not None else ""


def _app_of(cluster: Cluster, service: ObjectKey) -> str:
    """The stream of the app whose Service this is; empty if it is none of ours."""
    there = cluster.store.get(service)
    labels = (there or {}).get("metadata", {}).get("labels") or {}
    if INSTALLATION not in labels or APP not in labels:
        return ""
    return Ref("App", labels[PROJECT], labels[APP]).stream


def _covers(path: str, asked: str) -> bool:
    return asked == path or asked.startswith(path.rstrip("/") + "/")


def _row(table: RouteTable, host: str, path: str, header: str) -> Row | None:
    """The row that a table answers a request by: the first that fits."""
    for row in table.rows:
        fits = row.host == host and _covers(row.path, path)
        if fits and _words(row.context) in ("", header):
            return row
    return None


def _chosen(urls: list[Served], host: str, path: str, header: str) -> Served | None:
    """The rule that Gateway API answers a request by: the longest path, then a header."""
    fits = [
        one
        for one in urls
        if one.host == host and _covers(one.path, path) and one.header in ("", header)
    ]
    return max(fits, key=lambda one: (len(one.path), one.header != ""), default=None)


def _named(one: Running) -> str:
    name = one.order.name
    return f"{name.project}/{name.app} r{name.revision}.{name.slot}.{name.attempt}"
