"""All about one resource, as a page to read."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from stateward.cli import tables
from stateward.cli.screen import Cell, Screen, as_yaml
from stateward.cli.times import since, stamp

_COLOURS: Final = {"True": "green", "False": "", "Unknown": "yellow"}
_BAD_WHEN_TRUE: Final = ("Degraded", "Deleting", "Paused")


def describe_resource(
    screen: Screen,
    resource: Mapping[str, Any],
    events: Sequence[Mapping[str, Any]],
    now: datetime,
) -> None:
    """Write the page."""
    _head(screen, resource, now)
    if resource.get("spec"):
        _title(screen, "Spec")
        for line in as_yaml(resource["spec"]).rstrip().split("\n"):
            screen.line(f"  {line}")
    status = resource.get("status") or {}
    if status.get("conditions"):
        _title(screen, "Conditions")
        screen.table(
            ("  TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"),
            [_condition(condition, now) for condition in status["conditions"]],
        )
    if resource["kind"] == "App" and status.get("replicas"):
        _title(screen, "Replicas")
        screen.table(
            (
                "  SLOT",
                "REVISION",
                "ATTEMPT",
                "STATE",
                "READY",
                "AGE",
                "ADDRESSES",
                "NAME",
                "MESSAGE",
            ),
            [_replica(replica, now) for replica in status["replicas"]],
        )
    if events:
        _title(screen, "Events")
        for event in events:
            screen.words("", *tables.event_words(event, now))


def _head(screen: Screen, resource: Mapping[str, Any], now: datetime) -> None:
    metadata, status = resource["metadata"], resource.get("status") or {}
    labels = ", ".join(f"{k}={v}" for k, v in (metadata.get("labels") or {}).items())
    facts: dict[str, object] = {
        "Name": metadata["name"],
        "Kind": resource["kind"],
        "Project": metadata.get("project"),
        "Labels": labels,
        "Generation": metadata.get("generation"),
        "Revision": metadata.get("revision"),
        "Serving": status.get("serving"),
        "Image": status.get("image"),
        "Observed": f"{since(status['observedAt'], now)} ago" if status.get("observedAt") else None,
        "Frozen": status.get("frozen"),
        "Status": status.get("message"),
    }
    if resource["kind"] == "App":
        facts["Status"] = tables.standing(resource).text
    for name, fact in facts.items():
        if fact not in (None, ""):
            screen.words(Cell(f"{name}:".ljust(12), "dim"), str(fact))


def _title(screen: Screen, text: str) -> None:
    screen.line()
    screen.line(f"{text}:", "bold")


def _condition(condition: Mapping[str, Any], now: datetime) -> tuple[Cell | str, ...]:
    bad = condition["type"] in _BAD_WHEN_TRUE and condition["status"] == "True"
    return (
        f"  {condition['type']}",
        Cell(condition["status"], "red" if bad else _COLOURS.get(condition["status"], "")),
        condition["reason"],
        since(condition.get("lastTransitionTime"), now),
        condition["message"],
    )


def _replica(replica: Mapping[str, Any], now: datetime) -> tuple[Cell | str, ...]:
    addresses = (replica.get("addresses") or {}).items()
    exited = replica.get("exitCode")
    state = replica["state"] if exited is None else f"{replica['state']} ({exited})"
    return (
        f"  {replica['slot']}",
        str(replica["revision"]),
        str(replica["attempt"]),
        state,
        Cell("yes", "green") if replica.get("ready") else Cell("no", "yellow"),
        since(replica.get("startedAt"), now),
        ", ".join(f"{name} {address}" for name, address in addresses) or "-",
        replica["name"],
        replica.get("message") or "",
    )


def show_revisions(screen: Screen, items: Sequence[Mapping[str, Any]], now: datetime) -> None:
    """The revisions of an app as a table, oldest first."""
    screen.table(
        ("REVISION", "POSITION", "AT", "BY", "WHAT", "IMAGE", ""),
        [
            (
                Cell(str(item["revision"]), "bold"),
                str(item["position"]),
                stamp(item.get("at"), now),
                item.get("actor") or "",
                item.get("sentence") or item["type"],
                item.get("image") or (item.get("spec") or {}).get("image") or "-",
                Cell(_marks(item), "green"),
            )
            for item in items
        ],
    )


def _marks(item: Mapping[str, Any]) -> str:
    marks = [name for name in ("current", "stable") if item.get(name)]
    return ", ".join(marks)
