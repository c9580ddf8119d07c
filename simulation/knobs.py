"""The knobs: every fault that a world can have, and how often each happens.

A rate of a *call* fault is its probability at each call, message or effect that it can befall; one
of a *deed* fault is how often it is done in a minute, on average.
"""

import random
from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Fault(StrEnum):
    """The faults, by the names they are counted under."""

    # The bus.
    BUS_LOSS = "bus-loss"
    BUS_REPEAT = "bus-repeat"
    BUS_REORDER = "bus-reorder"
    BUS_DELAY = "bus-delay"
    BUS_PARTITION = "bus-partition"
    BUS_OUTAGE = "bus-outage"
    BUS_OLD_AFTER_NEW = "bus-old-after-new"
    # The log.
    LOG_POWER_CUT = "log-power-cut"
    LOG_TORN_RECORD = "log-torn-record"
    LOG_FLIPPED_BIT = "log-flipped-bit"
    LOG_DISK_FULL = "log-disk-full"
    LOG_SLOW_SYNC = "log-slow-sync"
    LOG_LOST_REPLY = "log-lost-reply"
    LOG_AWAY = "log-away"
    # The control plane.
    CRASH_BEFORE = "crash-before"
    CRASH_AFTER = "crash-after"
    CRASH_TWICE = "crash-twice"
    LONG_PAUSE = "long-pause"
    TWO_ACTIVE = "two-active"
    CLOCK_JUMP = "clock-jump"
    NEWER_RELEASE = "newer-release"
    OLDER_RELEASE = "older-release"
    # The engine.
    ENGINE_ERROR_BEFORE = "engine-error-before"
    ENGINE_ERROR_AFTER = "engine-error-after"
    ENGINE_LATE_SUCCESS = "engine-late-success"
    ENGINE_STALE_LIST = "engine-stale-list"
    ENGINE_PARTIAL_LIST = "engine-partial-list"
    ENGINE_EVENT_LOSS = "engine-event-loss"
    ENGINE_RING_OVERFLOW = "engine-ring-overflow"
    ENGINE_RESTART = "engine-restart"
    ENGINE_CONFLICT = "engine-conflict"
    ENGINE_THROTTLED = "engine-throttled"
    TARGET_LOST = "target-lost"
    # Replicas.
    REPLICA_DIES_AT_START = "replica-dies-at-start"
    REPLICA_FLAPS = "replica-flaps"
    REPLICA_KILLED = "replica-killed"
    REPLICA_OUT_OF_MEMORY = "replica-out-of-memory"
    REPLICA_NEVER_READY = "replica-never-ready"
    REPLICA_FALLS_SICK = "replica-falls-sick"
    REPLICA_REMOVED = "replica-removed"
    REPLICA_EDITED = "replica-edited"
    NAME_SQUATTED = "name-squatted"
    IMAGE_MISSING = "image-missing"
    IMAGE_MOVED = "image-moved"
    # Clusters.
    CLUSTER_AWAY = "cluster-away"
    CLUSTER_CONFLICT = "cluster-conflict"
    CLUSTER_THROTTLED = "cluster-throttled"
    CLUSTER_STALE_COPY = "cluster-stale-copy"
    CLUSTER_EVENT_LOSS = "cluster-event-loss"
    CLUSTER_EXPIRED = "cluster-expired"
    CLUSTER_LINGERS = "cluster-lingers"
    CLUSTER_EDITED = "cluster-edited"
    CLUSTER_SCALED = "cluster-scaled"
    CLUSTER_DELETED = "cluster-deleted"
    CLUSTER_SQUATTED = "cluster-squatted"
    CLUSTER_REFUSES = "cluster-refuses"
    # Routers.
    ROUTER_DEAD = "router-dead"
    ROUTER_REFUSES = "router-refuses"
    ROUTER_LOST_BEFORE = "router-lost-before"
    ROUTER_LOST_AFTER = "router-lost-after"
    ROUTER_LATE = "router-late"
    ROUTER_SLOW = "router-slow"
    ROUTER_STALE_READ = "router-stale-read"
    ROUTER_EDITED = "router-edited"
    ROUTER_TAKEN_OUT = "router-taken-out"
    # Clusters in which others have the names of apps.
    CLUSTER_OCCUPIED = "cluster-occupied"
    CLUSTER_REMADE = "cluster-remade"
    INTENT_ADOPTS = "intent-adopts"
    # Workers that share the work.
    WORKER_DIES = "worker-dies"
    WORKER_CUT_OFF = "worker-cut-off"
    WORKER_UNHEARD = "worker-unheard"
    LEASES_LOST = "leases-lost"
    # What is asked.
    POISON_EVENT = "poison-event"
    INTENT_CONTRADICTORY = "intent-contradictory"
    INTENT_MALFORMED = "intent-malformed"
    INTENT_HUGE = "intent-huge"
    INTENT_ABA = "intent-aba"


