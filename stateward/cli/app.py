"""The `stateward` command, put together from its verbs.

Whatever goes wrong in a verb is a `Trouble`; it is told here, in one place, on stderr, and becomes
the exit code.
"""

import sys
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from stateward.cli import (
    adopting,
    changing,
    doctor,
    executing,
    offline,
    reading,
    server,
    steering,
    telling,
)
from stateward.cli.context import context
from stateward.cli.export import export
from stateward.cli.rollout import rollout
from stateward.cli.secret import secret
from stateward.cli.session import Session, session
from stateward.cli.simulate import simulate
from stateward.cli.text import clean
from stateward.cli.token import token
from stateward.cli.trouble import Trouble
from stateward.environment import of_process

EPILOG: Final = (
    "Exit codes: 0 done, 1 refused or failed, 2 wrong use, 3 no server answers, "
    "4 waited in vain, 130 Ctrl-C. `diff`: 0 same, 1 differs, more: trouble. "
    "`exec`: that of the command."
)


type Opened = Callable[..., Session]
"""Makes the session of a command line from its `context` and `server`; `obj` of the app."""


class Verbs(TyperGroup):
    """The group of all verbs, which tells trouble in one sentence."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; trouble becomes a message and an exit code."""
        try:
            return super().invoke(ctx)
        except Trouble as trouble:
            tell(str(trouble))
            raise typer.Exit(trouble.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def tell(message: str) -> None:
    """One line of trouble on stderr."""
    lines = "\n".join(clean(line) for line in message.split("\n"))
    red = sys.stderr.isatty() and of_process().get("NO_COLOR") is None
    print(f"\x1b[31merror:\x1b[0m {lines}" if red else f"error: {lines}", file=sys.stderr)


app = typer.Typer(
    name="stateward",
    cls=Verbs,
    help="Say what should run; Stateward makes it so, keeps it so, and remembers why.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    ctx: typer.Context,
    context_name: Annotated[
        str, typer.Option("--context", help="The context to use.", show_default=False)
    ] = "",
    server_address: Annotated[
        str, typer.Option("--server", help="The server to speak to.", show_default=False)
    ] = "",
) -> None:
    """Say what should run; Stateward makes it so, keeps it so, and remembers why."""
    opened: Opened = ctx.obj or (lambda **chosen: Session(of_process(), **chosen))
    made = opened(context=context_name, server=server_address)
    ctx.call_on_close(made.close)
    ctx.obj = made


class Shell(StrEnum):
    """The shells that completion knows."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    ctx: typer.Context, shell: Annotated[Shell, typer.Argument(help="The shell.")]
) -> None:
    """Print what makes a shell complete: source <(stateward completion bash)."""
    from typer.completion import (  # type: ignore[attr-defined]  # noqa: PLC0415 -- only here
        get_completion_script,
    )

    asked = {"prog_name": "stateward", "complete_var": "_STATEWARD_COMPLETE", "shell": shell.value}
    session(ctx).screen.raw(get_completion_script(**asked))


def _add_verbs() -> None:
    """Register the verbs in the order in which help lists them."""
    panels: dict[str, dict[str, Any]] = {
        "Say what should run": {
            "apply": changing.apply,
            "diff": changing.diff,
            "delete": changing.delete,
            "scale": steering.scale,
            "stop": steering.stop,
            "start": steering.start,
            "restart": steering.restart,
            "rollout": rollout,
            "secret": secret,
        },
        "See what runs, and why": {
            "get": reading.get,
            "describe": reading.describe,
            "explain": reading.explain,
            "events": telling.events,
            "why": telling.why,
            "logs": telling.logs,
            "exec": executing.execute,
            "wait": steering.wait,
        },
        "Run and keep a control plane": {
            "serve": server.serve,
            "doctor": doctor.doctor,
            "migrate": offline.migrate,
            "verify": offline.verify,
            "backup": offline.backup,
            "restore": offline.restore,
            "export": export,
            "simulate": simulate,
            "adopt": adopting.adopt,
            "token": token,
        },
        "Set up this client": {
            "context": context,
            "completion": completion,
            "version": reading.version,
        },
    }
    for panel, verbs in panels.items():
        for name, verb in verbs.items():
            if isinstance(verb, typer.Typer):
                app.add_typer(verb, name=name, rich_help_panel=panel)
            else:
                app.command(name, rich_help_panel=panel)(verb)


_add_verbs()
