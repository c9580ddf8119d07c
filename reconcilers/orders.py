"""Orders: from the record of a revision to everything an engine needs to run one replica."""

from collections.abc import Iterable, Mapping
from typing import final

import msgspec

from bus import codec
from bus.log import Log, StoredEvent
from bus.secrets import SecretStore, SecretUnavailable
from domain import app as spec_of
from domain import events as e
from domain.app import AppSpec, FromSecret
from domain.names import Ref
from domain.quantities import cpu_millis, memory_bytes, seconds
from domain.secret import SecretText
from projections.desired import DesiredApp
from reconcilers.ports import ReplicaName, StartReplica
from reconcilers.replica_facts import Slot


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """What one revision runs. `image` is None until it is resolved."""

    number: int
    digest: str
    spec: AppSpec
    secrets: Mapping[str, str]
    image: str | None

    @property
    def needs_image(self) -> bool:
        return self.spec.image is not None and self.image is None


def of(desired: DesiredApp) -> Revision:
    """The app's present revision."""
    return Revision(
        number=desired.revision,
        digest=desired.digest,
        spec=desired.spec,
        secrets=desired.secrets,
        image=desired.image,
    )


@final
class Revisions:
    """Finds former revisions in the log, and remembers them: they never change once resolved."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._known: dict[tuple[str, int], Revision] = {}

    async def find(self, desired: DesiredApp, number: int) -> Revision | None:
        """A revision of the app; None if the log has none of that number.

        Raises:
            LogUnavailable: it is not remembered and the log cannot be read.
        """
        if number == desired.revision:
            return of(desired)
        key = (desired.ref.stream, number)
        if key not in self._known:
            found = await self._read(desired.ref, number)
            if found is None:
                return None
            if found.needs_image:
                return found
            self._known[key] = found
        return self._known[key]

    def forget(self, stream: str) -> None:
        for key in [key for key in self._known if key[0] == stream]:
            del self._known[key]

    async def _read(self, ref: Ref, number: int) -> Revision | None:
        return among(await self._log.stream(ref.stream), number)


def among(history: Iterable[StoredEvent], number: int) -> Revision | None:
    """A revision of an app, from its stream; None if it is not there or cannot be read."""
    found: e.AppEvent | None = None
    late: str | None = None
    for row in history:
        try:
            event = codec.decode(row.type, row.data)
        except codec.Undecodable:
            continue  # a revision that nobody can read is as good as none
        if isinstance(event, e.AppEvent) and event.revision == number:
            found = event
        elif isinstance(event, e.AppEvent) and event.paused and event.paused.image:
            late = event.paused.image if event.paused.revision == number else late
    if found is None:
        return None
    return Revision(
        number=number,
        digest=found.digest,
        spec=spec_of.decode(bytes(found.spec)),
        secrets=found.secrets,
        image=found.image or late,
    )


async def environment(
    store: SecretStore, project: str, revision: Revision
) -> dict[str, str | SecretText]:
    """The variables of a revision, with the values of its secrets.

    Raises:
        SecretUnavailable: a value is not in the store.
    """
    values = {
        name: await store.get(Ref("Secret", project, name), token)
        for name, token in revision.secrets.items()
    }
    env: dict[str, str | SecretText] = {}
    for variable, value in revision.spec.env.items():
        if isinstance(value, FromSecret):
            secret = value.secret_ref
            if secret.key not in values[secret.name]:
                raise SecretUnavailable(f"Secret {secret.name} has no key {secret.key!r} any more")
            env[variable] = values[secret.name][secret.key]
        else:
            env[variable] = value
    return env


def order(
    desired: DesiredApp,
    revision: Revision,
    slot: Slot,
    attempt: int,
    *,
    env: Mapping[str, str | SecretText],
    position: int,
) -> StartReplica:
    """The order for one attempt of one slot; `position` is the log's head as far as known."""
    spec = revision.spec
    resources = spec.resources
    return StartReplica(
        name=ReplicaName(
            desired.ref.project, desired.ref.name, slot.revision, slot.number, attempt
        ),
        uid=desired.uid,
        digest=revision.digest,
        position=position,
        image=revision.image if spec.image else None,
        command=spec.command,
        args=spec.args,
        workdir=spec.workdir,
        env=env,
        ports=spec.ports,
        volumes=spec.volumes,
        cpu_millis=cpu_millis(resources.cpu) if resources.cpu else None,
        memory_bytes=memory_bytes(resources.memory) if resources.memory else None,
        stop_signal=spec.stop_signal,
        stop_grace=seconds(spec.stop_grace),
        publish=spec.publish,
    )