type Rates = Mapping[Fault, float]

CALLS: Final[Rates] = {
    Fault.BUS_LOSS: 0.2,
    Fault.BUS_REPEAT: 0.1,
    Fault.BUS_REORDER: 0.1,
    Fault.BUS_DELAY: 0.2,
    Fault.LOG_POWER_CUT: 0.01,
    Fault.LOG_TORN_RECORD: 0.01,
    Fault.LOG_SLOW_SYNC: 0.1,
    Fault.LOG_LOST_REPLY: 0.05,
    Fault.CRASH_BEFORE: 0.005,
    Fault.CRASH_AFTER: 0.005,
    Fault.CRASH_TWICE: 0.005,
    Fault.ENGINE_ERROR_BEFORE: 0.1,
    Fault.ENGINE_ERROR_AFTER: 0.1,
    Fault.ENGINE_LATE_SUCCESS: 0.02,
    Fault.ENGINE_STALE_LIST: 0.1,
    Fault.ENGINE_PARTIAL_LIST: 0.1,
    Fault.ENGINE_EVENT_LOSS: 0.3,
    Fault.ENGINE_CONFLICT: 0.05,
    Fault.ENGINE_THROTTLED: 0.05,
}
"""Call faults, with the highest probability that a world gives them."""

DEEDS: Final[Rates] = {
    Fault.BUS_PARTITION: 0.1,
    Fault.BUS_OUTAGE: 0.1,
    Fault.BUS_OLD_AFTER_NEW: 0.3,
    Fault.LOG_FLIPPED_BIT: 0.02,
    Fault.LOG_DISK_FULL: 0.1,
    Fault.LOG_AWAY: 0.1,
    Fault.LONG_PAUSE: 0.1,
    Fault.TWO_ACTIVE: 0.1,
    Fault.CLOCK_JUMP: 0.2,
    Fault.NEWER_RELEASE: 0.05,
    Fault.OLDER_RELEASE: 0.05,
    Fault.ENGINE_RING_OVERFLOW: 0.2,
    Fault.ENGINE_RESTART: 0.1,
    Fault.TARGET_LOST: 0.1,
    Fault.REPLICA_DIES_AT_START: 0.3,
    Fault.REPLICA_FLAPS: 0.3,
    Fault.REPLICA_KILLED: 1.0,
    Fault.REPLICA_OUT_OF_MEMORY: 0.3,
    Fault.REPLICA_NEVER_READY: 0.3,
    Fault.REPLICA_FALLS_SICK: 0.5,
    Fault.REPLICA_REMOVED: 1.0,
    Fault.REPLICA_EDITED: 0.5,
    Fault.NAME_SQUATTED: 0.3,
    Fault.IMAGE_MISSING: 0.3,
    Fault.IMAGE_MOVED: 0.3,
    Fault.POISON_EVENT: 0.03,
    Fault.INTENT_CONTRADICTORY: 0.3,
    Fault.INTENT_MALFORMED: 0.3,
    Fault.INTENT_HUGE: 0.1,
    Fault.INTENT_ABA: 0.3,
}
"""Deed faults, with the most that a world does of each in a minute."""

