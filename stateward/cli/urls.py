"""By which URLs apps are reached: `get routes`, and `why route` about one request."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from stateward.cli.flags import Format
from stateward.cli.screen import Cell, Row
from stateward.cli.session import Session
from stateward.cli.times import span
from stateward.cli.trouble import BadUse

WORDS: Final = frozenset({"route", "routes"})
_HEADS: Final = ("URL", "CONTEXT", "APP", "PORT", "TLS", "CERTIFICATE", "STATUS")
_WIDE: Final = (*_HEADS, "FALLBACK", "MIRROR", "AUTH", "PRECEDENCE", "TARGET", "ID")


def show_routes(at: Session, project: str, output: Format) -> None:
    """The rows of all route tables, of one project or of all, in order of their precedence."""
    found = at.api.get("/api/v1/routes", {"project": project})["items"]
    if output is Format.JSON:
        at.screen.json({"items": found})
    elif output is Format.YAML:
        at.screen.yaml(found)
    elif output is Format.NAME:
        for row in found:
            at.screen.line(row["url"])
    elif not found:
        at.screen.note("There is no route here.", "dim")
    else:
        wide = output is Format.WIDE
        at.screen.table(
            _WIDE if wide else _HEADS, [_row(one, at.now(), wide=wide) for one in found]
        )


def tell_why(at: Session, words: Sequence[str], headers: Sequence[str], output: Format) -> None:
    """Which row a request of a URL would hit, and why not the others of its host."""
    if len(words) != 1:
        raise BadUse("name one URL: stateward why route shop.example.org/api -H 'x-feature: blue'")
    found = at.api.get("/api/v1/routes/why", {"url": words[0], "headers": "\n".join(headers)})
    if output is Format.JSON:
        at.screen.json(found)
        return
    if output is Format.YAML:
        at.screen.yaml([found])
        return
    at.screen.line(found["summary"], "bold")
    row = found["row"]
    if row is not None and not row["redirect"]:
        owner = row["app"] or "an app of another project"
        fallback = f"; while it has no replica that is ready: {', '.join(row['fallback'])}"
        at.screen.line(f"  {owner}, port {row['port']}{fallback if row['fallback'] else ''}")
        if row["mirror"] is not None:
            at.screen.line(f"  copies of requests: {_mirror(row)}")
        at.screen.line(f"  {row['status']}")
    for one in found["passed"]:
        context = f" {one['context']}" if one["context"] else ""
        at.screen.words(Cell(f"not {one['url']}{context}", "dim"), f"{one['why']}")


def _mirror(found: Mapping[str, Any]) -> str:
    mirror = found["mirror"]
    if mirror is None:
        return "-"
    return f"{mirror['percent']} % to {mirror['app'] or 'an app of another project'}"


def _ends_in(end: str | None, now: datetime) -> str:
    if end is None:
        return "-"
    left = datetime.fromisoformat(end) - now
    return f"{span(left)} left" if left > timedelta() else "ended"


def _row(found: Mapping[str, Any], now: datetime, *, wide: bool) -> Row:
    leads = "redirect to https" if found["redirect"] else found["app"]
    status = Cell(found["status"], "green" if found["status"] == "Routed" else "yellow")
    cells: list[Cell | str] = [
        Cell(found["address"], "bold"),
        found["context"] or "-",
        leads,
        found["port"] or "-",
        found["tls"],
        _ends_in(found["certificateEnds"], now),
        status,
    ]
    if wide:
        cells += [
            ", ".join(found["fallback"]) or "-",
            _mirror(found),
            found["auth"],
            str(found["precedence"]),
            found["target"],
            found["id"],
        ]
    return cells
