"""A small program for engines to run: an HTTP server, and a few words that end at once.

    serve [stubborn]   answer HTTP on every PORT_<NAME>; `stubborn` ignores SIGTERM
    exit CODE          write a line and end with that code
    both               write `out` to stdout, `err` to stderr, end with 3
    keep TEXT | kept   write and read a file on the volume `data`
    sleep SECONDS
    converse           answer each line of stdin; at its end write `no more`, end with 7

In a conversation, `size` is answered by that of the terminal, `seats` by which of the three
standard streams are one, `complain TEXT` on stderr; `leave CODE` ends it; all else is repeated.

As a server: `/` answers `ok`, `/env/NAME` a variable, `/say/TEXT` writes a line to stdout,
`/exit/CODE` ends it. It imports nothing of this project and little else, so that it also runs in
an image that holds a bare Python.
"""

import os
import select
import signal
import socket
import sys
import time

READY = "serving"  # the first line on stdout, once every port listens


def _answer(path: str) -> tuple[int, str]:
    match path.strip("/").split("/", 1):
        case ["env", name]:
            return (200, os.environ[name]) if name in os.environ else (404, "")
        case ["say", text]:
            print(text, flush=True)
            return 200, "said"
        case ["exit", code]:
            os._exit(int(code))
        case _:
            return 200, "ok"


def _converse(connection: socket.socket) -> None:
    connection.settimeout(5)
    with connection:
        asked = b""
        while b"\r\n\r\n" not in asked:
            received = connection.recv(4096)
            if not received:
                return
            asked += received
        status, text = _answer(asked.split(b" ", 2)[1].decode())
        body = text.encode()
        head = f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + body)


def _serve() -> None:
    listeners = []
    for name in sorted(os.environ):
        if name.startswith("PORT_"):
            listener = socket.create_server(("", int(os.environ[name])), backlog=64)
            listeners.append(listener)
    print(READY, flush=True)
    print("listening", file=sys.stderr, flush=True)
    while True:
        for listener in select.select(listeners, [], [], 60)[0]:
            try:
                _converse(listener.accept()[0])
            except OSError as error:
                print(error, file=sys.stderr, flush=True)


def _answer_lines() -> int:
    while line := sys.stdin.readline():
        match line.split():
            case ["size"]:
                print(*os.get_terminal_size(0), flush=True)
            case ["seats"]:
                print(*(int(os.isatty(number)) for number in range(3)), flush=True)
            case ["complain", text]:
                print(text, file=sys.stderr, flush=True)
            case ["leave", code]:
                return int(code)
            case _:
                print(line, end="", flush=True)
    print("no more", flush=True)
    return 7


def main(words: list[str]) -> int:
    kept = os.path.join(os.environ.get("VOLUME_DATA", "/data"), "kept")  # noqa: PTH118 - no imports
    match words:
        case ["serve", *how]:
            signal.signal(signal.SIGTERM, signal.SIG_IGN if "stubborn" in how else signal.SIG_DFL)
            _serve()
        case ["exit", code]:
            print("ending", flush=True)
            return int(code)
        case ["both"]:
            print("out", flush=True)
            print("err", file=sys.stderr, flush=True)
            return 3
        case ["keep", text]:
            with open(kept, "w", encoding="utf-8") as file:  # noqa: PTH123 - no imports
                file.write(text)
        case ["kept"]:
            with open(kept, encoding="utf-8") as file:  # noqa: PTH123 - no imports
                print(file.read(), end="")
        case ["converse"]:
            return _answer_lines()
        case ["sleep", seconds]:
            time.sleep(float(seconds))
        case _:
            print(f"unknown words {words}", file=sys.stderr)
            return 64
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
