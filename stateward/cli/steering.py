"""The verbs that steer what runs: scale, start, stop, restart, wait."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from domain.names import KINDS
from stateward.cli import flags, times
from stateward.cli.changing import show_answer, wait_for_changes
from stateward.cli.flags import Format
from stateward.cli.resources import path_of, short
from stateward.cli.session import session
from stateward.cli.trouble import BadUse
from stateward.cli.waiting import has_condition, settled, wait_for, wait_until_gone


class Act:
    """One action on every app that was chosen.

    Args:
        ctx: of the command.
        verb: the action.
        body: what it needs.
    """

    def __init__(self, ctx: typer.Context, verb: str, body: Mapping[str, Any]) -> None:
        self._at = session(ctx)
        self._verb = verb
        self._body = body

    def on(
        self,
        words: list[str] | None,
        *,
        project: str,
        selector: str = "",
        everywhere: bool = False,
        dry_run: bool = False,
        wait: bool = False,
        timeout: str = "5m",
    ) -> None:
        """Ask for it; then wait, if wanted, until all of them are as asked."""
        seconds = times.seconds(timeout, "--timeout")
        refs = self._at.chosen(
            words or [], project=project, selector=selector, everywhere=everywhere
        )
        changes: list[Any] = []
        for ref in refs:
            query = {"dryRun": "All" if dry_run else None}
            path = f"{path_of(ref)}/actions/{self._verb}"
            answer = self._at.api.write("POST", path, self._body, query)
            show_answer(self._at, answer, Format.TABLE)
            changes += answer["changes"]
        if wait and not dry_run:
            wait_for_changes(self._at, {"changes": changes}, seconds)


def scale(
    ctx: typer.Context,
    *,
    words: flags.AppWords = None,
    replicas: Annotated[
        int | None, typer.Option("--replicas", min=0, help="How many.", show_default=False)
    ] = None,
    project: flags.Project = "",
    selector: flags.Selector = "",
    everywhere: flags.Everywhere = False,
    dry_run: flags.DryRun = False,
    wait: flags.Wait = False,
    timeout: flags.Timeout = "5m",
) -> None:
    """Set how many replicas of an app should run."""
    if replicas is None:
        raise BadUse("say how many: --replicas 3")
    Act(ctx, "scale", {"replicas": replicas}).on(
        words,
        project=project,
        selector=selector,
        everywhere=everywhere,
        dry_run=dry_run,
        wait=wait,
        timeout=timeout,
    )


def stop(
    ctx: typer.Context,
    words: flags.AppWords = None,
    project: flags.Project = "",
    selector: flags.Selector = "",
    everywhere: flags.Everywhere = False,
    dry_run: flags.DryRun = False,
    wait: flags.Wait = False,
    timeout: flags.Timeout = "5m",
) -> None:
    """Stop every replica of an app; its settings and its data stay."""
    Act(ctx, "stop", {}).on(
        words,
        project=project,
        selector=selector,
        everywhere=everywhere,
        dry_run=dry_run,
        wait=wait,
        timeout=timeout,
    )


def start(
    ctx: typer.Context,
    words: flags.AppWords = None,
    project: flags.Project = "",
    selector: flags.Selector = "",
    everywhere: flags.Everywhere = False,
    dry_run: flags.DryRun = False,
    wait: flags.Wait = False,
    timeout: flags.Timeout = "5m",
) -> None:
    """Start an app that was stopped."""
    Act(ctx, "start", {}).on(
        words,
        project=project,
        selector=selector,
        everywhere=everywhere,
        dry_run=dry_run,
        wait=wait,
        timeout=timeout,
    )


def restart(
    ctx: typer.Context,
    words: flags.AppWords = None,
    project: flags.Project = "",
    selector: flags.Selector = "",
    everywhere: flags.Everywhere = False,
    dry_run: flags.DryRun = False,
    wait: flags.Wait = False,
    timeout: flags.Timeout = "5m",
) -> None:
    """Replace every replica of an app by a fresh one, one after the other."""
    Act(ctx, "restart", {}).on(
        words,
        project=project,
        selector=selector,
        everywhere=everywhere,
        dry_run=dry_run,
        wait=wait,
        timeout=timeout,
    )


def wait(
    ctx: typer.Context,
    words: flags.Words = None,
    wanted: Annotated[
        str,
        typer.Option("--for", help="condition=Ready, condition=Degraded=False, rollout or delete."),
    ] = "condition=Ready",
    project: flags.Project = "",
    selector: flags.Selector = "",
    everywhere: flags.Everywhere = False,
    timeout: flags.Timeout = "5m",
) -> None:
    """Wait until apps have a condition, are rolled out, or resources are gone."""
    at = session(ctx)
    seconds = times.seconds(timeout, "--timeout")
    what, _, rest = wanted.partition("=")
    kinds = KINDS if what == "delete" else ("App",)
    refs = at.chosen(
        words or [], project=project, selector=selector, everywhere=everywhere, kinds=kinds
    )
    if what == "delete":
        wait_until_gone(at, refs, seconds=seconds)
    elif what == "rollout":
        found = {ref: at.api.get(path_of(ref))["metadata"]["generation"] for ref in refs}
        wait_for(at, {ref: settled(found[ref]) for ref in refs}, seconds=seconds)
    elif what == "condition" and rest:
        kind, _, value = rest.partition("=")
        judge = has_condition(kind, value or "True")
        wait_for(at, dict.fromkeys(refs, judge), seconds=seconds)
    else:
        raise BadUse(f"--for {wanted}: write condition=Ready, rollout or delete")
    for ref in refs:
        at.screen.line(f"{short(ref)} met {wanted}")
