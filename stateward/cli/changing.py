"""The verbs that change what is wanted from manifests: apply, diff, delete."""

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer

from domain.names import KINDS, Ref
from gateway.documents import Document
from stateward.cli import flags, manifests, times
from stateward.cli.comparing import difference, object_difference
from stateward.cli.flags import Format
from stateward.cli.resources import path_of, short
from stateward.cli.session import Session, session
from stateward.cli.trouble import BadUse, Refused, Trouble
from stateward.cli.waiting import settled, wait_for, wait_until_gone

APPLY_SECONDS: Final = 120.0  # ten thousand manifests take a while

Prune = Annotated[
    bool,
    typer.Option(
        "--prune", help="Delete apps and secrets that carry the labels of -l but left the set."
    ),
]


def apply(
    ctx: typer.Context,
    *,
    filename: flags.Files = None,
    recursive: flags.Recursive = False,
    project: flags.Project = "",
    prune: Prune = False,
    selector: flags.Selector = "",
    dry_run: flags.DryRun = False,
    wait: flags.Wait = False,
    timeout: flags.Timeout = "5m",
    output: flags.Output = Format.TABLE,
) -> None:
    """Make resources as their manifests say: all of them, or none."""
    at = session(ctx)
    if prune != bool(selector):
        raise BadUse("--prune and -l go together: -l says which resources belong to the set")
    seconds = times.seconds(timeout, "--timeout")
    documents = manifests.gather(filename or [], recursive=recursive)
    answer = _apply(at, documents, project, prune=selector, dry_run=dry_run)
    show_answer(at, answer, output)
    if wait and not dry_run:
        wait_for_changes(at, answer, seconds)


def _apply(
    at: Session,
    documents: Sequence[Document],
    project: str,
    *,
    prune: str = "",
    dry_run: bool,
    objects: bool = False,
) -> dict[str, Any]:
    query = {
        "project": at.project(project),
        "prune": prune,
        "dryRun": "All" if dry_run else None,
        "objects": True if objects else None,
    }
    body = [manifests.body(document) for document in documents]
    try:
        answer: dict[str, Any] = at.api.write(
            "POST", "/api/v1/apply", body, query, timeout=APPLY_SECONDS
        )
    except Refused as refused:
        raise manifests.located(refused, documents) from None
    return answer


def show_answer(at: Session, answer: Mapping[str, Any], output: Format) -> None:
    """Say what became of each resource, and what the server warns of."""
    show_warnings(at, answer)
    if output in (Format.JSON, Format.YAML):
        at.screen.json(answer) if output is Format.JSON else at.screen.yaml([answer])
        return
    refs = [Ref.parse(change["resource"]) for change in answer["changes"]]
    several = len({ref.project for ref in refs if ref.project}) > 1
    for ref, change in zip(refs, answer["changes"], strict=True):
        name = short(ref, with_project=several)
        at.screen.line(name if output is Format.NAME else f"{name} {_became(answer, change)}")


def show_warnings(at: Session, answer: Mapping[str, Any]) -> None:
    for warning in answer.get("warnings", ()):
        at.screen.note(f"warning: {warning}")


def _became(answer: Mapping[str, Any], change: Mapping[str, Any]) -> str:
    if answer.get("dryRun"):
        return f"{change['result']} (dry run)"
    if change["result"] == "unchanged":
        return "unchanged"
    return f"{change['result']} (position {change['generation']})"


def wait_for_changes(at: Session, answer: Mapping[str, Any], seconds: float) -> None:
    """Wait until the apps of an answer are rolled out.

    Raises:
        TimedOut: says what each still lacks.
    """
    changed = [(Ref.parse(c["resource"]), c) for c in answer["changes"]]
    judges = {
        ref: settled(change["generation"])
        for ref, change in changed
        if ref.kind == "App" and change["result"] != "deleted"
    }
    wait_for(at, judges, seconds=seconds)
    for ref in judges:
        at.screen.line(f"{short(ref)} is as wanted", "green")
    gone = [ref for ref, change in changed if change["result"] == "deleted"]
    wait_until_gone(at, gone, seconds=seconds)


