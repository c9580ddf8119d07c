"""Publishing: a worker tells the status of what it decides over, and of nothing else."""

from collections.abc import Callable, Sequence
from typing import final, override

import msgspec

from projections.desired import DesiredApp, DesiredState, Removal
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
    def put(self, stream: str, status: AppStatus, epoch: int = 1, asked: int = 0) -> None:
        about = self._about(stream, status.uid)
        if about is not None and (held := self._sharing().epoch(about.target, stream)):
            self._inner.put(stream, status, held, about.position)

    def _about(self, stream: str, uid: int) -> DesiredApp | Removal | None:
        """An app, or what may be left of one that is deleted."""
        app = self._desired.app(stream)
        if app is not None:
            return app
        return next((one for one in self._desired.removals_of(stream) if one.uid == uid), None)

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
