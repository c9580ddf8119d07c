"""Taking over objects of others: which of those named are still there, and when it is over.

An intent names each object with the uid that it had; what has another one since is not touched. It
is over when none is left that could be taken, which is recorded.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, final

import msgspec

from domain import events as e
from projections.desired import DesiredApp
from reconcilers import object_comparing as comparing
from reconcilers.object_labels import INSTALLATION
from reconcilers.object_ports import Json, Manifest, ObjectKey, Objects
from reconcilers.object_takeover import REPLICA_SET, fixed
from reconcilers.surroundings import Surroundings

AGAIN_SECONDS: Final = 1.0  # no news come of what is not ours


class InTheWay(msgspec.Struct, frozen=True, kw_only=True):
    """An object that has a name which the app needs, and what would become of it.

    `installation` is whose it is; `managers` are who has set fields of it. `outcome`: `taken over`,
    `made anew` for `fields` never change, or `ended` once ours is ready. `is_data`: it holds some.
    """

    object: e.ForeignObject
    installation: str
    managers: tuple[str, ...]
    outcome: str
    fields: tuple[str, ...] = ()
    is_data: bool = False


class Approved(NamedTuple):
    """The objects that an app may take: their uids by name, and those of them that are there."""

    uids: Mapping[ObjectKey, str]
    theirs: tuple[Json, ...]

    def allows(self, one: Json) -> bool:
        uid: str = one["metadata"]["uid"]
        return self.uids.get(ObjectKey.of(one)) == uid


@final
class ObjectAdopting:
    def __init__(self, around: Surroundings) -> None:
        self._ = around
        self._told: set[int] = set()  # adoptions that are over, by their positions

    async def approved(
        self, app: DesiredApp, objects: Objects, more: Sequence[e.ForeignObject] = ()
    ) -> Approved:
        """What intents on the app name, and `more`, as it is there now.

        Raises:
            EngineError: that cannot be found out.
        """
        asked = [one for each in self._.desired.adoptions(app.ref.stream) for one in each.objects]
        uids = {_key(one): one.uid for one in (*asked, *more)}
        if not uids:
            return Approved({}, ())
        found = await objects.foreign.find(uids)
        return Approved(uids, tuple(one for one in found if Approved(uids, ()).allows(one)))

    def conclude(
        self, app: DesiredApp, approved: Approved, wanted: Sequence[Manifest] | None
    ) -> None:
        """Record the adoptions that have nothing left to take. `wanted` None: that is not known."""
        if wanted is None:
            return
        names = {manifest.key for manifest in wanted}
        left = {ObjectKey.of(one) for one in approved.theirs}
        for adoption in self._.desired.adoptions(app.ref.stream):
            keys = set(map(_key, adoption.objects)) & left
            if not adoption.objects or adoption.position in self._told:
                continue
            if any(key in names or key.kind == REPLICA_SET for key in keys):
                continue
            told = self._.journal.record(
                app.ref,
                e.AdoptionCompleted,
                cause=adoption.position,
                place=adoption.position,
                uid=app.uid,
                installation="",
                adopted=adoption.position,
            )
            if told:
                self._told.add(adoption.position)


async def in_the_way(
    objects: Objects, wanted: Sequence[Manifest], forsaken: Sequence[Json]
) -> list[InTheWay]:
    """What has names that an app needs, in the order in which it would be taken over.

    `wanted` is what the app and its project are to have there, `forsaken` what former lives of the
    app left to nobody.

    Raises:
        EngineError: that cannot be found out.
    """
    found = await objects.foreign.find([manifest.key for manifest in wanted])
    there = {ObjectKey.of(one): one for one in (*found, *forsaken)}
    told = []
    for manifest in wanted:
        if (one := there.get(manifest.key)) is None:
            continue
        fields = fixed(manifest.body, one)
        told.append(_told(one, "made anew" if fields else "taken over", fields))
        if fields:
            told += [_told(each, "ended") for each in await objects.foreign.made_by(one)]
    return told


def _told(one: Json, outcome: str, fields: tuple[str, ...] = ()) -> InTheWay:
    metadata, key = one["metadata"], ObjectKey.of(one)
    return InTheWay(
        object=e.ForeignObject(**key._asdict(), uid=metadata["uid"]),
        installation=(metadata.get("labels") or {}).get(INSTALLATION, ""),
        managers=comparing.managers(one),
        outcome=outcome,
        fields=fields,
        is_data=key.kind == "PersistentVolumeClaim",
    )


def _key(one: e.ForeignObject) -> ObjectKey:
    return ObjectKey(one.api_version, one.kind, one.namespace, one.name)
