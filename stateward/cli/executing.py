"""The verb `exec`: a command inside a replica, at once, or as a conversation on a terminal or not.

The one module that imports websockets.
"""

import codecs
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, final

import typer

from stateward.cli import flags, terminal, times
from stateward.cli.resources import path_of
from stateward.cli.session import Session, session
from stateward.cli.text import clean_lines
from stateward.cli.trouble import BadUse, Refused, Trouble, Unreachable

if TYPE_CHECKING:
    from websockets.sync.connection import Connection

_GRACE: Final = 15.0  # for the answer, beyond the time that the command may take
_STREAMS: Final = {1: "stdout", 2: "stderr"}
_STDIN: Final = 0


def execute(
    ctx: typer.Context,
    words: Annotated[
        list[str], typer.Argument(metavar="APP -- COMMAND...", help="app/NAME -- ls -l")
    ],
    project: flags.Project = "",
    replica: Annotated[
        str,
        typer.Option(
            "--replica",
            help="Its slot or its name; by default the first ready one.",
            show_default=False,
        ),
    ] = "",
    interactive: Annotated[
        bool, typer.Option("-i", "--stdin", help="Give it what comes on standard input.")
    ] = False,
    on_terminal: Annotated[
        bool, typer.Option("-t", "--tty", help="Give it a terminal, as large as this one.")
    ] = False,
    timeout: Annotated[
        str, typer.Option("--timeout", help="The longest wait: 30s, 10m. None with -i or -t.")
    ] = "30s",
) -> None:
    """Run a command inside a replica; its exit code is that of this one. A shell: -it APP -- sh."""
    at = session(ctx)
    seconds = times.seconds(timeout, "--timeout")
    app, argv = _app_and_argv(words)
    body: dict[str, object] = {"argv": argv}
    if replica:
        body["replica"] = replica
    path = f"{path_of(at.one(app, project))}/exec"
    if interactive or on_terminal:
        code = _converse(at, path, body, interactive=interactive, on_terminal=on_terminal)
    else:
        body["timeoutSeconds"] = seconds
        answer = at.api.write("POST", path, body, timeout=seconds + _GRACE)
        for text, stream in ((answer["stdout"], sys.stdout), (answer["stderr"], sys.stderr)):
            stream.write(clean_lines(text) if stream.isatty() else text)
            stream.flush()
        code = int(answer["exitCode"])
    raise typer.Exit(code & 0xFF)


def _app_and_argv(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """`app web ls` and `app/web ls` both name an app first, and then a command."""
    first = 2 if words[0].lower() in ("app", "apps") else 1
    if len(words) <= first:
        raise BadUse("say what to run: stateward exec app/web -- ls -l")
    return list(words[:first]), list(words[first:])


# -- a conversation -------------------------------------------------------------------------------


def _converse(
    at: Session, path: str, body: dict[str, object], *, interactive: bool, on_terminal: bool
) -> int:
    """Its exit code."""
    with ExitStack() as stack:
        if on_terminal and interactive and not sys.stdin.isatty():
            raise BadUse("-t needs a terminal, and standard input is none; leave out -t")
        if on_terminal:
            columns, rows = terminal.size(_STDIN)
            body["terminal"] = {"columns": columns, "rows": rows}
        body["input"] = interactive
        socket = stack.enter_context(_opened(at, path))
        socket.send(json.dumps(body))
        heard = _Heard(at, socket, as_it_is=on_terminal)
        heard.begin()
        if on_terminal and interactive:
            stack.enter_context(terminal.raw(_STDIN))

        def resized() -> None:
            columns, rows = terminal.size(_STDIN)
            socket.send(json.dumps({"columns": columns, "rows": rows}))

        stack.enter_context(
            terminal.typing(
                _STDIN if interactive else None, socket.send, resized if on_terminal else None
            )
        )
        return heard.rest()


@contextmanager
def _opened(at: Session, path: str) -> Iterator["Connection"]:
    """The WebSocket to a path. Raises: Trouble, also for what is read or sent in the context."""
    from websockets.exceptions import (  # noqa: PLC0415 -- start time
        InvalidHandshake,
        InvalidStatus,
        InvalidURI,
        WebSocketException,
    )
    from websockets.sync.client import connect  # noqa: PLC0415 -- start time

    way = at.api.socket(path)
    try:
        with connect(
            way.address,
            additional_headers=way.headers,
            ssl=way.tls,
            compression=None,
            proxy=None,
            open_timeout=way.seconds,
            close_timeout=1.0,
        ) as socket:
            yield socket
    except InvalidStatus as error:
        answer = error.response
        at.api.refused(answer.status_code, bytes(answer.body or b""), path)
    except (InvalidHandshake, InvalidURI, WebSocketException) as error:
        raise Unreachable(f"the connection to {at.connection.server} broke: {error}") from error
    except TimeoutError as error:
        raise Unreachable(f"{at.connection.server} did not answer in time") from error
    except OSError as error:
        raise Unreachable(f"no server answers at {at.connection.server}: {error}") from error


@final
class _Heard:
    """What comes from a command, and goes to this one's streams."""

    def __init__(self, at: Session, socket: "Connection", *, as_it_is: bool) -> None:
        self._at, self._socket = at, socket
        self._shown = {
            number: _Shown(getattr(sys, name), as_it_is=as_it_is)
            for number, name in _STREAMS.items()
        }

    def begin(self) -> None:
        """Wait until it is decided where it runs."""
        self._told(self._next())

    def rest(self) -> int:
        """Show what it says, until it has ended with a code."""
        while True:
            message = self._next()
            if isinstance(message, bytes):
                self._shown[message[0]].show(message[1:])
                continue
            told = self._told(message)
            if "exitCode" in told:
                return int(told["exitCode"])

    def _next(self) -> str | bytes:
        from websockets.exceptions import ConnectionClosed  # noqa: PLC0415 -- start time

        try:
            return self._socket.recv()
        except ConnectionClosed as error:
            why = "the server stops" if error.rcvd and error.rcvd.code == 1012 else "it was cut off"
            raise Trouble(
                f"the conversation with the command ended before it did: {why}; start it again"
            ) from None

    def _told(self, message: str | bytes) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(message)
        if problem := told.get("problem"):
            raise Refused(problem["detail"], status=problem["status"], problem=problem)
        return told


@final
class _Shown:
    """One stream of this command; what no terminal of the command wrote is cleaned for ours."""

    def __init__(self, stream: Any, *, as_it_is: bool) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._as_it_is = as_it_is or not stream.isatty()

    def show(self, data: bytes) -> None:
        if self._as_it_is:
            self._stream.buffer.write(data)
            self._stream.buffer.flush()
        else:
            self._stream.write(clean_lines(self._decoder.decode(data)))
            self._stream.flush()
