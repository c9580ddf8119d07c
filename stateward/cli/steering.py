"""The verbs that steer what runs: scale, start, stop, restart, rollout, wait."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

import typer

from domain.names import KINDS
from stateward.cli import flags, times
from stateward.cli.changing import show_answer, wait_for_changes
from stateward.cli.describing import show_revisions
from stateward.cli.flags import Format
from stateward.cli.resources import path_of, short
from stateward.cli.session import session
from stateward.cli.trouble import BadUse
from stateward.cli.waiting import has_condition, settled, wait_for, wait_until_gone

rollout = typer.Typer(
    no_args_is_help=True, help="Look at, take back, hold or renew what is rolled out."
)


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


@rollout.command()
def status(
    ctx: typer.Context,
    words: flags.AppWords = None,
    project: flags.Project = "",
    watch: Annotated[
        bool, typer.Option("--watch/--no-watch", help="Wait until it is done.")
    ] = True,
    timeout: flags.Timeout = "5m",
) -> None:
    """Say how far the last rollout is, and wait for its end."""
    at = session(ctx)
    seconds = times.seconds(timeout, "--timeout")
    ref = at.one(words or [], project)
    app = at.api.get(path_of(ref))
    judge = settled(app["metadata"]["generation"])
    lack = judge(app)
    if lack is not None and watch:
        wait_for(at, {ref: judge}, seconds=seconds)
        app, lack = at.api.get(path_of(ref)), None
    revision = app["metadata"]["revision"]
    done = f"revision {revision} is rolled out" if lack is None else f"revision {revision}: {lack}"
    at.screen.line(f"{short(ref)}: {done}")


@rollout.command()
def history(
    ctx: typer.Context,
    words: flags.AppWords = None,
    project: flags.Project = "",
    output: flags.Output = Format.TABLE,
) -> None:
    """List the revisions of an app: when, by whom, what."""
    at = session(ctx)
    found = at.api.get(f"{path_of(at.one(words or [], project))}/revisions")
    if output in (Format.JSON, Format.YAML):
        at.screen.json(found) if output is Format.JSON else at.screen.yaml([found])
        return
    show_revisions(at.screen, found["items"], at.now())


@rollout.command()
def undo(
    ctx: typer.Context,
    words: flags.AppWords = None,
    to: Annotated[
        int | None,
        typer.Option(
            "--to",
            "--to-revision",
            min=1,
            help="The revision to return to; by default the one before.",
            show_default=False,
        ),
    ] = None,
    project: flags.Project = "",
    dry_run: flags.DryRun = False,
    wait: flags.Wait = False,
    timeout: flags.Timeout = "5m",
) -> None:
    """Return to an earlier revision, as a new one."""
    body = {} if to is None else {"to": to}
    Act(ctx, "undo", body).on(words, project=project, dry_run=dry_run, wait=wait, timeout=timeout)


@rollout.command()
def pause(
    ctx: typer.Context,
    words: flags.AppWords = None,
    reason: Annotated[str, typer.Option("--reason", help="Why: others will read it.")] = "",
    length: Annotated[
        str, typer.Option("--for", help="Resume by itself after so long.", show_default=False)
    ] = "",
    project: flags.Project = "",
    dry_run: flags.DryRun = False,
) -> None:
    """Hold rollouts: changes are kept, and rolled out when the app is resumed."""
    if not reason:
        raise BadUse("say why: --reason 'release freeze'")
    body = {"reason": reason}
    if length:
        until = session(ctx).now() + timedelta(seconds=times.seconds(length, "--for"))
        body["until"] = until.isoformat(timespec="seconds").replace("+00:00", "Z")
    Act(ctx, "pause", body).on(words, project=project, dry_run=dry_run)


@rollout.command()
def resume(
    ctx: typer.Context,
    words: flags.AppWords = None,
    project: flags.Project = "",
    dry_run: flags.DryRun = False,
    wait: flags.Wait = False,
    timeout: flags.Timeout = "5m",
) -> None:
    """Roll out what was held back."""
    Act(ctx, "resume", {}).on(words, project=project, dry_run=dry_run, wait=wait, timeout=timeout)


@rollout.command()
def refresh(
    ctx: typer.Context,
    words: flags.AppWords = None,
    project: flags.Project = "",
    dry_run: flags.DryRun = False,
    wait: flags.Wait = False,
    timeout: flags.Timeout = "5m",
) -> None:
    """Ask the registry again what the image's tag names, and roll that out."""
    Act(ctx, "refresh", {}).on(words, project=project, dry_run=dry_run, wait=wait, timeout=timeout)


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
