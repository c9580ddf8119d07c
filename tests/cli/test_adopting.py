"""adopt: what other installations run is listed, and taken over where it is said."""

import threading
import time

import pytest

from bus import codec
from domain.events import AppAdopted, ForeignObject
from reconcilers.object_adopting import InTheWay
from reconcilers.object_preview import ObjectChange
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


def in_the_way(kind: str, outcome: str, *fields: str, data: bool = False) -> InTheWay:
    named = ForeignObject(
        api_version="v1", kind=kind, namespace="stw-shop", name="web", uid=f"uid-{kind}"
    )
    return InTheWay(
        object=named,
        installation="",
        managers=("kubectl",),
        outcome=outcome,
        fields=fields,
        is_data=data,
    )


@pytest.fixture
def clustered(cli: CommandLine) -> CommandLine:
    """A command line whose `web` runs on a cluster, where others have its names."""
    cli.house.in_the_way = [
        in_the_way("Service", "taken over"),
        in_the_way("Deployment", "made anew", "spec.selector"),
        in_the_way("PersistentVolumeClaim", "taken over", data=True),
    ]
    target = "{apiVersion: stateward/v1, kind: Target, metadata: {name: prod}, spec: %s}"
    cluster = target % "{engine: k8s, k8s: {kubeconfig: /config}}"
    web = WEB.replace("command: [/bin/serve]", "image: web, target: prod")
    cli.ok("apply", "-f", cli.write("prod.yaml", cluster))
    cli.ok("apply", "-f", cli.write("on-prod.yaml", web))
    return cli


def objects(cli: CommandLine) -> list[str]:
    """The kinds that the last adoption named."""
    event = codec.decode(cli.house.log.events[-1].type, cli.house.log.events[-1].data)
    assert isinstance(event, AppAdopted)
    return [one.kind for one in event.objects]


def test_on_a_cluster_it_is_shown_what_is_taken_over_and_nothing_is(clustered: CommandLine) -> None:
    clustered.house.changes = [
        ObjectChange(
            object="Deployment stw-shop/web", because="immutable", fields=("spec.selector",)
        )
    ]
    said = clustered.run("adopt", "web", "--objects", "--dry-run")
    assert said.exit_code == 0
    assert "Deployment stw-shop/web   uid-Deployment   -" in said.stdout
    assert "made anew: spec.selector cannot be changed" in said.stdout
    assert "Deployment stw-shop/web is made anew: spec.selector cannot be changed" in said.stdout
    assert "PersistentVolumeClaim" not in said.stdout
    assert adopted(clustered) == []


def test_on_a_cluster_exactly_what_was_found_is_named_and_data_by_a_word_of_its_own(
    clustered: CommandLine,
) -> None:
    said = clustered.run("adopt", "web", "--objects")
    assert said.stdout == f"app/web configured (position {len(clustered.house.log.events)})\n"
    assert "which holds data; add --volumes" in said.stderr
    assert objects(clustered) == ["Service", "Deployment"]
    clustered.ok("adopt", "web", "--objects", "--volumes")
    assert objects(clustered) == ["Service", "Deployment", "PersistentVolumeClaim"]


def test_where_nothing_is_in_the_way_there_is_nothing_to_take_over(clustered: CommandLine) -> None:
    clustered.house.in_the_way = []
    said = clustered.run("adopt", "web", "--objects", "--wait")
    assert (said.exit_code, adopted(clustered)) == (0, [])
    assert "Nothing of others is in the way of app/shop/web" in said.stderr


def test_objects_and_an_installation_are_two_things(clustered: CommandLine) -> None:
    for words in (("--objects", "--from", FORMER), ("--volumes",)):
        assert "--objects goes without --from" in clustered.fails("adopt", "web", *words, code=2)
