"""The verb that runs the control plane: flags become settings, and settings a server."""

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from stateward.cli import flags
from stateward.cli.session import session
from stateward.cli.trouble import BadUse
from stateward.collecting import uncollected

type Flags = dict[str, dict[str, object]]


def serve(
    ctx: typer.Context,
    *,
    listen: Annotated[
        str,
        typer.Option(
            "--listen",
            help="HOST:PORT of the API; port 0 for a free one.",
            metavar="HOST:PORT",
            show_default=False,
        ),
    ] = "",
    data: flags.DataDirectory = None,
    log: flags.LogAddress = "",
    roles: Annotated[
        str,
        typer.Option(
            "--roles",
            help="What this process is for: gateway, worker, or both (gateway,worker).",
            show_default=False,
        ),
    ] = "",
    config: flags.Config = None,
    nats: Annotated[
        list[str] | None,
        typer.Option(
            "--nats",
            help="A NATS server of a cluster, nats://HOST:PORT or tls://HOST:PORT; repeatable.",
            metavar="ADDRESS",
            show_default=False,
        ),
    ] = None,
    no_nats: Annotated[bool, typer.Option("--no-nats", help="Run without a bus.")] = False,
    nats_credentials: Annotated[
        Path | None, typer.Option("--nats-credentials", help="Its credentials file.")
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            help="Of the target local, made at the first start: "
            "auto, docker, k8s, process, simulated.",
            show_default=False,
        ),
    ] = "",
    docker_host: Annotated[
        str, typer.Option("--docker-host", help="unix:///PATH of the daemon.", show_default=False)
    ] = "",
    replay_interval: Annotated[
        str,
        typer.Option(
            "--replay-interval", help="How often all is looked at: 10s.", show_default=False
        ),
    ] = "",
    log_format: Annotated[
        str, typer.Option("--log-format", help="auto, json or text.", show_default=False)
    ] = "",
    log_level: Annotated[
        str,
        typer.Option("--log-level", help="debug, info, warning or error.", show_default=False),
    ] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Any other setting."),
    ] = None,
) -> None:
    """Run the control plane in the foreground, until Ctrl-C."""
    given = _listen(listen)
    for place, value in (
        ("data.directory", data and data.absolute()),
        ("log.url", log),
        ("serve.roles", roles),
        ("nats.servers", nats),
        ("nats.enabled", False if no_nats else None),
        ("nats.credentials_file", nats_credentials),
        ("engine.default", engine),
        ("engine.docker_host", docker_host),
        ("replay.interval", replay_interval),
        ("logging.format", log_format),
        ("logging.level", log_level),
    ):
        if value not in (None, "", []):
            _put(given, place, value)
    for word in settings or []:
        place, separator, text = word.partition("=")
        if not separator or place.count(".") != 1:
            raise BadUse(f"--set {place}: write SECTION.FIELD=VALUE, such as log.synchronous=FULL")
        _put(given, place, text)
    _run(ctx, given, config)


def _run(ctx: typer.Context, given: Flags, config: Path | None) -> None:
    from stateward.layers import BadSettings, load  # noqa: PLC0415 -- pydantic takes its time

    try:
        found = load(session(ctx).environment, flags=given, config=config)
    except BadSettings as error:
        raise BadUse(str(error)) from None
    with uncollected():  # Imported only now: a client must not wait for FastAPI, NATS and Docker.
        serving = import_module("stateward.serving")
    code: object = serving.run(found)
    raise typer.Exit(code if isinstance(code, int) else 0)


def _listen(text: str) -> Flags:
    given: Flags = {}
    if not text:
        return given
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdecimal():
        raise BadUse(f"--listen {text}: write HOST:PORT, such as 127.0.0.1:7440")
    if host:
        _put(given, "api.host", host.removeprefix("[").removesuffix("]"))
    _put(given, "api.port", int(port))
    return given


def _put(given: Flags, place: str, value: object) -> None:
    section, _, name = place.partition(".")
    given.setdefault(section, {})[name] = value
