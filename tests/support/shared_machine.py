"""A process with a simulated machine that others reach: `python -m … SOCKET SECONDS`.

Each call takes so long. It ends when its standard input does. A line on its
standard input is answered by what happened since: calls and double starts, as JSON.
"""

import asyncio
import json
import sys
import time
from collections import Counter

from reconcilers.ports import ReplicaState
from simulation.faults import Trouble
from simulation.machine import Machine
from simulation.shared import serve


async def main(path: str, seconds: float) -> None:
    machine = Machine(now=time.time)
    delay = Trouble(delay_seconds=seconds)

    machine.faults.plan = lambda _call: delay
    await serve(machine, path)
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        verb, _, name = line.strip().partition(" ")
        if verb == "kill":
            for running in list(machine.named.values()):
                if running is not None and running.order.name.app == name:
                    machine.finish(running, 137)
        print(json.dumps(told(machine)), flush=True)


def told(machine: Machine) -> dict[str, object]:
    slots: Counter[str] = Counter()
    apps: Counter[str] = Counter()
    revisions: dict[str, list[int]] = {}
    for (_, project, app), replicas in machine.apps.items():
        for name, one in replicas.items():
            if one.seen.state is ReplicaState.RUNNING:
                slots[f"{project}/{app}/{name.slot}"] += 1
                apps[app] += 1
                revisions.setdefault(app, []).append(name.revision)
    doubled = [slot for slot, count in slots.items() if count > 1]
    return {"apps": apps, "doubled": doubled, "revisions": revisions, "writes": machine.writes}


asyncio.run(main(sys.argv[1], float(sys.argv[2])))
