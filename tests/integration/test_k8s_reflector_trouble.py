"""A copy of what a cluster has stays true whatever happens to the way there."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.k8s.cluster import PAGE, Cluster
from adapters.k8s.errors import Forbidden, KindMissing
from adapters.k8s.kinds import BUILT_IN, Kind
from adapters.k8s.reflector import Pace
from tests.support.kubernetes.access import EVERYTHING, User
from tests.support.kubernetes.definitions import HTTP_ROUTE
from tests.support.kubernetes.faults import Fault
from tests.support.kubernetes.following import change, following, make, remove, watches
from tests.support.kubernetes.reaching import namespace, reached
from tests.support.kubernetes.server import ADMIN_TOKEN, KubernetesServer

CONFIG_MAPS = BUILT_IN["v1", "ConfigMap"]
ROUTES = Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")


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
