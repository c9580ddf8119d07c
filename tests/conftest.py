"""What every test run shares: skips by declared need, their summary, Hypothesis profiles.

A test is skipped only with a sentence that says why; the sentences are counted at the end of the
run, so a machine that lacks something cannot look like one where everything passed.
"""

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.support import requirements

if TYPE_CHECKING:
    from tests.support.postgres_server import Cluster

# A shell that starts a run in the background has it ignore what Ctrl-C sends; children would, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests start servers and commands by the hundred: one that has to compile all it imports takes
# twice as long to start.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Machines that run tests are shared and slow at times: time says nothing about correctness.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("dev", _PATIENT, max_examples=50)
settings.register_profile(
    "ci", _PATIENT, max_examples=200, derandomize=True, database=None, print_blob=True
)
settings.register_profile("deep", _PATIENT, max_examples=2000, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")


_OF_SERVERS = frozenset({"acceptance", "cli", "contracts", "integration"})
# Files of the last turn, all others, take seconds.
_TURNS = (frozenset({"acceptance", "simulation"}), _OF_SERVERS | {"gateway", "reconcilers"})


@pytest.fixture(scope="session")
def postgres() -> "Iterator[Cluster]":
    """A PostgreSQL server for all tests of the run, each in a database of its own."""
    requirements.require("postgres")
    from tests.support.postgres_server import cluster  # noqa: PLC0415 -- only where it is wanted

    with cluster() as running:
        yield running


@pytest.fixture
def database(postgres: "Cluster") -> str:
    """The address of a migrated database of this test alone."""
    return postgres.migrated()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "needs(*names): technologies without which the test is skipped with the reason; "
        f"known are {', '.join(requirements.REQUIREMENTS)}",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes long begins first, so that no file runs alone at the end.

    And what real servers do depends on the machine too: such a test gets a second try, and is
    told. Only there: what is pure or simulated does the same each time.
    """
    items.sort(key=_begins)
    if not config.pluginmanager.hasplugin("rerunfailures"):
        return
    for item in items:
        if _OF_SERVERS & set(item.path.parts):
            item.add_marker(pytest.mark.flaky(reruns=1))


def _begins(item: pytest.Item) -> int:
    """When a test's turn is; within it the order stays as it is, so files stay together."""
    for number, tiers in enumerate(_TURNS):
        if tiers & set(item.path.parts):
            return number
    return len(_TURNS)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        requirements.require(*mark.args)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if again := terminalreporter.getreports("rerun"):
        terminalreporter.section("why a second try was needed")
        for report in again:
            terminalreporter.write_line(f"{report.nodeid}\n{report.longreprtext}\n")
    reasons = Counter(_reason(report) for report in terminalreporter.getreports("skipped"))
    if not reasons:
        return
    terminalreporter.section("skipped, by reason")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:6}  {reason}")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    match report.longrepr:
        case (_, _, str(reason)):
            return reason.removeprefix("Skipped: ")
        case other:
            return str(other)
