"""A fleet that is killed again and again: `make soak-workers DURATION=600`.

Three workers and a gateway over PostgreSQL and NATS, apps on a simulated machine that all reach.
Every ten seconds something is killed: a worker, NATS, or PostgreSQL. Intents go on all the while,
each asked again under its key until it is answered. At the end every answered intent is in the
log, every app runs exactly as the last intent wants it, nothing is doubled and nothing is left.
"""

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Final

import httpx

from tests.support.fleet import Fleet, fleet
from tests.support.postgres_server import Cluster, cluster
from tests.support.serving import ControlPlane

WORKERS: Final = ("a", "b", "c")
KILL_SECONDS: Final = 10.0
MOST: Final = 3  # replicas of an app
REST_SECONDS: Final = 180.0


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--seconds", type=float, default=600.0)
    words.add_argument("--apps", type=int, default=300)
    words.add_argument("--intents", type=int, default=2000)
    words.add_argument("--seed", type=int, default=None)
    given = words.parse_args()
    seed = given.seed if given.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}")
    with (
        tempfile.TemporaryDirectory(prefix="soak") as home,
        cluster() as postgres,
        fleet(Path(home), postgres.migrated()) as town,
    ):
        return Soak(town, postgres, random.Random(seed), given).run()


class Soak:
    def __init__(
        self, town: Fleet, postgres: Cluster, chance: random.Random, given: argparse.Namespace
    ) -> None:
        self._town, self._postgres, self._chance, self._given = town, postgres, chance, given
        self._wanted: dict[str, int] = {}
        self._killed: Counter[str] = Counter()
        self._positions: list[int] = []
        self._down: tuple[str, float] | None = None

    def run(self) -> int:
        gateway = self._town.add("gateway", "gateway")
        for name in WORKERS:
            self._town.add(name, "worker")
        self._town.furnish(gateway)
        names = [f"a{number}" for number in range(self._given.apps)]
        for name in names:
            self._ask(gateway, name, 1, f"make-{name}")
        began, kill_at = time.monotonic(), time.monotonic() + KILL_SECONDS
        pause = self._given.seconds / self._given.intents
        for number in range(self._given.intents):
            _until(began + number * pause)
            kill_at = self._trouble(kill_at)
            name = self._chance.choice(names)
            self._ask(gateway, name, self._chance.randint(1, MOST), f"intent-{number}")
        self._mend(at=float("inf"))
        return self._judge(gateway)

    def _ask(self, gateway: ControlPlane, name: str, replicas: int, key: str) -> None:
        spec = {"image": "web:1", "target": "fleet", "replicas": replicas}
        while True:
            self._mend(at=time.monotonic())
            try:
                answer = gateway.put(name, spec, Idempotency_Key=key)
            except httpx.TransportError:
                continue
            if answer.status_code in (200, 201):
                self._positions.append(int(answer.json()["position"]))
                self._wanted[name] = replicas
                return
            assert answer.status_code >= 500, answer.text
            _until(time.monotonic() + 0.2)

    def _trouble(self, kill_at: float) -> float:
        """Kill something if it is time; when the next time is."""
        self._mend(at=time.monotonic())
        if time.monotonic() < kill_at or self._down is not None:
            return kill_at
        what = self._chance.choice([*WORKERS, "nats", "postgres"])
        self._killed[what] += 1
        match what:
            case "nats":
                self._town.nats.kill()
            case "postgres":
                self._postgres.stop(signal.SIGQUIT)  # a crash
            case _:
                self._town.planes[what].kill()
        self._down = what, time.monotonic() + self._chance.uniform(0.5, 6.0)
        return time.monotonic() + KILL_SECONDS

    def _mend(self, *, at: float) -> None:
        """Start again what was killed, when its time has come."""
        if self._down is None or at < self._down[1]:
            return
        (what, _), self._down = self._down, None
        match what:
            case "nats":
                self._town.nats.start()
            case "postgres":
                self._postgres.start()
            case _:
                self._town.planes[what].start()

    def _judge(self, gateway: ControlPlane) -> int:
        began = time.monotonic()
        while (faults := self._faults(gateway)) and time.monotonic() < began + REST_SECONDS:
            _until(time.monotonic() + 1.0)
        print(f"killed: {dict(self._killed)}; at rest after {time.monotonic() - began:.0f} s")
        for fault in faults:
            print(f"fault: {fault}")
        return 1 if faults else 0

    def _faults(self, gateway: ControlPlane) -> list[str]:
        found = self._town.machine.ask()
        faults = [f"{slot} runs twice" for slot in found["doubled"]]
        if found["apps"] != self._wanted:
            wrong = {
                name: (self._wanted.get(name), found["apps"].get(name))
                for name in {*self._wanted, *found["apps"]}
                if self._wanted.get(name) != found["apps"].get(name)
            }
            faults.append(f"wanted and running differ: {dict(sorted(wrong.items())[:5])}")
        head = gateway.get("/api/v1/version")["position"]
        if len(set(self._positions)) < len(self._wanted) or max(self._positions) > head:
            faults.append(f"positions were acknowledged that the log does not have (head {head})")
        shown = {
            item["metadata"]["name"]: item["spec"]["replicas"]
            for item in gateway.get("/api/v1/projects/default/apps", limit=1000)["items"]
        }
        if shown != self._wanted:
            faults.append("what the log wants is not what was acknowledged last")
        return faults


def _until(moment: float) -> None:
    left = moment - time.monotonic()
    if left > 0:
        threading.Event().wait(left)


if __name__ == "__main__":
    sys.exit(main())
