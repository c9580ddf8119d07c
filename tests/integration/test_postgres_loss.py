"""Connections that break before, during and after a commit, servers that stop, and time-outs."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from adapters.postgres import watching
from adapters.postgres.log import PostgresLog
from bus.log import LogError, LogRewound, LogUnavailable
from tests.support.cut_connections import Proxy
from tests.support.databases import QUICK, WEB, append, follow, opened, until
from tests.support.postgres_server import Cluster, cluster, execute

pytestmark = pytest.mark.needs("postgres")


@pytest.fixture
async def way(postgres: Cluster) -> AsyncIterator[Proxy]:
    async with Proxy(postgres.port) as proxy:
        yield proxy


@pytest.fixture
def through(database: str, way: Proxy, postgres: Cluster) -> str:
    """The database's address by way of the proxy."""
    return database.replace(f":{postgres.port}/", f":{way.port}/")


END_WATCHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name = 'stateward watcher' AND datname = current_database()"
)
LISTENING = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stateward watcher'"
    " AND datname = current_database() AND query LIKE '%seals%'"
)


async def stored(database: str) -> int:
    ((count,),) = await execute(database, "SELECT count(*) FROM stateward.stored_events")
    return int(count)


async def has_stored(database: str, count: int) -> bool:
    return await stored(database) == count


async def has_replayed(standby: Cluster, primary: Cluster) -> bool:
    """Whether a standby has all that its primary has written down so far."""
    ((written,),) = await execute(primary.url(), "SELECT pg_current_wal_lsn()::text")
    reached = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
    return await execute(standby.url(), reached, written) == [(True,)]


async def listens(database: str, count: int) -> bool:
    return await execute(database, LISTENING) == [(count,)]


async def ended_watchers(database: str) -> bool:
    return bool(await execute(database, END_WATCHERS))


async def can_append(log: PostgresLog) -> bool:
    with suppress(LogError):
        await append(log)
        return True
    return False


async def without_hints(database: str) -> None:
    """Make the function that appends tell nobody."""
    ((text,),) = await execute(database, "SELECT pg_get_functiondef('stateward.append'::regproc)")
    assert "PERFORM pg_notify" in text
    await execute(database, text.replace("PERFORM pg_notify('stateward_log', head::text);", ""))


@asynccontextmanager
async def held(database: str, sql: str) -> AsyncIterator[None]:
    """A transaction of somebody else, that has done one thing and does not end."""
    connection = await asyncpg.connect(database)
    try:
        async with connection.transaction():
            await connection.execute(sql)
            yield
    finally:
        await connection.close()


async def test_a_connection_cut_between_appends_is_made_anew_unseen(
    through: str, way: Proxy, tmp_path: Path
) -> None:
    async with opened(through, tmp_path) as log:
        for number in range(5):
            await append(log, data=b"%d" % number)  # without a key: it must not be in doubt
            way.cut()
            await until(
                lambda: log._writer._connection is None or log._writer._connection.is_closed()
            )
        assert way.cuts >= 5
        assert [e.data for e in await log.stream(WEB)] == [b"%d" % n for n in range(5)]


async def test_an_append_that_never_arrived_is_made_once_by_its_key(
    through: str, way: Proxy, database: str, tmp_path: Path
) -> None:
    async with opened(through, tmp_path) as log:
        await append(log)
        way.lose()
        asked = asyncio.create_task(append(log, key="k1"))
        await until(lambda: way.lost > 0)
        way.cut()
        done = await asked
        assert done.positions == (2,)
        assert not done.repeated
        assert await stored(database) == 2


async def test_an_append_whose_answer_was_lost_is_found_by_its_key_and_not_made_twice(
    through: str, way: Proxy, database: str, tmp_path: Path
) -> None:
    async with opened(through, tmp_path) as log:
        await append(log)
        way.lose_answers()
        asked = asyncio.create_task(append(log, key="k1"))
        await until(lambda: has_stored(database, 2))
        assert not asked.done()
        way.cut()
        done = await asked
        assert done.positions == (2,)
        assert done.repeated
        assert await stored(database) == 2
        await until(lambda: log.position == 2)


