"""What the parts count or are like now, asked at each scrape. Names and words: `ABOUT`."""

from collections.abc import Mapping
from typing import Final

from bus.leasing import Leasing
from bus.log import WatchedLog
from projections.desired import DesiredState
from reconcilers.assembling import Assembled

ABOUT: Final[Mapping[str, str]] = {
    "stateward_log_position": "The last position of the log.",
    "stateward_log_read_only": "1 while the store of the log takes nothing new.",
    "stateward_log_rewound": "1 when the log is older than what it acknowledged.",
    "stateward_projection_position": "The last position that was folded.",
    "stateward_projection_lag_events": "Events of the log that are not folded yet.",
    "stateward_quarantined_streams": "Streams that cannot be read and are left alone.",
    "stateward_replay_age_seconds": "Since the replay tick last got round.",
    "stateward_workqueue_depth": "Keys that are ready for a pass.",
    "stateward_workqueue_delayed": "Keys that wait for a time.",
    "stateward_workqueue_adds_total": "How often a key got a place in the queue.",
    "stateward_workqueue_retries_total": "How often a key failed and was queued for later.",
    "stateward_journal_dropped": "Transitions lost because the log was away for too long.",
    "stateward_probed_replicas": "Replicas whose health is kept.",
    "stateward_targets": "Targets that are known.",
    "stateward_targets_unreachable": "Targets that do not answer.",
    "stateward_leases_held": "Partitions of targets that this worker decides over.",
    "stateward_lease_takeovers_total": "Partitions taken from a worker that had gone.",
    "stateward_leases_lost_total": "Partitions lost without being handed over.",
}


def gauges(
    log: WatchedLog,
    desired: DesiredState,
    assembled: Assembled,
    clock: float,
    leasing: Leasing | None = None,
) -> Mapping[str, tuple[str, float]]:
    """Every value by name, with its words and its value."""
    head = log.position
    views = list(assembled.targets)
    values = {
        "stateward_log_position": head,
        "stateward_log_read_only": log.read_only is not None,
        "stateward_log_rewound": log.rewound is not None,
        "stateward_projection_position": desired.position,
        "stateward_projection_lag_events": head - desired.position,
        "stateward_quarantined_streams": len(desired.frozen),
        "stateward_replay_age_seconds": clock - assembled.worker.progress.get("replay", clock),
        "stateward_workqueue_depth": len(assembled.queue),
        "stateward_workqueue_delayed": assembled.queue.delayed,
        "stateward_workqueue_adds_total": assembled.queue.adds,
        "stateward_workqueue_retries_total": assembled.queue.retries,
        "stateward_journal_dropped": assembled.journal.dropped,
        "stateward_probed_replicas": len(assembled.probing),
        "stateward_targets": len(views),
        "stateward_targets_unreachable": sum(1 for v in views if v.trouble and v.is_served),
        "stateward_leases_held": len(leasing.held) if leasing else 0,
        "stateward_lease_takeovers_total": leasing.takeovers if leasing else 0,
        "stateward_leases_lost_total": leasing.losses if leasing else 0,
    }
    return {name: (text, float(values[name])) for name, text in ABOUT.items()}
