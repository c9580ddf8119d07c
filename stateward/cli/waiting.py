"""Waiting until apps are what was asked, and saying meanwhile how far they are."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from domain.names import Ref
from stateward.cli.resources import collection, path_of, short
from stateward.cli.screen import Progress
from stateward.cli.session import Session, ref_of
from stateward.cli.streams import messages, pause
from stateward.cli.trouble import Refused, Silent, TimedOut, Trouble, Unreachable

if TYPE_CHECKING:
    from stateward.cli.http import Api

SILENCE: Final = 3.0  # then the deadline is looked at, and the stream opened anew
PAUSE: Final = 0.3

type App = Mapping[str, Any]
type Judge = Callable[[App], str | None]
"""What an app still lacks; None when it is as wanted. Raises `Trouble` when it never will be."""


def condition(app: App, kind: str) -> Mapping[str, Any]:
    """One condition of an app; Unknown if it has none of that type."""
    for found in (app.get("status") or {}).get("conditions", ()):
        if found["type"].lower() == kind.lower():
            return dict(found)
    return {"type": kind, "status": "Unknown", "reason": "NotObserved", "message": "not seen yet"}


def settled(generation: int) -> Judge:
    """Rolled out, as the intent at `generation` or a later one wants it."""

    def judge(app: App) -> str | None:
        status = app.get("status") or {}
        if status.get("observedGeneration", 0) < generation:
            return "not seen yet"
        progressing = condition(app, "Progressing")
        if progressing["reason"] == "DeadlineExceeded":
            raise Trouble(f"{short(ref_of(dict(app)))} is stuck: {_reason(app)}")
        if condition(app, "Paused")["status"] == "True":
            return None
        ready, wanted = status.get("ready", 0), status.get("wanted", 0)
        if progressing["status"] == "False" and ready >= wanted:
            return None
        return _reason(app)

    return judge


def taken_over(generation: int) -> Judge:
    """Settled, and nothing is left of what it was to adopt."""
    is_settled = settled(generation)

    def judge(app: App) -> str | None:
        lack = is_settled(app)
        synced = condition(app, "Synced")
        return str(synced["message"]) if lack is None and synced["reason"] == "Adopting" else lack

    return judge


def has_condition(kind: str, value: str) -> Judge:
    """A condition has a status: `Ready` is `True`."""

    def judge(app: App) -> str | None:
        found = condition(app, kind)
        if str(found["status"]).lower() == value.lower():
            return None
        return f"{kind} is {found['status']}, {found['reason']}: {found['message']}"

    return judge


def _reason(app: App) -> str:
    degraded = condition(app, "Degraded")
    if degraded["status"] == "True":
        return f"{degraded['reason']}: {degraded['message']}"
    return str(condition(app, "Progressing")["message"])


class Clock:
    """The time that is left."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.given = seconds

    @property
    def left(self) -> float:
        return self._end - time.monotonic()

    def check(self, missing: Mapping[Ref, str]) -> None:
        """Raises `TimedOut`, which says what is missing, when there is none left."""
        if self.left <= 0:
            what = "; ".join(f"{short(ref)}: {why}" for ref, why in missing.items())
            raise TimedOut(f"waited {self.given:g} s in vain for {what}")


def wait_for(session: Session, judges: Mapping[Ref, Judge], *, seconds: float) -> None:
    """Wait until every app is as its judge wants it.

    Raises:
        TimedOut: says what each still lacks.
        Trouble: one never will be, or is gone.
    """
    if not judges:
        return
    clock = Clock(seconds)
    missing = dict.fromkeys(judges, "not seen yet")
    with session.screen.progress() as progress:
        while missing:
            clock.check(missing)
            try:
                _follow(session.api, judges, missing, clock, progress)
            except Silent:
                continue  # nothing changed for a while
            except Unreachable as error:
                progress.say(f"{error}; trying again")
                pause(min(PAUSE, max(0.0, clock.left)))


def _follow(
    api: "Api",
    judges: Mapping[Ref, Judge],
    missing: dict[Ref, str],
    clock: Clock,
    progress: Progress,
) -> None:
    """Watch the apps until nothing is missing, the time is over or the stream ends."""
    path = _path(list(judges))
    silence = max(0.05, min(SILENCE, clock.left))
    known: set[Ref] = set()
    for message in messages(api, path, {"watch": True}, silence=silence):
        if message.event == "app":
            ref = ref_of(message.data)
            known.add(ref)
            _judge(judges, ref, message.data, missing)
        elif message.event == "gone":
            _check_there(judges, {Ref.parse(message.data["resource"])})
        elif message.event == "synced":
            _check_there(judges, judges.keys() - known)
        if not missing:
            return
        progress.say("; ".join(f"{short(ref)}: {why}" for ref, why in missing.items()))
        clock.check(missing)


def _path(refs: Sequence[Ref]) -> str:
    """The narrowest stream that has all of them."""
    if len(refs) == 1:
        return path_of(refs[0])
    projects = {ref.project for ref in refs}
    return collection("App", projects.pop() if len(projects) == 1 else "")


def _judge(judges: Mapping[Ref, Judge], ref: Ref, app: App, missing: dict[Ref, str]) -> None:
    judge = judges.get(ref)
    if judge is None:
        return
    lack = judge(app)
    if lack is None:
        missing.pop(ref, None)
    else:
        missing[ref] = lack


def _check_there(judges: Mapping[Ref, Judge], gone: set[Ref]) -> None:
    for ref in sorted(gone & judges.keys()):
        raise Trouble(f"{short(ref)} does not exist in project {ref.project}")


def wait_until_gone(session: Session, refs: Sequence[Ref], *, seconds: float) -> None:
    """Wait until the resources are no longer known.

    Raises:
        TimedOut: says which still are.
    """
    clock = Clock(seconds)
    left = dict.fromkeys(refs, "still there")
    with session.screen.progress() as progress:
        while left:
            for ref in list(left):
                if _is_gone(session.api, ref):
                    del left[ref]
            if left:
                progress.say("; ".join(f"{short(ref)} is still there" for ref in left))
                clock.check(left)
                pause(min(PAUSE, max(0.0, clock.left)))


def _is_gone(api: "Api", ref: Ref) -> bool:
    try:
        api.get(path_of(ref))
    except Refused as refused:
        if refused.status == 404:
            return True
        raise
    return False
