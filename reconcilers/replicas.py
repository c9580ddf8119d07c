"""Replicas: desired against observed, and the actions that close the gap. Pure.

`diff` is the whole decision. It is asked again after every action has run, so it never waits: it
returns what may be done now and, if only time can help, when to ask again. What new, old, proven,
failing and serving mean, `reconcilers.replica_facts` says.
"""

from collections.abc import Sequence, Set
from typing import Final

import msgspec

from reconcilers.ports import Replica, ReplicaState
from reconcilers.replica_facts import Memory, Seen, Slot, View, Want, is_there, runs


class Start(msgspec.Struct, frozen=True):
    """Run this attempt of this slot; made from a kept replica, where it `reuses` one."""

    slot: Slot
    attempt: int
    reuses: Replica | None = None


class Stop(msgspec.Struct, frozen=True):
    """End a replica; unless `keep`, remove what is left of it. One that `may_return` is kept."""

    replica: Replica
    keep: bool
    reason: str
    may_return: bool = False


class Remove(msgspec.Struct, frozen=True):
    """Take away a replica that has ended."""

    replica: Replica


type Action = Start | Stop | Remove


class Plan(msgspec.Struct, frozen=True):
    """Actions in order: starts, stops, removals. `wake_at` is when only time changes something."""

    actions: tuple[Action, ...]
    wake_at: float | None = None


NOTHING: Final = Plan(())


def diff(want: Want, seen: Sequence[Seen], memory: Memory, now: float) -> Plan:
    """Return what may be done now to turn `seen` into `want`, starts before stops."""
    if is_there(want, seen):
        return NOTHING
    view = View(want, seen, memory)
    ending = [Stop(one.replica, keep=True, reason=one.failed) for one in view.failed]
    ending += _extra(want, view)
    ending += [_gone(one) for one in view.strangers if runs(one)]
    held: list[Start] = []
    starts: list[Start] = []
    if want.replicas == 0:
        keep = want.keep_dead > 0
        for one in (*view.new.values(), *view.old):
            ending.append(Stop(one.replica, keep=keep, reason="stopped"))
    else:
        for start in _starts(want, view, memory):
            at = memory.not_before.get(start.slot, 0.0)
            (starts if at <= now else held).append(start)
        ending += _stops(want, view)
    wake_at = min((memory.not_before[start.slot] for start in held), default=None)
    removals = _removals(want, view, (*starts, *held))
    return Plan((*starts, *ending, *removals), wake_at)


def needed_again(
    want: Want, seen: Sequence[Seen], ending: Set[str], draining: Set[str]
) -> list[Seen]:
    """Those of the replicas that end, and were not told yet, that must go on serving instead.

    Others were enough when their end was decided, and are not any more: one has died, say.
    """
    if not draining:
        return []
    mine = [one for one in seen if one.replica.uid == want.uid and runs(one) and not one.failed]
    serving = sum(1 for one in mine if one.serves and one.replica.id not in ending)
    lacking = max(0, want.replicas - want.max_unavailable - serving)
    ready = [one for one in mine if one.ready and one.replica.id in draining]
    return sorted(ready, key=lambda one: (-one.revision, one.replica.name))[:lacking]


def _gone(one: Seen) -> Stop:
    return Stop(one.replica, keep=False, reason="its app was deleted")


def _starts(want: Want, view: View, memory: Memory) -> list[Start]:
    numbers = _new_starts(want, view) if want.revision in want.startable else []
    starts = [_returning(_start(want.revision, n, view, memory), want, view) for n in numbers]
    healed = _old_starts(want, view, numbers)
    return starts + [_start(want.stable, number, view, memory) for number in healed]


def _new_starts(want: Want, view: View) -> list[int]:
    """The slots in which to start the wanted revision now."""
    old = {one.number for one in view.old}
    missing = [n for n in range(want.replicas) if n not in view.new]
    missing.sort(key=lambda number: (number in old, number))
    unready = len(view.new) - len(view.ready_new)
    if want.stop_first:
        missing = [number for number in missing if number not in old]
    if view.failing:
        return missing[: max(0, 1 - unready)]
    if not view.old:
        return missing
    room = want.replicas + want.surge - len(view.new) - len(view.old)
    if want.stop_first:
        room = max(1, want.max_unavailable) - unready
    elif not view.proven:
        room = min(room, max(want.surge, 1) - unready)
    return missing[: max(0, room)]


