"""Publishing: a worker tells the status of what it decides over, and of nothing else."""

from collections.abc import Callable, Sequence
from typing import final, override

import msgspec

from projections.desired import DesiredState
from reconcilers.sharing import Sharing
from reconcilers.status import AppStatus, StatusStore, TargetStatus


@final
class OwnStatus(StatusStore):
    """A store as one worker sees it: what it puts goes there under the epoch of its lease."""

    def __init__(
        self,
        inner: StatusStore,
        desired: DesiredState,
        sharing: Callable[[], Sharing],
        worker: str,
    ) -> None:
        self._inner, self._desired, self._sharing = inner, desired, sharing
        self._worker = worker

    @override
<<<<<<< HEAD
    def put(self, stream: str, status: AppStatus, epoch: int = 1, asked: int = 0) -> None:
        app = self._desired.app(stream)
        if app is not None and (held := self._sharing().epoch(app.target, stream)):
            self._inner.put(stream, status, held, app.position)
=======
    def put(self, stream: str, status: AppStatus, epoch: int = 1) -> None:
        target = self._target(stream, status.uid)
        held = self._sharing().epoch(target, stream) if target is not None else 0
        if held:
            self._inner.put(stream, status, held)
>>>>>>> k8s-eyes

    def _target(self, stream: str, uid: int) -> str | None:
        """Where an app is, or where something may be left of one that is deleted."""
        app = self._desired.app(stream)
        if app is not None:
            return app.target
        removals = self._desired.removals_of(stream)
        return next((one.target for one in removals if one.uid == uid), None)

    @override
    def get(self, stream: str) -> AppStatus | None:
        return self._inner.get(stream)

    @override
    def drop(self, stream: str) -> None:
        self._inner.drop(stream)

    @override
    def put_target(self, name: str, status: TargetStatus, epoch: int = 1) -> None:
        if held := self._sharing().epoch_of(name):
            named = msgspec.structs.replace(status, worker=self._worker)
            self._inner.put_target(name, named, held)

    @override
    def get_target(self, name: str) -> TargetStatus | None:
        return self._inner.get_target(name)

    @override
    def changes(self) -> Sequence[str]:
        return self._inner.changes()
