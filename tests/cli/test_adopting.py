"""adopt: what other installations run is listed, and taken over where it is said."""

import threading
import time

import pytest

from reconcilers.ports import ReplicaState
from tests.support.command_line import CommandLine
from tests.support.gateway import FORMER, stranger

OTHER = "7" * 8 + FORMER[8:]
WEB = """
apiVersion: stateward/v1
kind: App
metadata: {name: web, project: shop}
spec: {command: [/bin/serve]}
"""
LISTED = """\
INSTALLATION                           PROJECT   APP   TARGET   RUNNING   REVISION   HERE
3f2a1c9d-6a5c-4f0e-9d37-1a2b3c4d5e6f   shop      api   local    1 of 1    3          not applied
3f2a1c9d-6a5c-4f0e-9d37-1a2b3c4d5e6f   shop      web   local    1 of 2    3          applied
77777777-6a5c-4f0e-9d37-1a2b3c4d5e6f   blog      web   local    1 of 1    3          not applied
"""


@pytest.fixture
def cli(cli: CommandLine) -> CommandLine:
    """A command line where `web` is applied, and two other installations run something."""
    cli.ok("apply", "-f", cli.write("web.yaml", WEB))
    cli.house.foreign = [
        stranger(slot=0),
        stranger(slot=1, state=ReplicaState.EXITED),
        stranger("api"),
        stranger(project="blog", installation=OTHER),
    ]
    return cli


def adopted(cli: CommandLine) -> list[str]:
    """The streams that were told to adopt."""
    return [event.stream for event in cli.house.log.events if event.type == "app.adopted"]


def test_without_from_it_lists_and_changes_nothing(cli: CommandLine) -> None:
    assert cli.ok("adopt") == LISTED
    assert "blog" not in cli.ok("adopt", "-n", "shop")
    assert "api" not in cli.ok("adopt", "web")
    assert [one["app"] for one in cli.json("adopt")["items"]] == ["api", "web", "web"]
    assert cli.json("adopt", "--target", "local")["items"][0]["target"] == "local"
    assert adopted(cli) == []


def test_an_app_takes_over(cli: CommandLine) -> None:
    said = cli.ok("adopt", "app/web", "--from", FORMER)
    assert said == f"app/web configured (position {len(cli.house.log.events)})\n"
    assert adopted(cli) == ["App/shop/web"]
    cli.do(cli.house.catch_up(0))
    assert "adopting" in cli.ok("adopt", "web")


def test_an_installation_may_be_named_by_how_it_begins(cli: CommandLine) -> None:
    cli.ok("adopt", "web", "--from", "3f2a1c")
    assert adopted(cli) == ["App/shop/web"]
    said = cli.fails("adopt", "-A", "--from", "abc", code=2)
    assert "none begins with 'abc'" in said
    assert FORMER in said
    cli.house.foreign = [stranger(), stranger(installation=FORMER[:-1] + "0")]
    assert "2 begin with '3f2a'" in cli.fails("adopt", "web", "--from", "3f2a", code=2)


def test_all_of_a_project_or_of_all_is_said_explicitly(cli: CommandLine) -> None:
    assert "-n PROJECT" in cli.fails("adopt", "--from", FORMER, code=2)
    said = cli.fails("adopt", "-n", "shop", "--from", FORMER)
    assert "app/shop/api on target local" in said
    assert "apply the manifest" in said
    assert adopted(cli) == ["App/shop/web"]
    assert "app/blog/web" in cli.fails("adopt", "-A", "--from", OTHER)


def test_a_dry_run_says_what_would_end(cli: CommandLine) -> None:
    assert cli.ok("adopt", "web", "--from", FORMER, "--dry-run", "--wait") == (
        "app/web configured (dry run)\n"
        "  would end 3f2a1c.shop.web.r3.0.1 (running) on local\n"
        "  would end 3f2a1c.shop.web.r3.1.1 (exited) on local\n"
    )
    assert adopted(cli) == []


def test_it_warns_that_data_is_not_taken_over(cli: CommandLine) -> None:
    kept = WEB.replace("spec: {", "spec: {volumes: [{name: data, path: /data}], ")
    cli.ok("apply", "-f", cli.write("web.yaml", kept))
    said = cli.run("adopt", "web", "--from", FORMER).stderr
    assert "warning: app/web does not get the data" in said
    assert "(data)" in said


def test_where_nothing_runs_there_is_nothing_to_adopt(cli: CommandLine) -> None:
    cli.house.foreign = []
    assert "No other installation" in cli.run("adopt").stderr
    result = cli.run("adopt", "web", "--from", FORMER)
    assert (result.exit_code, adopted(cli)) == (0, [])
    assert f"{FORMER} runs nothing of what was named" in result.stderr


def test_a_target_that_is_away_is_left_out_and_named(cli: CommandLine) -> None:
    cli.house.foreign = None
    result = cli.run("adopt")
    assert result.exit_code == 0
    assert "target local is left out" in result.stderr
    assert "does not exist" in cli.fails("adopt", "--target", "none")


def test_it_waits_until_nothing_is_left(cli: CommandLine) -> None:
    def settle() -> None:
        while not adopted(cli):
            time.sleep(0.05)
        cli.publish("web", {"Synced": ("False", "Adopting", f"{FORMER} is ending")})
        time.sleep(0.5)
        cli.publish("web", {"Synced": ("True", "Converged", "all is well")})

    worker = threading.Thread(target=settle)
    worker.start()
    try:
        result = cli.run("adopt", "web", "--from", FORMER, "--wait", "--timeout", "30s")
    finally:
        worker.join()
    assert result.exit_code == 0, result.output
    assert f"{FORMER} is ending" in result.stderr
    assert f"app/web has taken over from {FORMER}" in result.stdout


def test_it_waits_in_vain_while_something_is_left(cli: CommandLine) -> None:
    cli.ok("adopt", "web", "--from", FORMER)
    cli.publish(
        "web",
        {"Synced": ("False", "Adopting", f"{FORMER} is ending")},
        observed_generation=10**6,
    )
    said = cli.fails("adopt", "web", "--from", FORMER, "--wait", "--timeout", "1s", code=4)
    assert "is ending" in said