def _old_starts(want: Want, view: View, starting: Sequence[int]) -> list[int]:
    """The slots in which to heal the revision before an unproven one.

    Without room for a surge, or with one replica to a slot, the probe's slot stays its own; a probe
    that waits for room gets the next that there is.
    """
    if view.proven or want.stable == 0 or want.stable not in want.startable:
        return []
    covered = {one.number for one in view.old} | view.ready_new
    uncovered = [number for number in range(want.replicas) if number not in covered]
    if want.stop_first:
        mine = set(starting) | set(view.new)
        return [number for number in uncovered if number not in mine]
    probes = len(view.new) - len(view.ready_new) + len(starting)
    waiting = not probes and want.max_unavailable > 0 and want.revision in want.startable
    spare = max(0, probes + waiting - want.surge)
    taken = len(view.new) + len(view.old) + len(starting) + waiting
    room = want.replicas + want.surge - taken
    return uncovered[: max(0, min(len(uncovered) - spare, room))]


def _start(revision: int, number: int, view: View, memory: Memory) -> Start:
    """The start of one that is missing: under its own name while nothing says that it is over.

    If it runs after all, and the list is only old, nothing happens; a further attempt would be one
    replica too many.
    """
    slot = Slot(revision, number)
    for one in view.unstarted:
        if one.slot == slot:
            return Start(slot, one.replica.name.attempt)
    everyone = (*view.dead, *view.failed, *view.old, *view.new.values(), *view.doubles)
    used = [one.replica.name.attempt for one in everyone if one.slot == slot]
    last = memory.attempts.get(slot, 0)
    if last > max(used, default=0) and (slot, last) not in memory.spent:
        return Start(slot, last)
    return Start(slot, 1 + max([last, *used]))


def _returning(start: Start, want: Want, view: View) -> Start:
    """The start, from the newest kept replica of its slot that is like the wanted one."""
    found = [one for one in view.kept if one.number == start.slot.number and _returns(one, want)]
    if not found or start.attempt > 1:  # one that returned did not do
        return start
    return msgspec.structs.replace(start, reuses=found[-1].replica)


def _returns(one: Seen, want: Want) -> bool:
    return want.returns and one.replica.digest == want.digest


def _staying(want: Want, view: View) -> set[str]:
    """The kept replicas that stay: of the newest revisions, and those that may be started now."""
    revisions = sorted({one.revision for one in view.kept} - {want.revision})
    newest = revisions[-want.keep :] if want.keep else []
    last = {one.slot: one for one in view.kept if one.number < want.replicas}
    return {
        one.replica.id
        for one in last.values()
        if one.revision in newest or (want.keep and _returns(one, want))
    }


def _extra(want: Want, view: View) -> list[Stop]:
    """The second replicas of a slot, as from a list that left out the first.

    While too few serve, one that serves or that nobody has asked yet is needed, too. Two that share
    a volume of their slot never wait for anything.
    """
    least = max(0, want.replicas - want.max_unavailable)
    serving = view.serving + sum(1 for one in view.doubles if one.serves)
    stops: list[Stop] = []
    for one in view.doubles:
        may_serve = one.ready or not one.known
        if may_serve and not want.stop_first and serving - one.serves < least:
            continue
        serving -= one.serves
        stops.append(Stop(one.replica, keep=False, reason="extra"))
    return stops


def _stops(want: Want, view: View) -> list[Stop]:
    """What may end now without serving less than agreed."""
    stops = _scaled_down(want, view)
    serving = view.serving - sum(1 for stop in stops if _serves(view, stop))
    if want.stop_first:
        return stops + _stops_in_place(want, view)
    if want.stalled and want.stable and not view.proven:
        stops += _probes_too_many(want, view)
    least = max(0, want.replicas - want.max_unavailable)
    crowded = len(view.new) + len(view.old) >= want.replicas + want.surge
    best = {one.number: one for one in sorted(view.old, key=lambda s: (s.ready, s.slot))}
    for one in view.old:
        number = one.number
        replaced = number in view.serving_new or number >= want.replicas or best[number] is not one
        surplus = len(view.serving_new) >= want.replicas or _is_leftover(one, want)
        may_thin = want.max_unavailable > 0 and want.revision in want.startable
        makes_room = may_thin and (view.proven or (crowded and not view.failing and not view.new))
        if not (replaced or surplus or makes_room):
            continue
        if (one.ready or not one.known) and serving - _counts(one) < least:
            continue
        serving -= one.serves
        stops.append(_replaced(one, want))
    return stops


