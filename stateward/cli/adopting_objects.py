"""The verb adopt on clusters: what is in an app's way there, and to take over just that."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from domain.names import Ref
from stateward.cli.changing import show_answer, show_warnings
from stateward.cli.comparing import object_difference
from stateward.cli.flags import Format
from stateward.cli.resources import path_of, short
from stateward.cli.screen import Row
from stateward.cli.session import Session
from stateward.cli.waiting import taken_over, wait_for

_HEADS: Final = ("OBJECT", "UID", "INSTALLATION", "MANAGERS", "BECOMES")

type Found = Mapping[str, Any]


def take_over(
    at: Session,
    refs: Sequence[Ref],
    *,
    volumes: bool,
    dry_run: bool,
    output: Format,
    patience: float | None,
) -> None:
    """Take over what has the names that apps need; a dry run shows it, and what would change.

    With `patience`, wait so many seconds until it is done.
    """
    generations: dict[Ref, int] = {}
    for ref in refs:
        found: list[Found] = at.api.get(f"{path_of(ref)}/foreign")["items"]
        taken = [one for one in found if volumes or not one["data"]]
        if dry_run:
            _show(at, ref, taken, output)
        _tell_of_data(at, ref, [one for one in found if one not in taken])
        if not taken:
            at.screen.note(f"Nothing of others is in the way of {short(ref, with_project=True)}.")
            continue
        answer = at.api.write(
            "POST",
            f"{path_of(ref)}/actions/adopt",
            {"objects": [one["object"] for one in taken], "volumes": volumes},
            {"dryRun": "All" if dry_run else None, "objects": True if dry_run else None},
        )
        if dry_run:
            _foretell(at, answer)
            continue
        show_answer(at, answer, output)
        generations[ref] = answer["generation"]
    if patience is not None and generations:
        wait_for(at, {ref: taken_over(n) for ref, n in generations.items()}, seconds=patience)
        for ref in generations:
            at.screen.line(f"{short(ref)} has taken over what was in its way", "green")


def _show(at: Session, ref: Ref, found: Sequence[Found], output: Format) -> None:
    if output in (Format.JSON, Format.YAML):
        told = {"resource": ref.stream, "items": list(found)}
        at.screen.json(told) if output is Format.JSON else at.screen.yaml([told])
    elif found:
        at.screen.table(_HEADS, map(_row, found))


def _row(found: Found) -> Row:
    becomes = found["outcome"]
    if found["fields"]:
        becomes += f": {', '.join(found['fields'])} cannot be changed"
    managers = ", ".join(found["managers"]) or "-"
    return (
        _named(found),
        found["object"]["uid"],
        found["installation"] or "-",
        managers,
        becomes,
    )


def _named(found: Found) -> str:
    told = found["object"]
    where = f"{told['namespace']}/" if told["namespace"] else ""
    return f"{told['kind']} {where}{told['name']}"


def _tell_of_data(at: Session, ref: Ref, left: Sequence[Found]) -> None:
    if left:
        named = ", ".join(map(_named, left))
        at.screen.note(
            f"warning: {short(ref)} does not get {named}, which holds data; add --volumes for that"
        )


def _foretell(at: Session, answer: Mapping[str, Any]) -> None:
    """What would change, object by object."""
    show_warnings(at, answer)
    for change in answer["changes"]:
        for one in change.get("objects") or ():
            for line, style in object_difference(one):
                at.screen.line(line, style)
