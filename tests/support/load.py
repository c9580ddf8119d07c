"""Load by programs that repeat nothing: `wrk` for HTTP/1.1, `h2load` for HTTP/2 over TLS.

32 connections that stay open. What they say about losses is what is told here.
"""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

CONNECTIONS: Final = 32
LATE: Final = 30.0  # seconds, after which an answer that has not come is lost
_HOSTS: Final = """
local hosts, at = {{{hosts}}}, 0
request = function()
  at = at % #hosts + 1
  return wrk.format("GET", "/", {{["Host"] = hosts[at]}})
end
"""


class Load(NamedTuple):
    """What came of it. `lost` are requests without an answer of 2xx, however they got lost."""

    requests: int
    lost: int
    seconds: float
    said: str

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


async def over_http1(address: str, host: str, seconds: float, *headers: str) -> Load:
    words = [word for header in (f"Host: {host}", *headers) for word in ("--header", header)]
    return await _wrk(address, seconds, *words)


async def over_many_hosts(address: str, hosts: Sequence[str], seconds: float, at: Path) -> Load:
    """Each request is for the next host; `at` is a file that may be written for it."""
    quoted = ", ".join(f'"{host}"' for host in hosts)
    at.write_text(_HOSTS.format(hosts=quoted))
    return await _wrk(address, seconds, "--script", str(at))


async def _wrk(address: str, seconds: float, *more: str) -> Load:
    how = ("--threads=1", f"--connections={CONNECTIONS}", f"--timeout={LATE:.0f}s")
    said = await _said("wrk", *how, f"--duration={round(seconds)}s", *more, f"http://{address}/")
    errors = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said
    )
    broken = sum(map(int, errors.groups())) if errors else 0
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    done = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", said)
    assert done, said
    took = float(done[2]) * {"ms": 0.001, "s": 1.0, "m": 60.0}[done[3]]
    return Load(int(done[1]), broken + (int(wrong[1]) if wrong else 0), took, said)


async def over_http2(address: str, host: str, seconds: float) -> Load:
    port = address.rpartition(":")[2]
    clients = (f"--clients={CONNECTIONS}", "--max-concurrent-streams=1")
    how = (f"--duration={round(seconds)}", f"--connect-to={address}")
    said = await _said("h2load", *clients, *how, f"https://{host}:{port}/")
    counts = re.search(
        r"requests: (\d+) total,.*, (\d+) failed, (\d+) errored, (\d+) timeout", said
    )
    wrong = re.search(r"status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", said)
    assert counts, said
    assert wrong, said
    lost = int(counts[2]) + int(wrong[1])  # what failed has all but answers of 3xx in it
    return Load(int(counts[1]), lost, round(seconds), said)


async def _said(program: str, *words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        program, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return said.decode()