def _counts(one: Seen) -> bool:
    """Whether one fewer may serve without it. One that is ready and gets no requests adds nothing:

    it comes, or an end of it failed that had begun.
    """
    return one.serves or not one.known


def _scaled_down(want: Want, view: View) -> list[Stop]:
    """The slots that are not wanted any more, but for those that serve while too few others do."""
    spare = view.serving - max(0, want.replicas - want.max_unavailable)
    stops: list[Stop] = []
    for number in sorted((n for n in view.new if n >= want.replicas), reverse=True):
        one = view.new[number]
        if (one.ready or not one.known) and spare - _counts(one) < 0:
            continue
        spare -= one.serves
        stops.append(Stop(one.replica, keep=False, reason="scaled down"))
    return stops


def _serves(view: View, stop: Stop) -> bool:
    return stop.replica.name.slot in view.serving_new


def _probes_too_many(want: Want, view: View) -> list[Stop]:
    """Of a revision past its deadline, while an earlier one serves, one replica goes on trying."""
    unready = [n for n in sorted(view.new) if n not in view.ready_new and n < want.replicas]
    return [
        Stop(view.new[n].replica, keep=False, reason="one probe is enough")
        for n in unready[1:]
        if view.new[n].known
    ]


def _is_leftover(one: Seen, want: Want) -> bool:
    """Whether an old one is of no use: overtaken, or edited, before it ever became healthy."""
    return one.revision != want.stable and one.known and not one.ready


def _stops_in_place(want: Want, view: View) -> list[Stop]:
    """Stop-first: an old replica ends when its slot's turn has come and the new one could start."""
    if want.revision not in want.startable:
        return []
    old = {one.number for one in view.old}
    open_slots = sum(
        1
        for n in range(want.replicas)
        if n not in view.serving_new and (n not in old or n in view.new)
    )
    stops = []
    for one in view.old:
        number = one.number
        if number >= want.replicas or number in view.new:
            stops.append(_replaced(one, want))
        elif open_slots < (1 if view.failing else max(1, want.max_unavailable)):
            open_slots += 1
            stops.append(_replaced(one, want))
    return stops


def _replaced(one: Seen, want: Want) -> Stop:
    """The end of an old one. What was well and is unlike the wanted one may be wanted again."""
    was_well = one.ready and not one.replica.edited and one.number < want.replicas
    may_return = want.keep > 0 and want.returns and was_well and one.revision != want.revision
    return Stop(one.replica, keep=False, reason=_why(one, want), may_return=may_return)


def _why(one: Seen, want: Want) -> str:
    if one.revision != want.revision:
        return f"replaced by revision {want.revision}"
    edited = one.replica.edited
    return f"drift: {', '.join(edited)}" if edited else "drift: digest"


def _removals(want: Want, view: View, starts: Sequence[Start]) -> list[Remove]:
    """Take away the dead, but for the last of each slot, which is kept for its logs."""
    starting = {(start.slot, start.attempt) for start in starts}
    kept: dict[int, Seen] = {}
    revisions = {want.revision} if view.proven else {want.revision, want.stable}
    for one in view.dead:
        ran = one.replica.state is ReplicaState.EXITED  # else it has no logs
        if ran and one.revision in revisions and one.number < want.keep_dead:
            kept[one.number] = max(one, kept.get(one.number, one), key=lambda s: s.replica.name)
    stay = {one.replica.id for one in kept.values()} | _staying(want, view)
    stay |= {start.reuses.id for start in starts if start.reuses is not None}
    gone = (*view.dead, *view.kept)
    removals = [Remove(one.replica) for one in view.strangers if not runs(one)]
    removals += [Remove(one.replica) for one in gone if one.replica.id not in stay]
    for one in view.unstarted:
        if (one.slot, one.replica.name.attempt) not in starting:
            removals.append(Remove(one.replica))
    return removals