async def test_without_a_key_a_lost_answer_is_said_to_be_unknown_and_nothing_is_sent_again(
    through: str, way: Proxy, database: str, tmp_path: Path
) -> None:
    async with opened(through, tmp_path) as log:
        await append(log)
        way.lose_answers()
        asked = asyncio.create_task(append(log))
        await until(lambda: has_stored(database, 2))
        way.cut()
        with pytest.raises(LogUnavailable):
            await asked
        assert (await append(log)).positions == (3,)
        assert await stored(database) == 3


async def test_of_a_group_cut_after_its_commit_those_with_keys_are_answered(
    through: str, way: Proxy, database: str, tmp_path: Path
) -> None:
    async with opened(through, tmp_path) as log:
        await append(log)
        way.lose_answers()
        keys = [f"k{number}" if number % 2 else None for number in range(10)]
        asked = [
            asyncio.create_task(append(log, f"App/shop/a{n}", key=k)) for n, k in enumerate(keys)
        ]
        await until(lambda: has_stored(database, 11))
        way.cut()
        done = await asyncio.gather(*asked, return_exceptions=True)
        assert [isinstance(answer, LogUnavailable) for answer in done] == [k is None for k in keys]
        assert await stored(database) == 11


async def test_a_server_that_falls_silent_is_given_up_and_later_used_again(
    through: str, way: Proxy, tmp_path: Path
) -> None:
    async with opened(through, tmp_path) as log:
        await append(log)
        way.lose()
        with pytest.raises(LogUnavailable, match="does not answer"):
            await append(log)
        with pytest.raises(LogUnavailable, match="does not answer"):
            await log.read(0, 1)
        await until(lambda: log.read_only is not None)
        way.cut()
        await append(log, key="later")
        await until(lambda: log.read_only is None)


async def test_a_tail_goes_on_when_the_listening_connection_is_lost(
    database: str, tmp_path: Path
) -> None:
    async with opened(database, tmp_path / "a") as one, opened(database, tmp_path / "b") as other:
        tail = asyncio.create_task(follow(one, 0, 6))
        for _ in range(6):
            await until(lambda: ended_watchers(database))
            await append(other)
        assert [event.version for event in await tail] == [1, 2, 3, 4, 5, 6]


async def test_without_any_hint_a_tail_finds_what_others_commit(
    database: str, tmp_path: Path
) -> None:
    await without_hints(database)
    async with opened(database, tmp_path / "a") as one, opened(database, tmp_path / "b") as other:
        tail = asyncio.create_task(follow(one, 0, 2))
        await append(other)
        await append(other)
        assert [event.version for event in await tail] == [1, 2]
        await until(lambda: one.position == 2)


async def test_a_hint_tells_another_process_where_the_log_is(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "POLL_SECONDS", 3600.0)
    async with opened(database, tmp_path / "a") as one, opened(database, tmp_path / "b") as other:
        await until(lambda: listens(database, 2))
        done = await append(other)
        await until(lambda: one.position == done.positions[-1])


async def test_an_append_waits_for_its_turn_only_so_long(database: str, tmp_path: Path) -> None:
    async with opened(database, tmp_path) as log:
        async with held(database, "SELECT stateward.take_turn()"):
            with pytest.raises(LogUnavailable, match="kept it locked"):
                await append(log)
            assert await log.read(0, 1) == []
        assert (await append(log)).positions == (1,)


async def test_a_statement_that_takes_too_long_is_ended_and_writes_nothing(
    database: str, tmp_path: Path
) -> None:
    patient = QUICK._replace(lock=30.0)
    async with opened(database, tmp_path, patient) as log:
        lock = "LOCK TABLE stateward.stored_events IN ACCESS EXCLUSIVE MODE"
        async with held(database, lock):
            with pytest.raises(LogUnavailable, match="took too long"):
                await append(log)
        assert (await append(log)).positions == (1,)


