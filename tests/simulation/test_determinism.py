"""The same seed and code give the same trace, in any process and whatever ran there before."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.test_house import ROOT

MINUTES = 2.0
WORLDS = """
import json, sys
from simulation import knobs, seeds
rates = {"all": knobs.named("all"), "none": {}, "swarm": None}
words = sys.argv[2:]
worlds = [(int(seed), how) for seed, _, how in (word.partition(":") for word in words)]
print(json.dumps({
    f"{seed}:{how}": seeds.run(seed, rates[how], minutes=float(sys.argv[1])).digest
    for seed, how in worlds
}))
"""
SEEDS = [*(f"{seed}:all" for seed in range(1, 6)), "1:swarm", "5:none"]


def begun(worlds: Sequence[str], hash_seed: str) -> subprocess.Popen[str]:
    """A process that lives through worlds, and prints the digest of each trace."""
    return subprocess.Popen(
        [sys.executable, "-c", WORLDS, str(MINUTES), *worlds],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def digests(process: subprocess.Popen[str]) -> dict[str, str]:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    found: dict[str, str] = json.loads(out)
    return found


@pytest.mark.timeout(300)
def test_two_processes_tell_the_same_of_the_same_seeds_in_any_order() -> None:
    one = begun(SEEDS, "1")
    other = begun(SEEDS[::-1], "2")
    first, second = digests(one), digests(other)
    differing = [world for world in SEEDS if first[world] != second[world]]
    assert not differing, f"{differing} differ; a set, an id or a thread has decided something"
    assert len(set(first.values())) == len(SEEDS)
