"""Logs of pods and commands in them, where a cluster has ways of its own."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from adapters.k8s.engine import KubernetesEngine
from adapters.k8s.kinds import BUILT_IN
from reconcilers.ports import EngineError, Replica, StartFailed
from tests.support.cluster_thread import ClusterThread, cluster_thread
from tests.support.fast_loop import FastLoop
from tests.support.kubernetes.access import Rule, User
from tests.support.kubernetes.pod_states import Fate
from tests.support.kubernetes.pods import Session
from tests.support.kubernetes.reaching import kubeconfig
from tests.support.kubernetes.server import KubernetesServer
from tests.support.pod_engine import NAMESPACE, THERE, deploy, engine, replica


def say(server: KubernetesServer, line: str) -> None:
    server.pods.say(THERE, line, f"2026-01-01T00:0{line}:00Z")


@pytest.fixture
async def server() -> AsyncIterator[KubernetesServer]:
    async with KubernetesServer() as started:
        deploy(started)
        yield started


@pytest.fixture
async def opened(server: KubernetesServer, tmp_path: Path) -> AsyncIterator[KubernetesEngine]:
    async with engine(kubeconfig(tmp_path / "config", server.url)) as found:
        yield found


async def told(opened: KubernetesEngine, one: Replica, since: float | None = None) -> list[bytes]:
    lines = opened.ports.io.logs(one, tail=None, since=since, follow=False)
    return [line.text async for line in lines]


async def test_lines_of_one_moment_and_without_an_end_are_all_told(
    server: KubernetesServer, opened: KubernetesEngine
) -> None:
    for line in ("same", "same", "other"):
        server.pods.say(THERE, line, "2026-01-01T00:00:01.5Z")
    server.pods.mutter(THERE, "unfinished", "2026-01-01T00:00:02Z")
    assert await told(opened, await replica(opened)) == [b"same", b"same", b"other", b"unfinished"]


async def test_what_a_node_says_of_a_log_is_told_as_it_is(
    server: KubernetesServer, opened: KubernetesEngine
) -> None:
    server.pods.say(THERE, "hello", "2026-01-01T00:00:01.5Z")
    server.pods.say(THERE, "to retrieve container logs for containerd://1", "unable")
    expected = [b"hello", b"unable to retrieve container logs for containerd://1"]
    assert await told(opened, await replica(opened)) == expected


async def test_what_a_crashed_container_wrote_is_told_once(
    server: KubernetesServer, opened: KubernetesEngine
) -> None:
    server.workloads.let("web:1", Fate.CRASHES)
    server.pods.say(THERE, "boom", "2026-01-01T00:00:01.5Z")
    server.pods.restart(THERE)
    before, now = await replica(opened, previous=True), await replica(opened)
    assert await told(opened, before) == [b"boom"]
    assert await told(opened, now) == []


async def test_a_follower_is_taken_over_a_cut_without_a_line_lost_or_told_twice(
    server: KubernetesServer, opened: KubernetesEngine
) -> None:
    for line in ("one", "two"):
        server.pods.say(THERE, line, "2026-01-01T00:00:01.5Z")
    lines = opened.ports.io.logs(await replica(opened), tail=None, since=None, follow=True)
    assert [(await anext(lines)).text for _ in range(2)] == [b"one", b"two"]
    server.pods.cut(THERE)
    server.pods.say(THERE, "three", "2026-01-01T00:00:01.5Z")
    server.pods.say(THERE, "four", "2026-01-01T00:00:03Z")
    assert [(await anext(lines)).text for _ in range(2)] == [b"three", b"four"]
    await lines.aclose()  # type: ignore[attr-defined]


async def test_a_log_that_may_not_be_read_names_the_verb_also_to_followers(
    server: KubernetesServer, tmp_path: Path
) -> None:
    every = Rule(
        verbs=frozenset({"get", "list", "watch"}),
        groups=frozenset({"*"}),
        resources=frozenset(kind.plural for kind in BUILT_IN.values()),
    )
    server.access.users["reader"] = User("reader", (every,))
    async with engine(kubeconfig(tmp_path / "config", server.url, {"token": "reader"})) as found:
        one = await replica(found)
        for follow in (False, True):
            lines = found.ports.io.logs(one, tail=None, since=None, follow=follow)
            with pytest.raises(EngineError, match="may not get pods/log"):
                await anext(lines)
        with pytest.raises(EngineError, match="may not get pods/exec"):
            await found.ports.io.run(one, ["ls"], timeout_seconds=5)


async def test_the_log_of_a_pod_that_is_gone_is_empty_and_no_command_runs_there(
    server: KubernetesServer, opened: KubernetesEngine
) -> None:
    one = await replica(opened)
    server.inside.delete("Pod", NAMESPACE, "web", grace=0)
    while await opened.ports.replicas.list(("shop", "web")):
        await asyncio.sleep(0.02)
    assert await told(opened, one) == []
    with pytest.raises(StartFailed, match="its pod is gone"):
        await opened.ports.io.run(one, ["ls"], timeout_seconds=5)


async def test_no_command_runs_where_no_container_does(
    server: KubernetesServer, opened: KubernetesEngine
) -> None:
    server.workloads.let("web:1", Fate.CRASHES)
    before, now = await replica(opened, previous=True), await replica(opened)
    with pytest.raises(StartFailed, match="that run of its container has ended"):
        await opened.ports.io.run(before, ["ls"], timeout_seconds=5)
    with pytest.raises(StartFailed, match="container 'main' does not run"):
        await opened.ports.io.run(now, ["ls"], timeout_seconds=5)


async def test_the_output_of_a_command_is_bounded(
    server: KubernetesServer, opened: KubernetesEngine
) -> None:
    async def flood(session: Session) -> int:
        for _ in range(30):
            await session.out(b"x" * 100_000)
        return 0

    server.pods.commands["flood"] = flood
    answer = await opened.ports.io.run(await replica(opened), ["flood"], timeout_seconds=20)
    assert (answer.exit_code, len(answer.stdout), answer.stderr) == (0, 2**20, b"")


async def test_a_command_that_is_cut_off_has_no_exit_code(
    server: KubernetesServer, opened: KubernetesEngine
) -> None:
    async def hang(session: Session) -> int:
        await session.out(b"so far")
        session.cut()
        return 0

    server.pods.commands["hang"] = hang
    one = await replica(opened)
    with pytest.raises(EngineError, match="broke off before its end"):
        await opened.ports.io.run(one, ["hang"], timeout_seconds=20)


def test_a_follower_is_not_cut_off_by_any_limit_of_the_client(tmp_path: Path) -> None:
    """The SDK ends every request after 300 s; here half an hour passes in a few seconds."""
    with cluster_thread() as cluster:
        cluster.do(deploy)
        with asyncio.Runner(loop_factory=FastLoop) as runner:
            runner.run(_follow_for_long(cluster, cluster.config(tmp_path / "config")))


async def _follow_for_long(cluster: ClusterThread, config: Path) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, FastLoop)
    async with engine(config) as opened:
        one = await replica(opened)
        lines = opened.ports.io.logs(one, tail=None, since=None, follow=True)
        cluster.do(partial(say, line="0"))
        assert (await anext(lines)).text == b"0"
        loop.hurry(500)
        for line in ("1", "2"):
            coming = asyncio.ensure_future(anext(lines))
            await asyncio.sleep(900)
            assert not coming.done()
            cluster.do(partial(say, line=line))
            assert (await coming).text == line.encode()
        await lines.aclose()  # type: ignore[attr-defined]
    asked = [one for one in cluster.server.calls if one.resource == "pods/log"]
    assert len(asked) == 1