def diff(
    ctx: typer.Context,
    filename: flags.Files = None,
    recursive: flags.Recursive = False,
    project: flags.Project = "",
    prune: Prune = False,
    selector: flags.Selector = "",
) -> None:
    """Show what apply would change. Exits with 0: nothing, 1: something, more: trouble.

    Of apps on a cluster also each object, as the cluster says it would be.
    """
    at = session(ctx)
    with _trouble_is_more_than_one():
        if prune != bool(selector):
            raise BadUse("--prune and -l go together: -l says which resources belong to the set")
        documents = manifests.gather(filename or [], recursive=recursive)
        answer = _apply(at, documents, project, prune=selector, dry_run=True, objects=True)
    show_warnings(at, answer)
    differs = False
    for change in answer["changes"]:
        lines = difference(change["resource"], change.get("before"), change.get("after"))
        lines += [line for one in change.get("objects") or () for line in object_difference(one)]
        for text, style in lines:
            at.screen.line(text, style)
        differs = differs or bool(lines) or change["result"] != "unchanged"
    if differs:
        raise typer.Exit(1)


class _DiffTrouble(Trouble):
    exit_code = 2


@contextmanager
def _trouble_is_more_than_one() -> Any:
    """Exit code 1 says that something differs, so trouble takes another."""
    try:
        yield
    except Trouble as trouble:
        if trouble.exit_code > 1:
            raise
        raise _DiffTrouble(str(trouble)) from trouble


def delete(
    ctx: typer.Context,
    *,
    words: flags.Words = None,
    project: flags.Project = "",
    selector: flags.Selector = "",
    everywhere: flags.Everywhere = False,
    filename: flags.Files = None,
    recursive: flags.Recursive = False,
    cascade: Annotated[
        bool, typer.Option("--cascade", help="Of a project or target: its apps as well.")
    ] = False,
    orphan: Annotated[
        bool, typer.Option("--orphan", help="Forget it here; leave alone what runs.")
    ] = False,
    volumes: Annotated[
        bool, typer.Option("--volumes", help="The data of the apps that go as well, for ever.")
    ] = False,
    ignore_not_found: Annotated[
        bool, typer.Option("--ignore-not-found", help="It is fine if it is not there.")
    ] = False,
    dry_run: flags.DryRun = False,
    wait: flags.Wait = False,
    timeout: flags.Timeout = "5m",
) -> None:
    """Delete resources: named, selected or listed in files. Volumes stay."""
    at = session(ctx)
    seconds = times.seconds(timeout, "--timeout")
    if filename and words:
        raise BadUse("name resources, or files that hold them, not both")
    if filename:
        refs = manifests.refs(filename, at.project(project), recursive=recursive)
    else:
        refs = at.chosen(
            words or [], project=project, selector=selector, everywhere=everywhere, kinds=KINDS
        )
    query = {"cascade": cascade, "orphan": orphan, "volumes": volumes}
    deleted = [
        gone
        for ref in sorted(refs, key=_owners_last)
        for gone in _delete(at, ref, query, dry_run=dry_run, ignore=ignore_not_found)
    ]
    if wait and not dry_run:
        wait_until_gone(at, deleted, seconds=seconds)


def _owners_last(ref: Ref) -> int:
    return -KINDS.index(ref.kind)


def _delete(
    at: Session, ref: Ref, query: Mapping[str, bool], *, dry_run: bool, ignore: bool
) -> list[Ref]:
    """Delete it; return all that goes: of a project, what was in it as well."""
    try:
        answer = at.api.write(
            "DELETE", path_of(ref), None, {**query, "dryRun": "All" if dry_run else None}
        )
    except Refused as refused:
        if ignore and refused.status == 404:
            return []
        raise
    show_answer(at, answer, Format.TABLE)
    return [Ref.parse(c["resource"]) for c in answer["changes"] if c["result"] == "deleted"]
