"""What reconcilers count, as a port: names follow DESIGN section 12, labels are bounded."""

from typing import Protocol, final, override


class ReconcileMetrics(Protocol):
    def passed(self, result: str, seconds: float) -> None:
        """A pass over one key ended: `success`, `noop`, `requeue` or `error`."""
        ...

    def queued(self, seconds: float) -> None:
        """A key waited so long for its turn."""
        ...

    def worked(self, seconds: float) -> None:
        """A key had its turn for so long."""
        ...

    def healed(self, reason: str, seconds: float) -> None:
        """A replica runs again, so long after its end was noticed."""
        ...

    def drifted(self, field: str) -> None: ...

    def ready(self, seconds: float) -> None:
        """An intent's outcome was ready, so long after the intent."""
        ...

    def healed_by_replay(self, intents: int) -> None:
        """Events of intents that only a timer found: their hint was lost."""
        ...

    def lost(self, loop: str) -> None:
        """A supervised loop failed and was started again."""
        ...


@final
class Uncounted(ReconcileMetrics):
    """Counts nothing."""

    @override
    def passed(self, result: str, seconds: float) -> None:
        return

    @override
    def queued(self, seconds: float) -> None:
        return

    @override
    def worked(self, seconds: float) -> None:
        return

    @override
    def healed(self, reason: str, seconds: float) -> None:
        return

    @override
    def drifted(self, field: str) -> None:
        return

    @override
    def ready(self, seconds: float) -> None:
        return

    @override
    def healed_by_replay(self, intents: int) -> None:
        return

    @override
    def lost(self, loop: str) -> None:
        return
