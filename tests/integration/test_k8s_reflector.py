"""A copy of what a cluster has, kept true whatever happens to the way there."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from adapters.k8s.cluster import PAGE, Cluster
from adapters.k8s.errors import Forbidden, KindMissing
from adapters.k8s.held import Trimming
from adapters.k8s.kinds import BUILT_IN, Kind
from adapters.k8s.reflector import Change, Pace, Reflector
from tests.contracts.kubernetes_place import deployment
from tests.support.kubernetes.access import EVERYTHING, User
from tests.support.kubernetes.definitions import HTTP_ROUTE
from tests.support.kubernetes.faults import Fault
from tests.support.kubernetes.reaching import namespace, reached
from tests.support.kubernetes.server import ADMIN_TOKEN, KubernetesServer
from tests.support.kubernetes.store import Place

CONFIG_MAPS = BUILT_IN["v1", "ConfigMap"]
SECRETS = BUILT_IN["v1", "Secret"]
DEPLOYMENTS = BUILT_IN["apps/v1", "Deployment"]
ROUTES = Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")
QUICK = Pace(first=0.01, most=0.05)
PATIENCE = 20.0  # seconds


class Followed:
    """A reflector that runs, and what it told."""

    def __init__(self, cluster: Cluster, kind: Kind, **how: Any) -> None:
        self.changes: list[Change] = []
        self._news = asyncio.Event()
        self.reflector = Reflector(
            cluster, kind, random.Random(3), changed=self._note, **{"pace": QUICK, **how}
        )

    def _note(self, change: Change) -> None:
        self.changes.append(change)
        self._news.set()

    @property
    def names(self) -> list[str]:
        return sorted(name for _, name in self.reflector.objects)

    def told(self, name: str) -> list[str]:
        """What happened to an object, in order."""
        words = {(False, True): "new", (True, True): "changed", (True, False): "gone"}
        return [
            words[change.before is not None, change.after is not None]
            for change in self.changes
            if change.key[1] == name
        ]

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():
                self._news.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await self._news.wait()


@asynccontextmanager
async def following(cluster: Cluster, kind: Kind, **how: Any) -> AsyncIterator[Followed]:
    """Follow a kind; inside, everything was seen once unless `how` says not to wait."""
    wait = how.pop("wait", True)
    followed = Followed(cluster, kind, **how)
    task = asyncio.create_task(followed.reflector.run())
    try:
        if wait:
            async with asyncio.timeout(PATIENCE):
                await followed.reflector.synced()
        yield followed
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def server() -> AsyncIterator[KubernetesServer]:
    async with KubernetesServer() as server:
        namespace(server)
        server.calls.clear()
        yield server


@pytest.fixture
async def cluster(server: KubernetesServer, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with reached(server, tmp_path) as cluster:
        yield cluster


def make(server: KubernetesServer, *names: str, **labels: str) -> None:
    for name in names:
        body = {"metadata": {"name": name, "labels": labels}, "data": {"k": "1"}}
        server.inside.create("ConfigMap", "shop", body)


def change(server: KubernetesServer, name: str, value: str = "2") -> None:
    server.inside.patch("ConfigMap", "shop", name, {"data": {"k": value}})


def remove(server: KubernetesServer, name: str) -> None:
    server.inside.delete("ConfigMap", "shop", name)


def watches(server: KubernetesServer) -> int:
    return len(server.faults.watches)


# --- following --------------------------------------------------------------------------------


async def test_it_lists_in_pages_then_follows(server: KubernetesServer, cluster: Cluster) -> None:
    make(server, *(f"n{number:04d}" for number in range(PAGE + 7)))
    async with following(cluster, CONFIG_MAPS) as followed:
        assert len(followed.names) == PAGE + 7
        await followed.until(lambda: watches(server))
        make(server, "web")
        change(server, "web")
        remove(server, "web")
        await followed.until(lambda: followed.told("web") == ["new", "changed", "gone"])
    assert [call.verb for call in server.calls] == ["list", "list", "watch"]


async def test_only_what_is_selected_is_followed(
    server: KubernetesServer, cluster: Cluster
) -> None:
    make(server, "ours", owner="us")
    make(server, "other")
    async with following(cluster, CONFIG_MAPS, selector="owner=us") as followed:
        assert followed.names == ["ours"]
        await followed.until(lambda: watches(server))
        relabelled = {"metadata": {"labels": {"owner": "them"}}}
        server.inside.patch("ConfigMap", "shop", "ours", relabelled)
        await followed.until(lambda: followed.told("ours") == ["new", "gone"])


async def test_managed_fields_are_dropped(server: KubernetesServer, cluster: Cluster) -> None:
    make(server, "web")
    async with following(cluster, CONFIG_MAPS) as followed:
        assert "managedFields" not in followed.reflector.objects["shop", "web"].body["metadata"]


async def test_what_others_own_may_be_kept(server: KubernetesServer, cluster: Cluster) -> None:
    server.workloads.paused = True
    body = deployment()
    body["metadata"]["namespace"] = "shop"
    await cluster.apply(body, manager="stateward")
    server.inside.patch("Deployment", "shop", "d", {"metadata": {"annotations": {"by": "hand"}}})
    server.inside.patch_status("Deployment", "shop", "d", {"observedGeneration": 1})
    trimming = Trimming(ours=frozenset({"stateward"}))
    async with following(cluster, DEPLOYMENTS, trimming=trimming) as followed:
        metadata = followed.reflector.objects["shop", "d"].body["metadata"]
    kept = [(one["manager"], sorted(one["fieldsV1"])) for one in metadata["managedFields"]]
    assert kept == [("kube-controller-manager", ["f:metadata"])]


async def test_values_of_secrets_are_not_kept(server: KubernetesServer, cluster: Cluster) -> None:
    body = {"metadata": {"name": "token"}, "data": {"password": "c2VjcmV0"}}
    server.inside.create("Secret", "shop", body)
    trimming = Trimming(without=frozenset({"data"}))
    async with following(cluster, SECRETS, trimming=trimming) as followed:
        held = followed.reflector.objects["shop", "token"]
    assert held.body["type"] == "Opaque"
    assert b"c2VjcmV0" not in held.encoded


async def test_others_have_a_turn_while_a_long_list_is_taken_in(
    server: KubernetesServer, cluster: Cluster
) -> None:
    """5,000 objects of 3 KB are taken in by slices of 256 KB, and no more without a pause."""
    filler = "x" * 3000
    for number in range(5000):
        name = f"n{number:05d}"
        metadata = {"name": name, "namespace": "shop", "uid": str(number)}
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"k": filler},
        }
        server.store.put(Place("", "configmaps", "shop", name), body)
    turns = 0
    at_turn: list[int] = []

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    followed = Reflector(
        cluster, CONFIG_MAPS, random.Random(3), changed=lambda _: at_turn.append(turns)
    )
    counting, running = asyncio.create_task(count()), asyncio.create_task(followed.run())
    async with asyncio.timeout(60):
        await followed.synced()
    for task in (counting, running):
        task.cancel()
    assert len(at_turn) == 5000
    longest = max(at_turn.count(turn) for turn in set(at_turn))
    assert longest * len(filler) < 512 * 1024


# --- trouble ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cut", "end"])
async def test_a_cut_watch_goes_on_where_it_was(
    server: KubernetesServer, cluster: Cluster, how: str
) -> None:
    make(server, "a", "b")
    async with following(cluster, CONFIG_MAPS) as followed:
        await followed.until(lambda: watches(server))
        cut = server.faults.cut_watches if how == "cut" else server.faults.end_watches
        assert cut() == 1
        change(server, "a")
        remove(server, "b")
        make(server, "c")
        await followed.until(lambda: followed.names == ["a", "c"])
        await followed.until(lambda: followed.told("a") == ["new", "changed"])
        assert followed.reflector.lists == 1


async def test_a_server_that_was_away_is_followed_from_where_it_was(
    server: KubernetesServer, cluster: Cluster
) -> None:
    make(server, "a", "b")
    async with following(cluster, CONFIG_MAPS) as followed:
        await followed.until(lambda: watches(server))
        await server.kill()
        await followed.until(lambda: followed.reflector.health.state == "cut")
        assert followed.names == ["a", "b"]
        change(server, "a")
        remove(server, "b")
        await server.start()
        await followed.until(lambda: followed.names == ["a"])
        assert followed.told("a") == ["new", "changed"]
        assert followed.reflector.lists == 1
        assert followed.reflector.health.state == "following"


async def test_an_expired_version_is_listed_anew_and_nothing_is_missed(
    server: KubernetesServer, cluster: Cluster
) -> None:
    make(server, "a", "b", "c")
    async with following(cluster, CONFIG_MAPS) as followed:
        await followed.until(lambda: watches(server))
        await server.kill()
        change(server, "a")
        remove(server, "b")
        remove(server, "c")
        make(server, "c")  # another object of that name
        server.faults.expire_versions()
        await server.start()
        await followed.until(lambda: followed.reflector.lists == 2)
        await followed.until(lambda: followed.names == ["a", "c"])
        await followed.until(lambda: followed.told("c") == ["new", "changed"])
    assert followed.told("a") == ["new", "changed"]
    assert followed.told("b") == ["new", "gone"]


async def test_a_cluster_restored_from_a_backup_is_listed_anew(
    server: KubernetesServer, cluster: Cluster
) -> None:
    server.reading.bookmarks = 0.01
    make(server, "a", "b")
    backup = server.store.backed_up()
    async with following(cluster, CONFIG_MAPS) as followed:
        await followed.until(lambda: watches(server))
        change(server, "a", "lost")
        remove(server, "b")
        await followed.until(lambda: followed.names == ["a"])
        server.store.restore(backup)
        await followed.until(lambda: followed.names == ["a", "b"])
        assert followed.reflector.objects["shop", "a"].body["data"] == {"k": "1"}


async def test_what_a_second_list_finds_unchanged_is_not_told(
    server: KubernetesServer, cluster: Cluster
) -> None:
    make(server, "a", "b")
    async with following(cluster, CONFIG_MAPS) as followed:
        await followed.until(lambda: watches(server))
        change(server, "b")
        await followed.until(lambda: followed.told("b") == ["new", "changed"])
        server.faults.expire_versions()
        server.faults.cut_watches()
        make(server, "c")
        server.faults.expire_versions()
        await followed.until(lambda: "c" in followed.names)
    assert (followed.told("a"), followed.told("b")) == (["new"], ["new", "changed"])


async def test_a_list_whose_pages_expire_begins_anew(
    server: KubernetesServer, cluster: Cluster
) -> None:
    make(server, *(f"n{number:04d}" for number in range(PAGE + 1)))
    server.faults.add(Fault(code=410, skip=1, verb="list"))
    async with following(cluster, CONFIG_MAPS) as followed:
        assert len(followed.names) == PAGE + 1
        assert followed.reflector.lists == 2


async def test_bookmarks_carry_a_quiet_watch_over_forgotten_history(
    server: KubernetesServer, cluster: Cluster
) -> None:
    server.reading.bookmarks = 0.01
    make(server, "a")
    async with following(cluster, CONFIG_MAPS) as followed:
        server.inside.create("Secret", "shop", {"metadata": {"name": "elsewhere"}})
        await followed.until(lambda: int(followed.reflector.version or 0) == server.store.version)
        await server.kill()
        server.faults.expire_versions()
        await server.start()
        make(server, "b")
        await followed.until(lambda: followed.names == ["a", "b"])
        assert followed.reflector.lists == 1


async def test_a_throttled_list_waits_and_then_goes_on(
    server: KubernetesServer, cluster: Cluster
) -> None:
    make(server, "a")
    server.faults.throttle(times=7, retry_after=0, verb="list")
    async with following(cluster, CONFIG_MAPS) as followed:
        assert followed.names == ["a"]
    assert [call.verb for call in server.calls].count("list") == 8


async def test_an_event_that_was_never_told_is_found_by_the_next_list(
    server: KubernetesServer, cluster: Cluster
) -> None:
    make(server, "a", "b")
    pace = Pace(first=0.01, most=0.05, relist=0.0)
    async with following(cluster, CONFIG_MAPS, pace=pace) as followed:
        await followed.until(lambda: watches(server))
        server.faults.lost_events = 1
        remove(server, "b")
        make(server, "c")
        await followed.until(lambda: "c" in followed.names)
        assert "b" in followed.names  # as it must seem
        server.faults.end_watches()
        await followed.until(lambda: followed.names == ["a", "c"])


async def test_a_missing_verb_is_told_and_once_granted_it_goes_on(
    server: KubernetesServer, tmp_path: Path
) -> None:
    make(server, "a")
    server.access.users["limited"] = User("limited", ())
    async with (
        reached(server, tmp_path, "limited") as cluster,
        following(cluster, CONFIG_MAPS, wait=False) as followed,
    ):
        await followed.until(lambda: isinstance(followed.reflector.health.error, Forbidden))
        assert "may not list configmaps" in str(followed.reflector.health.error)
        server.access.users["limited"] = User("limited", (EVERYTHING,))
        await followed.until(lambda: followed.names == ["a"])


async def test_a_kind_that_is_defined_later_is_followed_then(
    server: KubernetesServer, cluster: Cluster
) -> None:
    async with following(cluster, ROUTES, wait=False) as followed:
        await followed.until(lambda: isinstance(followed.reflector.health.error, KindMissing))
        server.inside.create("CustomResourceDefinition", "", HTTP_ROUTE)
        await followed.until(lambda: followed.reflector.health.state == "following")


async def test_a_token_that_expired_is_read_again(server: KubernetesServer, tmp_path: Path) -> None:
    async with reached(server, tmp_path) as cluster, following(cluster, CONFIG_MAPS) as followed:
        await followed.until(lambda: watches(server))
        server.access.users = {"new": User("admin")}
        path = tmp_path / f"{ADMIN_TOKEN}.json"
        path.write_text(path.read_text().replace(ADMIN_TOKEN, "new"))
        server.faults.cut_watches()
        make(server, "a")
        await followed.until(lambda: followed.names == ["a"])
