"""Metrics: what Prometheus reads. Names copy controller-runtime's where the idea is the same.

Labels are bounded: kinds, results, reasons and field names, never apps or users; only ends of
certificates are told host by host. Counters that an alert watches begin at 0 for every label that
is known, so that their first increase shows.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final, final, override

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bus.nats.settings import BusMetrics
from reconcilers.metrics import ReconcileMetrics

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SHORT: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
DRIFT_FIELDS: Final = frozenset(
    {"digest", "name", "paused", "network", "memory", "cpu", "pids", "restart policy"}
)
LOOPS: Final = ("probing", "journal", "replay", "hints", "tail", "passes", "events")
FAILURES: Final = ("VersionConflict", "KeyReused", "LogUnavailable", "LogFull", "LogRewound")


@final
class Metrics:
    """All metrics of one control plane, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconcile = _Reconcile(self.registry)
        self.bus = _Bus(self.registry)
        self.appended = Counter(
            "stateward_events_appended",
            "Events appended to the log, by type.",
            ["type"],
            registry=self.registry,
        )
        self.append_seconds = Histogram(
            "stateward_append_duration_seconds",
            "From handing in an append until it was on disk.",
            buckets=SHORT,
            registry=self.registry,
        )
        self.append_errors = Counter(
            "stateward_append_errors",
            "Appends that did not happen, by kind of error.",
            ["error"],
            registry=self.registry,
        )
        for error in FAILURES:
            self.append_errors.labels(error)
        self.snapshot_mismatches = Counter(
            "stateward_snapshot_mismatches",
            "Snapshots that differed from a rebuild and were thrown away.",
            registry=self.registry,
        )
        build = Gauge("stateward_build_info", "Always 1.", ["version"], registry=self.registry)
        self.build = build

    def observe(
        self,
        gauges: Callable[[], Mapping[str, tuple[str, float]]],
        certificates: Callable[[], Iterable[tuple[str, str, float]]] = tuple,
        routers: Callable[[], Iterable[tuple[str, float]]] = tuple,
    ) -> None:
        """Ask for values at each scrape: name to (help, value); a counter's ends in `_total`.

        Of certificates: target, host and end. Of routers: target, and whether they serve.
        """
        self.registry.register(_Asked(gauges))
        self.registry.register(_Certificates(certificates))
        self.registry.register(_Routers(routers))

    def page(self) -> bytes:
        """What `/metrics` answers."""
        return generate_latest(self.registry)


@final
class _Asked(Collector):
    def __init__(self, gauges: Callable[[], Mapping[str, tuple[str, float]]]) -> None:
        self._gauges = gauges

    @override
    def collect(self) -> Iterable[Metric]:
        for name, (text, value) in self._gauges().items():
            if name.endswith("_total"):
                yield CounterMetricFamily(name, text, value=value)
            else:
                yield GaugeMetricFamily(name, text, value=value)


@final
class _Certificates(Collector):
    _labelnames = ("target", "host")

    def __init__(self, ends: Callable[[], Iterable[tuple[str, str, float]]]) -> None:
        self._ends = ends

    @override
    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "stateward_certificate_not_after_seconds",
            "When the certificate that a router shows for a host of its routes ends, since the "
            "epoch.",
            labels=self._labelnames,
        )
        for target, host, end in self._ends():
            family.add_metric((target, host), end)
        yield family


@final
class _Routers(Collector):
    _labelnames = ("target",)

    def __init__(self, serve: Callable[[], Iterable[tuple[str, float]]]) -> None:
        self._serve = serve

    @override
    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "stateward_router_serves",
            "1 if the router of a target with routes answers, and serves what it should; else 0.",
            labels=self._labelnames,
        )
        for target, serves in self._serve():
            family.add_metric((target,), serves)
        yield family


