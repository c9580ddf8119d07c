"""The soak of several workers, in small: what `make soak-workers` does for ten minutes."""

import subprocess
import sys

import pytest

from tests.support.serving import ROOT

pytestmark = [pytest.mark.needs("postgres", "nats", "pidfd"), pytest.mark.timeout(400)]


def test_whatever_is_killed_nothing_is_lost_doubled_or_left_over() -> None:
    small = ["--seconds=40", "--apps=40", "--docker-apps=0", "--intents=160"]
    done = subprocess.run(
        [sys.executable, "-m", "scripts.soak_workers", *small],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
