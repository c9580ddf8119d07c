"""The verb adopt: see what other installations run, and take over from one of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import typer

from domain.names import Ref, is_installation
from stateward.cli import flags, times
from stateward.cli.adopting_objects import take_over
from stateward.cli.changing import show_answer
from stateward.cli.flags import Format
from stateward.cli.resources import path_of, short
from stateward.cli.screen import Cell, Row
from stateward.cli.session import Session, session
from stateward.cli.trouble import BadUse, Refused, Trouble
from stateward.cli.waiting import taken_over, wait_for

From = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="INSTALLATION",
        help="The installation to take over from, or how its name begins.",
        show_default=False,
    ),
]
OnTarget = Annotated[
    str, typer.Option("--target", help="Look at this target only.", show_default=False)
]
ToObjects = Annotated[
    bool,
    typer.Option(
        "--objects",
        help="On a cluster: take over the objects of others that have the names of the apps'.",
    ),
]
WithVolumes = Annotated[
    bool, typer.Option("--volumes", help="With --objects: those that hold data, too.")
]
BAD_GATEWAY = 502


class Found(NamedTuple):
    """What an installation runs of an app on a target, as the server tells it."""

    target: str
    told: Mapping[str, Any]

    @property
    def ref(self) -> Ref:
        return Ref("App", self.told["project"], self.told["app"])


def adopt(
    ctx: typer.Context,
    *,
    words: flags.AppWords = None,
    former: From = "",
    project: flags.Project = "",
    everywhere: flags.Everywhere = False,
    target: OnTarget = "",
    objects: ToObjects = False,
    volumes: WithVolumes = False,
    dry_run: flags.DryRun = False,
    wait: flags.Wait = False,
    timeout: flags.Timeout = "5m",
    output: flags.Output = Format.TABLE,
) -> None:
    """Take over from an installation whose log is lost; without --from, list what others run.

    What it runs of an app ends once the app, applied here, is ready. Its volumes are never
    touched.

    On a cluster, --objects takes over what has the names of an app's objects, whosesoever it is:
    exactly what is there now. --dry-run shows that first.
    """
    at = session(ctx)
    seconds = times.seconds(timeout, "--timeout")
    if objects or volumes:
        if former or not objects:
            raise BadUse("--objects goes without --from, and --volumes goes with --objects")
        take_over(
            at,
            at.chosen(words or [], project=project, everywhere=everywhere),
            volumes=volumes,
            dry_run=dry_run,
            output=output,
            patience=seconds if wait and not dry_run else None,
        )
        return
    if former and not (words or project or everywhere):
        raise BadUse("say of which apps: app/web, -n PROJECT for all of it, or -A")
    found = _of_what_was_named(at, words, project, _foreign(at, target))
    if former:
        patience = seconds if wait and not dry_run else None
        _adopt_from(at, _installation(former, found), found, patience, dry_run=dry_run)
    else:
        _show(at, found, output)


def _adopt_from(
    at: Session,
    installation: str,
    found: Iterable[Found],
    patience: float | None,
    *,
    dry_run: bool,
) -> None:
    """Take over from one installation; with `patience`, wait so many seconds until it is done."""
    theirs = [one for one in found if one.told["installation"] == installation]
    if not theirs:
        at.screen.note(f"Installation {installation} runs nothing of what was named.")
        return
    generations = _take_over(at, installation, theirs, dry_run=dry_run)
    if patience is not None:
        wait_for(at, {ref: taken_over(n) for ref, n in generations.items()}, seconds=patience)
        for ref in generations:
            at.screen.line(f"{short(ref)} has taken over from {installation}", "green")
    _complain(theirs)


def _of_what_was_named(
    at: Session, words: list[str] | None, project: str, found: Iterable[Found]
) -> list[Found]:
    if words:
        named = at.chosen(words, project=project)
        return [one for one in found if one.ref in named]
    return [one for one in found if project in ("", one.ref.project)]


def _foreign(at: Session, target: str) -> list[Found]:
    """What other installations run; a target that does not answer is noted, and left out."""
    names = [target] if target else [one["metadata"]["name"] for one in at.items("Target")]
    found: list[Found] = []
    for name in names:
        try:
            answer = at.api.get(f"{path_of(Ref('Target', '', name))}/foreign")
        except Refused as refused:
            if refused.status != BAD_GATEWAY:
                raise
            at.screen.note(f"target {name} is left out: {refused}")
            continue
        found += [Found(name, item) for item in answer["items"]]
    return found


def _show(at: Session, found: Sequence[Found], output: Format) -> None:
    items = [{"target": one.target, **one.told} for one in found]
    if output is Format.JSON:
        at.screen.json({"items": items})
    elif output is Format.YAML:
        at.screen.yaml(items)
    elif not found:
        at.screen.note("No other installation runs anything here.", "dim")
    else:
        heads = ("INSTALLATION", "PROJECT", "APP", "TARGET", "RUNNING", "REVISION", "HERE")
        at.screen.table(heads, map(_row, found))


def _row(found: Found) -> Row:
    told = found.told
    here = Cell("applied", "green") if told["applied"] else Cell("not applied", "yellow")
    return (
        told["installation"],
        told["project"],
        told["app"],
        found.target,
        f"{told['running']} of {len(told['replicas'])}",
        ", ".join(map(str, told["revisions"])),
        Cell("adopting", "cyan") if told["adopting"] else here,
    )


def _installation(given: str, found: Iterable[Found]) -> str:
    """The one installation that is meant.

    Raises:
        BadUse: none of those found begins so, or several do.
    """
    if is_installation(given):
        return given
    known = {str(one.told["installation"]) for one in found}
    meant = sorted(one for one in known if one.startswith(given))
    if len(meant) != 1:
        which = f"{len(meant)} begin with {given!r}" if meant else f"none begins with {given!r}"
        there = ", ".join(sorted(known)) or "none"
        raise BadUse(f"--from {given}: {which}; of what was named, others run: {there}")
    return meant[0]


def _take_over(
    at: Session, installation: str, theirs: Sequence[Found], *, dry_run: bool
) -> dict[Ref, int]:
    """Ask it of every app that is applied here; the generation of each."""
    generations: dict[Ref, int] = {}
    for one in theirs:
        if not one.told["applied"]:
            continue
        _warn_of_volumes(at, one)
        answer = at.api.write(
            "POST",
            f"{path_of(one.ref)}/actions/adopt",
            {"installation": installation},
            {"dryRun": "All" if dry_run else None},
        )
        show_answer(at, answer, Format.TABLE)
        generations[one.ref] = answer["generation"]
        for replica in one.told["replicas"] if dry_run else ():
            at.screen.line(f"  would end {replica['name']} ({replica['state']}) on {one.target}")
    return generations


def _warn_of_volumes(at: Session, found: Found) -> None:
    if found.told["volumes"]:
        at.screen.note(
            f"warning: {short(found.ref)} does not get the data of the volumes that the other "
            f"installation has for it ({', '.join(found.told['volumes'])}); those stay"
        )


def _complain(theirs: Sequence[Found]) -> None:
    """Raises `Trouble` when something stays because nothing here takes its place."""
    missing = [f"{short(one.ref, with_project=True)} on target {one.target}" for one in theirs]
    missing = [told for told, one in zip(missing, theirs, strict=True) if not one.told["applied"]]
    if missing:
        raise Trouble(
            f"not applied here, so what runs of it stays: {', '.join(missing)}; "
            "apply the manifest, then adopt again"
        )
