"""Free ports of the loopback for replicas.

The kernel chooses; the choice is written into the replica's order before it starts. Between
choosing and listening another program may take it: the replica then fails to listen, and its next
attempt gets another.
"""

import socket
from collections import deque

from domain.app import Port
from domain.route import Publish
from reconcilers.ports import Address

LOOPBACK = "127.0.0.1"


class FreePorts:
    """Never hands out what it handed out lately: that replica may not listen yet."""

    def __init__(self) -> None:
        self._recent: deque[int] = deque(maxlen=1000)

    def choose(
        self, ports: tuple[Port, ...], taken: set[int], publish: tuple[Publish, ...] = ()
    ) -> tuple[Address, ...]:
        """An address for each port: the one it is published at, or one that is not in `taken`.

        Raises:
            OSError: none is free.
        """
        fixed = {one.port: one.host_port for one in publish}
        return tuple(
            Address(port.name, LOOPBACK, fixed.get(port.name) or self._one(port, taken))
            for port in ports
        )

    def _one(self, port: Port, taken: set[int]) -> int:
        kind = socket.SOCK_DGRAM if port.protocol == "udp" else socket.SOCK_STREAM
        for _ in range(200):
            with socket.socket(socket.AF_INET, kind) as listener:
                listener.bind((LOOPBACK, 0))
                number: int = listener.getsockname()[1]
            if number not in taken and number not in self._recent:
                self._recent.append(number)
                return number
        raise OSError(f"no free port for {port.name!r} among 200 that the kernel offered")