CLUSTER_CALLS: Final[Rates] = {
    Fault.CLUSTER_CONFLICT: 0.05,
    Fault.CLUSTER_THROTTLED: 0.05,
    Fault.CLUSTER_EVENT_LOSS: 0.02,
    Fault.CLUSTER_LINGERS: 0.2,
}
"""The same of worlds with a cluster, where alone they can befall anything."""

CLUSTER_DEEDS: Final[Rates] = {
    Fault.CLUSTER_AWAY: 0.1,
    Fault.CLUSTER_STALE_COPY: 0.3,
    Fault.CLUSTER_EXPIRED: 0.3,
    Fault.CLUSTER_EDITED: 0.5,
    Fault.CLUSTER_SCALED: 0.3,
    Fault.CLUSTER_DELETED: 0.5,
    Fault.CLUSTER_SQUATTED: 0.2,
    Fault.CLUSTER_REFUSES: 0.2,
}

ROUTER_CALLS: Final[Rates] = {
    Fault.ROUTER_LOST_BEFORE: 0.1,
    Fault.ROUTER_LOST_AFTER: 0.1,
    Fault.ROUTER_LATE: 0.03,
    Fault.ROUTER_SLOW: 0.2,
    Fault.ROUTER_STALE_READ: 0.1,
}
"""The same of worlds with routers."""

ROUTER_DEEDS: Final[Rates] = {
    Fault.ROUTER_DEAD: 0.2,
    Fault.ROUTER_REFUSES: 0.2,
    Fault.ROUTER_EDITED: 0.5,
    Fault.ROUTER_TAKEN_OUT: 0.3,
}

ADOPTION_DEEDS: Final[Rates] = {
    Fault.CLUSTER_OCCUPIED: 0.5,
    Fault.CLUSTER_REMADE: 0.3,
    Fault.INTENT_ADOPTS: 1.5,
}
"""Of worlds with a cluster, too."""

WORKER_DEEDS: Final[Rates] = {
    Fault.WORKER_DIES: 0.5,
    Fault.WORKER_CUT_OFF: 0.5,
    Fault.WORKER_UNHEARD: 0.3,
    Fault.LEASES_LOST: 0.1,
}
"""Of worlds with several workers."""

# in this order, for a seed draws them one after the other
MOST: Final[Rates] = {
    **CALLS,
    **DEEDS,
    **CLUSTER_CALLS,
    **CLUSTER_DEEDS,
    **ROUTER_CALLS,
    **ROUTER_DEEDS,
    **ADOPTION_DEEDS,
    **WORKER_DEEDS,
}
PROBABILITIES: Final = frozenset({*CALLS, *CLUSTER_CALLS, *ROUTER_CALLS})
CALM_ONE_IN: Final = 10  # worlds have no fault at all: what fails there is no fault's doing


def swarm(rng: random.Random) -> dict[Fault, float]:
    """The faults of one world: a random subset at random rates; one world in ten has none."""
    if rng.randrange(CALM_ONE_IN) == 0:
        return {}
    share = rng.uniform(0.1, 0.9)
    return {
        fault: most * rng.uniform(0.1, 1.0) for fault, most in MOST.items() if rng.random() < share
    }


def named(text: str) -> dict[Fault, float]:
    """Read `all`, `none`, or names with commas between, each maybe with `=RATE`.

    Raises:
        ValueError: names what is not a fault or no rate.
    """
    if text == "all":
        return dict(MOST)
    if text in ("none", ""):
        return {}
    rates: dict[Fault, float] = {}
    for word in text.split(","):
        name, given, rate = word.strip().partition("=")
        try:
            fault = Fault(name)
        except ValueError:
            known = ", ".join(sorted(Fault))
            raise ValueError(f"{name!r} is no fault; they are {known}") from None
        rates[fault] = float(rate) if given else MOST[fault]
    return rates
