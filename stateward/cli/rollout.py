"""The verbs under `rollout`: status, history, undo, pause, resume, refresh."""

from datetime import timedelta
from typing import Annotated

import typer

from stateward.cli import flags, times
from stateward.cli.describing import show_revisions
from stateward.cli.flags import Format
from stateward.cli.resources import path_of, short
from stateward.cli.session import session
from stateward.cli.steering import Act
from stateward.cli.trouble import BadUse
from stateward.cli.waiting import settled, wait_for

rollout = typer.Typer(
    no_args_is_help=True, help="Look at, take back, hold or renew what is rolled out."
)


@rollout.command()
def status(
    ctx: typer.Context,
    words: flags.AppWords = None,
    project: flags.Project = "",
    selector: flags.Selector = "",
    everywhere: flags.Everywhere = False,
    watch: Annotated[
        bool, typer.Option("--watch/--no-watch", help="Wait until it is done.")
    ] = True,
    timeout: flags.Timeout = "5m",
) -> None:
    """Say how far the last rollout is, and wait for its end."""
    at = session(ctx)
    seconds = times.seconds(timeout, "--timeout")
    refs = at.chosen(words or [], project=project, selector=selector, everywhere=everywhere)
    apps = {ref: at.api.get(path_of(ref)) for ref in refs}
    judges = {ref: settled(app["metadata"]["generation"]) for ref, app in apps.items()}
    lacks = {ref: judge(apps[ref]) for ref, judge in judges.items()}
    if watch:
        late = [ref for ref, lack in lacks.items() if lack is not None]
        wait_for(at, {ref: judges[ref] for ref in late}, seconds=seconds)
        apps |= {ref: at.api.get(path_of(ref)) for ref in late}
        lacks = dict.fromkeys(refs)
    several = len({ref.project for ref in refs}) > 1
    for ref in refs:
        revision = f"revision {apps[ref]['metadata']['revision']}"
        how = f"{revision} is rolled out" if lacks[ref] is None else f"{revision}: {lacks[ref]}"
        at.screen.line(f"{short(ref, with_project=several)}: {how}")


@rollout.command()
def history(
    ctx: typer.Context,
    words: flags.AppWords = None,
    project: flags.Project = "",
    as_of: flags.AsOf = "",
    output: flags.Output = Format.TABLE,
) -> None:
    """List the revisions of an app: when, by whom, what."""
    at = session(ctx)
    path = f"{path_of(at.one(words or [], project))}/revisions"
    found = at.api.get(path, {"asOf": as_of})
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
            help="The revision to return to; by default the newest that differs.",
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
