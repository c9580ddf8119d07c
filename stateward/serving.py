"""`stateward serve`: a control plane in the foreground, until it is told to stop."""

import asyncio
import shlex
import signal
import sys
from typing import Any

from rich.console import Console

from bus.log import LogError
from domain.refusals import Refusal
from gateway.server import AddressInUse, AddressUnusable
from stateward import data, logs
from stateward.collecting import seldom
from stateward.control_plane import Running, new_id, running
from stateward.settings import Settings


def run(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code."""
    logs.configure(settings.logging.format, settings.logging.level)
    console = Console(stderr=True, highlight=False)
    # Beside logs for programs, words for people would be in the way.
    words = console if sys.stderr.isatty() else Console(highlight=False)
    try:
        minted_here = None if settings.log.url else new_id
        with seldom(), data.opened(settings.data.directory, new_id=minted_here) as held:
            asyncio.run(_serve(settings, held, words))
    except (data.DataTrouble, AddressInUse, AddressUnusable, LogError, Refusal) as error:
        console.print(f"stateward cannot serve: {error}", style="red", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


async def _serve(settings: Settings, held: data.Data, words: Console) -> None:
    stop = asyncio.Event()
    serving = asyncio.current_task()
    is_starting = True

    def told_to_stop() -> None:
        stop.set()
        if is_starting and serving is not None:  # it may be waiting for a log without end
            serving.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told_to_stop)
    try:
        async with running(settings, held) as control_plane:
            is_starting = False
            await _until(stop, control_plane, words)
    except asyncio.CancelledError:
        if not stop.is_set():
            raise


async def _until(stop: asyncio.Event, control_plane: Running, words: Console) -> None:
    for line in welcome(control_plane, show_token=words.stderr):
        words.print(line, soft_wrap=True)
    words.file.flush()
    stopped = asyncio.create_task(stop.wait())
    parts: list[asyncio.Future[Any]] = [control_plane.serving.ended, control_plane.worker]
    await asyncio.wait([stopped, *parts], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    for part in parts:
        if part.done() and not part.cancelled():
            part.result()  # raises what broke it
    words.print("stopping; what runs goes on running")


def welcome(control_plane: Running, *, show_token: bool) -> list[str]:
    """What a person wants to know when it has started; the token only where nobody keeps it."""
    url = control_plane.serving.url
    lines = [f"Stateward answers at [bold]{url}[/bold]"]
    lines.append(f"  data    {control_plane.data.directory}")
    lines.append(f"  token   {control_plane.token_file} (admin; mode 0600)")
    if control_plane.first_token and show_token:
        lines.append(f"          {control_plane.first_token} (printed this once)")
    if control_plane.choice:
        engine, reason = control_plane.choice.spec.engine, control_plane.choice.reason
        lines.append(f"  local   runs on {engine}: {reason}")
    bus = control_plane.bus
    lines.append(f"  bus     {bus.status().url or 'starting'}" if bus else "  bus     none")
    token = shlex.quote(str(control_plane.token_file.absolute()))
    lines += [
        "Try next, in another terminal:",
        f"  export STATEWARD_SERVER={url} STATEWARD_TOKEN=$(cat {token})",
        "  stateward get targets",
        "  stateward apply -f MANIFEST.yaml --wait    # such as examples/shop.yaml",
        "  stateward events --watch",
    ]
    return lines
