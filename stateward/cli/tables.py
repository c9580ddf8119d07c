"""The rows of each kind's table, from resources as the API writes them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from stateward.cli.screen import Cell, Row
from stateward.cli.times import since, stamp

type Resource = Mapping[str, Any]

LONGEST: Final = 60  # characters of an image or a command

_APP: Final = ("NAME", "PROJECT", "READY", "REVISION", "STATUS", "SINCE", "ADDRESS")
_APP_WIDE: Final = (*_APP, "TARGET", "IMAGE", "UPDATED", "GENERATION", "LABELS")
_TARGET: Final = ("NAME", "ENGINE", "STATUS", "REPLICAS", "SEEN", "DESCRIPTION")
_HEADS: Final[Mapping[str, tuple[Sequence[str], Sequence[str]]]] = {
    "App": (_APP, _APP_WIDE),
    "Project": (
        ("NAME", "APPS", "SECRETS", "TARGET", "DESCRIPTION"),
        ("NAME", "APPS", "SECRETS", "TARGET", "DESCRIPTION", "GENERATION", "LABELS"),
    ),
    "Target": (
        _TARGET,
        (*_TARGET, "WORKER", "MESSAGE", "GENERATION", "LABELS"),
    ),
    "Secret": (
        ("NAME", "PROJECT", "KEYS", "VERSION"),
        ("NAME", "PROJECT", "KEYS", "VERSION", "GENERATION", "LABELS"),
    ),
}


def heads(kind: str, *, wide: bool) -> Sequence[str]:
    return _HEADS[kind][1 if wide else 0]


def row(resource: Resource, now: datetime, *, wide: bool) -> Row:
    """The row of one resource, as long as `heads` of its kind."""
    cells = list(_ROWS[resource["kind"]](resource, now))
    if wide and resource["kind"] == "App":
        cells += _more_of_app(resource)
    if wide and resource["kind"] == "Target":
        status = resource.get("status") or {}
        cells += [status.get("worker") or "-", status.get("message") or "-"]
    if wide:
        metadata = resource["metadata"]
        cells += [str(metadata.get("generation", "")), _labels(metadata)]
    return cells


def standing(app: Resource) -> Cell:
    """The one word that says how an app is, and its colour."""
    status = app.get("status")
    if status is None:
        return Cell("-", "dim")
    conditions = {c["type"]: c for c in status.get("conditions", ())}

    def is_true(kind: str) -> bool:
        return bool(conditions.get(kind, {}).get("status") == "True")

    if is_true("Deleting") or app["metadata"].get("deleting"):
        return Cell("Deleting", "dim")
    ready = conditions.get("Ready", {"status": "Unknown", "reason": "NotObserved"})
    if is_true("Degraded"):
        return Cell(conditions["Degraded"]["reason"], "red")
    if is_true("Paused"):
        return Cell("Paused", "yellow")
    if is_true("Progressing"):
        return Cell(conditions["Progressing"]["reason"], "yellow")
    colours = {"True": "green", "False": "yellow"}
    return Cell(
        "Ready" if ready["status"] == "True" else ready["reason"],
        colours.get(ready["status"], "yellow"),
    )


def addresses(app: Resource) -> list[str]:
    """Where ready replicas answer, those of slot 0 first."""
    replicas = (app.get("status") or {}).get("replicas", ())
    ready = sorted((one for one in replicas if one.get("ready")), key=lambda one: one["slot"])
    return [address for one in ready for address in (one.get("addresses") or {}).values()]


def event_words(event: Mapping[str, Any], now: datetime) -> tuple[Cell | str, ...]:
    """One event as a line of a story."""
    transition = bool(event.get("transition"))
    return (
        Cell(stamp(event.get("at"), now), "dim"),
        Cell(event["resource"], "bold"),
        Cell(event.get("sentence") or event["type"], "" if transition else "cyan"),
        Cell(f"(position {event['position']}, {event.get('actor', '?')})", "dim"),
    )


def _app(app: Resource, now: datetime) -> Sequence[Cell | str]:
    status = app.get("status") or {}
    ready: Resource = next((c for c in status.get("conditions", ()) if c["type"] == "Ready"), {})
    count = f"{status.get('ready', 0)}/{status.get('wanted', 0)}" if status else "-"
    where = addresses(app)
    more = f" +{len(where) - 1}" if len(where) > 1 else ""
    serving, revision = status.get("serving", 0), app["metadata"].get("revision")
    older = f" (serves {serving})" if serving and serving != revision else ""
    return (
        Cell(app["metadata"]["name"], "bold"),
        app["metadata"].get("project", ""),
        count,
        f"{revision or '-'}{older}",
        standing(app),
        since(ready.get("lastTransitionTime"), now),
        f"{where[0]}{more}" if where else "-",
    )


def _more_of_app(app: Resource) -> list[Cell | str]:
    spec, status = app.get("spec") or {}, app.get("status") or {}
    return [
        spec.get("target") or "-",
        shortened(spec.get("image") or " ".join(spec.get("command", ()))) or "-",
        f"{status.get('updated', 0)}/{status.get('wanted', 0)}" if status else "-",
    ]


def _project(project: Resource, _now: datetime) -> Sequence[Cell | str]:
    status, spec = project.get("status") or {}, project.get("spec") or {}
    return (
        Cell(project["metadata"]["name"], "bold"),
        str(status.get("apps", "-")),
        str(status.get("secrets", "-")),
        spec.get("target") or "-",
        spec.get("description") or "",
    )


def _target(target: Resource, now: datetime) -> Sequence[Cell | str]:
    status, spec = target.get("status") or {}, target.get("spec") or {}
    answers = {
        True: Cell("Answers", "green"),
        False: Cell("Unreachable", "red"),
        None: Cell("Unknown", "yellow"),
    }
    return (
        Cell(target["metadata"]["name"], "bold"),
        spec.get("engine") or "-",
        answers[status.get("answers")],
        str(status.get("replicas", "-")),
        since(status.get("observedAt"), now),
        spec.get("description") or "",
    )


def _secret(secret: Resource, _now: datetime) -> Sequence[Cell | str]:
    spec = secret.get("spec") or {}
    return (
        Cell(secret["metadata"]["name"], "bold"),
        secret["metadata"].get("project", ""),
        ", ".join(spec.get("keys", ())),
        str(spec.get("version", "-")),
    )


def shortened(text: str) -> str:
    """The beginning of a long text."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _labels(metadata: Resource) -> str:
    return ",".join(f"{key}={value}" for key, value in (metadata.get("labels") or {}).items())


_ROWS: Final[Mapping[str, Callable[[Resource, datetime], Sequence[Cell | str]]]] = {
    "App": _app,
    "Project": _project,
    "Target": _target,
    "Secret": _secret,
}