@final
class _Reconcile(ReconcileMetrics):
    def __init__(self, registry: CollectorRegistry) -> None:
        self._passes = Counter(
            "stateward_reconcile",
            "Passes over one resource, by kind and result.",
            ["kind", "result"],
            registry=registry,
        )
        self._seconds = Histogram(
            "stateward_reconcile_duration_seconds",
            "How long passes took.",
            ["kind"],
            buckets=SECONDS,
            registry=registry,
        )
        self._queued = Histogram(
            "stateward_workqueue_queue_duration_seconds",
            "How long keys waited for their turn.",
            buckets=SECONDS,
            registry=registry,
        )
        self._worked = Histogram(
            "stateward_workqueue_work_duration_seconds",
            "How long keys had their turn.",
            buckets=SECONDS,
            registry=registry,
        )
        self._drift = Counter(
            "stateward_drift_repaired",
            "Replicas that differed from their order and were replaced, by field.",
            ["field"],
            registry=registry,
        )
        self._heal = Histogram(
            "stateward_heal_duration_seconds",
            "From noticing that a replica had gone until it was started again.",
            ["reason"],
            buckets=SECONDS,
            registry=registry,
        )
        self._ready = Histogram(
            "stateward_intent_to_ready_seconds",
            "From an intent until what it asked for was ready.",
            buckets=(*SECONDS, 300, 600),
            registry=registry,
        )
        self._replayed = Counter(
            "stateward_intents_healed_by_replay",
            "Events of intents that only a timer found: their hint was lost.",
            registry=registry,
        )
        self._lost = Counter(
            "stateward_reconcile_panics",
            "Loops that failed and were started again.",
            ["loop"],
            registry=registry,
        )
        for field in (*DRIFT_FIELDS, "other"):
            self._drift.labels(field)
        for loop in LOOPS:
            self._lost.labels(loop)

    @override
    def passed(self, result: str, seconds: float) -> None:
        self._passes.labels("App", result).inc()
        self._seconds.labels("App").observe(seconds)

    @override
    def queued(self, seconds: float) -> None:
        self._queued.observe(seconds)

    @override
    def worked(self, seconds: float) -> None:
        self._worked.observe(seconds)

    @override
    def healed(self, reason: str, seconds: float) -> None:
        known = reason in ("removed", "exited", "liveness", "startup")
        self._heal.labels(reason if known else "other").observe(seconds)

    @override
    def drifted(self, field: str) -> None:
        self._drift.labels(field if field in DRIFT_FIELDS else "other").inc()

    @override
    def ready(self, seconds: float) -> None:
        self._ready.observe(seconds)

    @override
    def healed_by_replay(self, intents: int) -> None:
        self._replayed.inc(intents)

    @override
    def lost(self, loop: str) -> None:
        self._lost.labels(loop.partition("-")[0]).inc()


@final
class _Bus(BusMetrics):
    def __init__(self, registry: CollectorRegistry) -> None:
        self._connected = Gauge(
            "stateward_bus_connected",
            "1 while the bus is connected, 0 while it is not, NaN when there is none.",
            registry=registry,
        )
        self._connected.set(math.nan)
        self._restarts = Counter(
            "stateward_bus_server_restarts",
            "How often the embedded server was restarted.",
            registry=registry,
        )
        self._answered = Histogram(
            "stateward_bus_intent_duration_seconds",
            "Intents that came over the bus, by path and result.",
            ["path", "result"],
            buckets=SHORT,
            registry=registry,
        )
        self._published = Counter(
            "stateward_bus_events_published", "Events told on the bus.", registry=registry
        )
        self._dropped = Counter(
            "stateward_bus_dropped",
            "What could not be told or read; the timers make up for it.",
            ["what"],
            registry=registry,
        )

    @override
    def connected(self, *, is_connected: bool) -> None:
        self._connected.set(is_connected)

    @override
    def server_restarted(self) -> None:
        self._restarts.inc()

    @override
    def answered(self, path: str, result: str, seconds: float) -> None:
        self._answered.labels(path, result).observe(seconds)

    @override
    def published(self, events: int) -> None:
        self._published.inc(events)

    @override
    def dropped(self, what: str, count: int) -> None:
        self._dropped.labels(what).inc(count)
