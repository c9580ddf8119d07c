"""From a table, endpoints and what runs to what should run; pure."""

from collections.abc import Container, Iterable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Final

import msgspec

from adapters.haproxy.asking import PROGRAM
from adapters.haproxy.config import Shape, configuration
from adapters.haproxy.disk import State, Told, fingerprint, lines_of
from adapters.haproxy.matching import entries_of
from adapters.haproxy.pool import Group, Pool
from adapters.haproxy.servers import EMPTY, Slots, configured, servers_of, slots_with
from adapters.haproxy.settings import ASKING, BACKENDS, CONFIGURATION, MAP, HAProxySettings
from projections.route_table import Endpoints, RouteTable, Row

TOLD: Final = 20  # foreign changes that are named one by one


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What should run.

    On the way there the backends of groups that go are still in `pool` and `slots`: requests may
    go to them until the map has changed.
    """

    pool: Pool
    groups: frozenset[Group]
    shape: Shape
    slots: Mapping[str, Slots]
    told: tuple[Told, ...]
    entries: Mapping[str, str]
    configuration: str

    @property
    def loaded(self) -> str:
        return fingerprint(self.configuration, self.pool.names)

    @property
    def after(self) -> State:
        """What is to be remembered when all of it runs."""
        pool = self.pool.keeping(self.groups)
        free = dict.fromkeys(pool.free)
        slots = {
            name: (None,) * len(each) if name in free else each for name, each in self.slots.items()
        }
        return State(pool=pool, shape=self.shape, slots=slots, told=self.told, loaded=self.loaded)


def wanted(
    settings: HAProxySettings,
    state: State,
    table: RouteTable,
    unserved: Mapping[str, str],
) -> Wanted:
    """Return what serves `table`, with rows named by `unserved` answered by a page."""
    served = tuple(row for row in table.rows if row.id not in unserved)
    groups = frozenset(Group.of(row) for row in served if not row.redirect)
    pool = state.pool.taking(Group.of(row) for row in served if not row.redirect)
    shape = state.shape.covering(served, settings.context_headers)
    return Wanted(
        pool=pool,
        groups=groups,
        shape=shape,
        slots=filled(pool, state.slots, state.endpoints),
        told=state.told,
        entries=entries_of(served, _rows(table, unserved), pool.backends),
        configuration=configuration(settings, shape),
    )


def _rows(table: RouteTable, named: Mapping[str, str]) -> Iterable[Row]:
    return (row for row in table.rows if row.id in named)


def filled(
    pool: Pool,
    slots: Mapping[str, Slots],
    endpoints: Endpoints,
    held: Mapping[str, Container[int]] = MappingProxyType({}),
) -> dict[str, Slots]:
    """Return the slots of all backends, those that are taken filled with their endpoints.

    What is free and `held`, by backend, stays so.
    """
    after = {name: slots.get(name, EMPTY) for name in pool.names}
    for group, name in pool.backends.items():
        after[name] = slots_with(after[name], servers_of(group, endpoints), held.get(name, ()))
    return after


def written(settings: HAProxySettings, state: State, entries: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of the files, by name, as they are unless somebody else changed them."""
    if not state.loaded:
        return {}
    texts = {BACKENDS: configured(state.slots), MAP: lines_of(entries)}
    present = configuration(settings, state.shape)
    if fingerprint(present, state.pool.names) == state.loaded:
        texts[CONFIGURATION] = present
        if settings.verify:
            texts[ASKING] = PROGRAM
    return texts


def differences(
    expected: State, entries: Mapping[str, str], slots: Mapping[str, Slots], seen: Mapping[str, str]
) -> tuple[str, ...]:
    """Name what somebody else changed in the running program: routes, and servers of backends."""
    keys = dict.fromkeys((*entries, *seen))
    told = [f"route {key}" for key in keys if entries.get(key) != seen.get(key)]
    for name in expected.pool.backends.values():
        before, now = expected.slots.get(name, EMPTY), slots.get(name, ())
        if {one for one in before if one} != {one for one in now if one}:
            told.append(f"servers of backend {name}")
    if len(told) <= TOLD:
        return tuple(told)
    return (*islice(told, TOLD), f"and {len(told) - TOLD} more")