@pytest.fixture
def fragile() -> Iterator[Cluster]:
    """A server of this test alone, which writes to the disk as in production."""
    with cluster({}) as running:
        yield running


async def test_what_was_acknowledged_survives_a_crash_of_the_server(
    fragile: Cluster, tmp_path: Path
) -> None:
    url = await asyncio.to_thread(fragile.migrated)
    async with opened(url, tmp_path) as log:
        acknowledged: list[int] = []

        async def appender(number: int) -> None:
            while True:
                done = await append(log, f"App/shop/a{number}")
                acknowledged.extend(done.positions)

        appenders = [asyncio.create_task(appender(number)) for number in range(8)]
        await until(lambda: len(acknowledged) > 200)
        await asyncio.to_thread(fragile.stop, signal.SIGKILL)
        ends = await asyncio.gather(*appenders, return_exceptions=True)
        assert {type(end) for end in ends} == {LogUnavailable}
        with pytest.raises(LogUnavailable):
            await log.read(0, 1)
        await until(lambda: log.read_only is not None)

        (fragile.data / "postmaster.pid").unlink()
        await asyncio.to_thread(fragile.start)
        await until(lambda: can_append(log))
        await until(lambda: log.read_only is None)
        assert {e.position for e in await log.read(0, 10**6)}.issuperset(acknowledged)
        assert log.rewound is None


async def test_a_failover_to_a_standby_that_has_everything_goes_unnoticed(
    tmp_path: Path,
) -> None:
    with cluster() as primary, cluster(of=primary) as standby:
        url = await asyncio.to_thread(primary.migrated)
        both = url.replace(f"{primary.port}/", f"{primary.port},127.0.0.1:{standby.port}/")
        copy = url.replace(str(primary.port), str(standby.port))
        async with opened(both, tmp_path) as log:
            done = [await append(log, key=f"k{number}") for number in range(20)]
            await until(lambda: has_replayed(standby, primary))  # the database itself
            await until(lambda: has_stored(copy, 20))  # what this primary does not write at once
            await asyncio.to_thread(primary.stop, signal.SIGQUIT)
            with pytest.raises(LogUnavailable):
                await append(log)
            await asyncio.to_thread(standby.promote)
            again = await append(log, key="k19")
            assert again == (done[-1].positions, b"", True)
            assert (await append(log)).positions == (21,)
            assert len(await log.read(0, 100)) == 21
            assert log.rewound is None


async def test_a_server_that_lacks_what_was_acknowledged_is_not_written_to_until_accepted(
    tmp_path: Path,
) -> None:
    with cluster() as primary:
        url = await asyncio.to_thread(primary.migrated)
        with cluster(of=primary) as old:
            await asyncio.to_thread(old.promote)  # from here on it hears nothing
            both = url.replace(f"{primary.port}/", f"{primary.port},127.0.0.1:{old.port}/")
            alone = url.replace(str(primary.port), str(old.port))
            async with opened(both, tmp_path / "a") as log:
                await append(log)
                await append(log)
                await asyncio.to_thread(primary.stop)
                with pytest.raises(LogRewound, match=r"ends at position 0.*position 2"):
                    await append(log)
                assert log.rewound is not None
                assert await stored(alone) == 0

                # Another process of the same data directory accepts it, this one learns of it.
                await until(lambda: (tmp_path / "a" / "head").read_text().startswith("2 "))
                (tmp_path / "b").mkdir()
                (tmp_path / "b" / "head").write_bytes((tmp_path / "a" / "head").read_bytes())
                async with opened(alone, tmp_path / "b") as other:
                    await other.accept_rewind("ada")
                    assert (await append(other)).positions == (3,)
                await until(lambda: can_append(log))
                assert log.rewound is None
