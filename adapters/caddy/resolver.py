"""The resolver: a program of its own that answers Caddy's questions from a snapshot file.

Two run on one port (`SO_REUSEPORT`): the kernel gives each question to one of them, and all to the
other when one dies. They outlive the control plane, decide nothing, and look before each answer
whether the file was replaced. One that cannot be read changes nothing.
"""

import os
import random
import socket
import sys

from adapters.caddy import dns
from adapters.caddy.snapshot import DOMAIN, Snapshot, ip_of

_HOST = "127.0.0.1"


class Resolver:
    """Answers from the file at `path`, as it is when asked.

    Args:
        path: of the snapshot.
        rng: which of too many targets an answer names.
    """

    def __init__(self, path: str, rng: random.Random) -> None:
        self._path = path
        self._rng = rng
        self._seen: tuple[int, int] | None = None
        self._snapshot = Snapshot(0, {}, {})
        self._known: dict[str, tuple[list[bytes], list[int]]] = {}

    def answer(self, packet: bytes) -> bytes | None:
        """The answer to a packet; None to what deserves none."""
        question = dns.parse(packet)
        if question is None:
            return None
        ip = ip_of(question.name)
        if ip is not None:
            record = dns.address(ip)
            asked = question.kind == (dns.AAAA if ":" in ip else dns.A)
            return dns.answer(question, [record] if asked else [])
        if not question.name.endswith(f".{DOMAIN}"):
            return dns.answer(question, None)
        if question.kind != dns.SRV:
            return dns.answer(question, [])
        return dns.answer(question, self._servers(question))

    def _servers(self, question: dns.Question) -> list[bytes]:
        self._look()
        known = self._known.get(question.name)
        if known is None:
            targets = self._snapshot.targets(question.name)
            records = [dns.server(target.name, target.port) for target in targets]
            known = self._known[question.name] = records, [target.weight for target in targets]
        records, weights = known
        room = dns.room(question, records)
        if sum(weights) <= room:
            return [one for one, times in zip(records, weights, strict=True) for _ in range(times)]
        return self._rng.choices(records, weights, k=room)  # each comes as often as its weight says

    def _look(self) -> None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - pathlib takes 10 ms to import
            seen = (found.st_ino, found.st_mtime_ns)
            if seen == self._seen:
                return
            with open(self._path, "rb") as file:  # noqa: PTH123
                self._snapshot = Snapshot.decode(file.read())
        except (OSError, ValueError, KeyError, TypeError) as error:
            sys.stderr.write(f"the snapshot {self._path} cannot be read: {error}\n")
            return
        self._seen = seen
        self._known.clear()


def main(path: str, port: int) -> None:
    """Answer for ever."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((_HOST, port))
    resolver = Resolver(path, random.Random())
    while True:
        packet, asker = listener.recvfrom(4096)
        answer = resolver.answer(packet)
        if answer is not None:
            listener.sendto(answer, asker)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
