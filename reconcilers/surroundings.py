"""What all passes of a worker share, and what may be done at all now."""

import random
from collections.abc import Callable
from typing import NamedTuple

from bus.intents import IntentService
from bus.secrets import SecretStore
from projections.desired import DesiredState
from reconcilers.images import ImageResolver
from reconcilers.journal import Journal
from reconcilers.metrics import ReconcileMetrics
from reconcilers.orders import Revisions
from reconcilers.places import Places
from reconcilers.probing import Probing
from reconcilers.routing import Routing
from reconcilers.status import StatusStore


class Gate(NamedTuple):
    """What may be done at all now.

    `halted` is why no engine may be written to, or None. `log_answers` is False while the log is
    away: then only the present revision is healed. `position` is the log's head as far as it is
    known here.
    """

    halted: Callable[[], str | None]
    log_answers: Callable[[], bool]
    position: Callable[[], int]


class Surroundings(NamedTuple):
    """Everything that passes share."""

    desired: DesiredState
    places: Places
    revisions: Revisions
    secrets: SecretStore
    intents: IntentService
    images: ImageResolver
    probing: Probing
    routing: Routing
    journal: Journal
    status: StatusStore
    metrics: ReconcileMetrics
    gate: Gate
    clock: Callable[[], float]
    now: Callable[[], float]
    rng: random.Random
    again: Callable[[str], None]
    """Queue a key because something beside its pass has ended."""
