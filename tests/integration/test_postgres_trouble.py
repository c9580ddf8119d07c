"""A log in PostgreSQL and its troubles: replicas, full disks, missing rights, rewinds, changes."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from adapters.files.headfile import write_head
from adapters.postgres.log import PostgresLog
from adapters.postgres.schema import migrate
from adapters.postgres.secrets import PostgresSecrets
from adapters.postgres.server import Server
from adapters.postgres.verify import verify
from bus.log import Head, LogFull, LogRewound, LogUnavailable, LogUnusable, NewEvent
from bus.secrets import SecretUnavailable
from bus.verifying import TOMBSTONE
from domain.names import Ref
from domain.secret import SecretText
from tests.support import requirements
from tests.support.databases import WEB, append, opened, until
from tests.support.postgres_server import GUARDED, RIGHT, Cluster, cluster, execute

pytestmark = pytest.mark.needs("postgres")

DB = Ref("Secret", "shop", "db")


# -- what is refused ----------------------------------------------------------------------------


async def test_a_replica_is_read_from_and_not_written_to(postgres: Cluster, tmp_path: Path) -> None:
    url = postgres.migrated()
    async with opened(url, tmp_path / "a") as log:
        await append(log)
    with cluster(of=postgres) as replica:
        there = url.replace(str(postgres.port), str(replica.port))
        async with opened(there, tmp_path / "b") as log:
            assert len(await log.read(0, 10)) == 1
            with pytest.raises(LogUnavailable, match=r"read-only.*name the primary"):
                await append(log)
            assert log.read_only is not None
            replica.promote()
            assert (await append(log)).positions == (2,)
            await until(lambda: log.read_only is None)


@pytest.fixture
def small_disk(postgres: Cluster) -> Iterator[Path]:
    """A disk of a few megabytes that holds the tables of one database."""
    requirements.require("root")
    directory = postgres.directory / "small"
    directory.mkdir()
    mount, umount = (requirements.find_program(name) for name in ("mount", "umount"))
    if mount is None or umount is None:
        pytest.skip("there is no program to mount a small disk with")
    argv = [str(mount), "-t", "tmpfs", "-o", "size=24m,mode=777", "tmpfs", str(directory)]
    mounted = subprocess.run(argv, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    (directory / "tables").mkdir(mode=0o777)
    (directory / "tables").chmod(0o777)
    subprocess.run(
        ["/bin/chown", "--reference", str(postgres.data), str(directory / "tables")], check=True
    )
    yield directory
    postgres.execute("DROP DATABASE IF EXISTS small WITH (FORCE)")
    with suppress(asyncpg.PostgresError):
        postgres.execute("DROP TABLESPACE small")
    subprocess.run([umount, directory], check=True)


async def test_a_full_disk_refuses_appends_whole_and_a_freed_one_takes_them_again(
    postgres: Cluster, small_disk: Path, tmp_path: Path
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(6_000_000))
    postgres.execute(f"CREATE TABLESPACE small LOCATION '{small_disk / 'tables'}'")
    postgres.execute("CREATE DATABASE small TEMPLATE template0 TABLESPACE small")
    url = postgres.url("small")
    await migrate(Server(url))
    async with opened(url, tmp_path) as log:
        acknowledged: list[int] = []

        async def appender(number: int) -> None:
            stream = f"App/shop/a{number}"
            for version in range(0, 10_000, 2):
                pair = [NewEvent(stream, "app.scaled", b"x" * 1500)] * 2
                acknowledged.extend((await log.append(pair, expect={stream: version})).positions)

        ends = await asyncio.gather(*(appender(n) for n in range(8)), return_exceptions=True)
        assert {type(end) for end in ends} == {LogFull}, ends
        assert log.read_only is not None
        assert "no space" in log.read_only
        stored = [e.position for e in await log.read(0, 10**6)]
        assert stored == sorted(acknowledged)

        ballast.unlink()
        assert (await append(log)).positions[0] > stored[-1]
        assert log.read_only is None
    report = await asyncio.to_thread(verify, url, tmp_path)
    assert report.sound, report.problem
    assert report.events == len(stored) + 1


async def test_a_wrong_password_and_missing_rights_are_named(
    postgres: Cluster, database: str, tmp_path: Path
) -> None:
    right = database.replace("stateward@", f"{GUARDED}:{RIGHT}@")
    with pytest.raises(LogUnusable, match="give the right password") as refused:
        await PostgresLog.open(right.replace(RIGHT, "wr0ng"), tmp_path, now=lambda: 0.0)
    assert "wr0ng" not in str(refused.value)
    with pytest.raises(LogUnusable, match="grant the user"):
        await PostgresLog.open(right, tmp_path, now=lambda: 0.0)
    for grant in (
        f"GRANT USAGE ON SCHEMA stateward TO {GUARDED}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA stateward TO {GUARDED}",
    ):
        await execute(database, grant)
    async with opened(right, tmp_path) as log:
        await append(log)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://ada:wr0ng@x/y",
        "postgresql://ada:wr0ng@h:port/x",
        "postgresql://ada:wr0ng/@h:1/x",
        "postgresql://ada:wr0ng?@h:1/x",
        "postgresql://ada:wr0ng@h:1/x?sslmode=never",
    ],
)
async def test_an_address_that_is_none_is_refused_without_showing_it(
    url: str, tmp_path: Path
) -> None:
    with pytest.raises(LogUnusable) as refused:
        await PostgresLog.open(url, tmp_path, now=lambda: 0.0)
    assert "wr0ng" not in str(refused.value)


async def test_each_statement_sees_what_was_committed_before_it_whatever_the_database_prefers(
    database: str, tmp_path: Path
) -> None:
    name = database.rpartition("/")[2]
    sql = f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'"
    await execute(database, sql)
    assert await execute(database, "SHOW transaction_isolation") == [("repeatable read",)]
    async with opened(database, tmp_path) as log:
        await append(log)
        connection = log._writer._connection
        assert connection is not None
        assert await connection.fetchval("SHOW transaction_isolation") == "read committed"


# -- histories that went backwards --------------------------------------------------------------


async def test_a_head_file_above_the_log_stops_appends_until_somebody_accepts(
    database: str, tmp_path: Path
) -> None:
    async with opened(database, tmp_path) as log:
        await append(log)
    write_head(tmp_path, Head(90, bytes(32)))
    async with opened(database, tmp_path) as log:
        with pytest.raises(LogRewound, match=r"ends at position 1.*its head file.*position 90"):
            await append(log)
        assert len(await log.read(0, 10)) == 1
        await log.accept_rewind("ada")
        log.report_seen(90, "a label")  # it was accepted that this is gone
        assert log.rewound is None
        assert (await append(log)).positions == (91,)
        rows = await execute(database, "SELECT actor, witness, seen, head FROM stateward.rewinds")
        assert rows == [("ada", "its head file", 90, 1)]
    report = await asyncio.to_thread(verify, database, tmp_path)
    assert report.sound, report.problem


async def test_another_history_of_the_same_length_is_noticed_by_its_seal(
    postgres: Cluster, tmp_path: Path
) -> None:
    one, two = postgres.migrated(), postgres.migrated()
    async with opened(one, tmp_path) as log:
        await append(log, data=b"1")
    async with opened(two, tmp_path / "b") as log:
        await append(log, data=b"2")
    async with opened(two, tmp_path) as log:
        assert log.rewound is not None
        assert "another history" in log.rewound.witness


async def test_a_rewind_that_only_a_label_showed_is_accepted_by_who_opens_the_log_next(
    database: str, tmp_path: Path
) -> None:
    async with opened(database, tmp_path) as log:
        await append(log)
        log.report_seen(9, "container web")
    async with opened(database, tmp_path) as log:
        assert log.rewound is not None
        await log.accept_rewind("ada")
    async with opened(database, tmp_path / "other") as log:
        log.report_seen(9, "container web")
        assert log.rewound is None
        assert (await append(log)).positions == (10,)


async def test_a_damaged_head_file_stops_appends_too(database: str, tmp_path: Path) -> None:
    (tmp_path / "head").write_bytes(b"\xff\x00")
    async with opened(database, tmp_path) as log:
        with pytest.raises(LogRewound, match="a damaged head file"):
            await append(log)


# -- verification and erasure -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "altered", "said"),
    [
        ("UPDATE stateward.stored_events SET state = 'x' WHERE notification_id = 3", 3, "digest"),
        ("DELETE FROM stateward.stored_events WHERE notification_id = 2", 2, "is missing"),
        (
            "INSERT INTO stateward.stored_events VALUES (9, 'App/shop/x', 1, 't', '')",
            9,
            "never sealed",
        ),
        ("DELETE FROM stateward.seals WHERE position = 2", 2, "never sealed"),
        ("UPDATE stateward.seals SET seal = sha256('x') WHERE position = 3", 3, "not theirs"),
    ],
)
async def test_whatever_is_changed_behind_the_log_s_back_is_found(
    database: str, tmp_path: Path, sql: str, altered: int, said: str
) -> None:
    async with opened(database, tmp_path / "a") as log:
        for number in range(5):
            await append(log, data=b"%d" % number)
    assert (await asyncio.to_thread(verify, database, tmp_path / "a")).sound
    await execute(database, sql)
    report = await asyncio.to_thread(verify, database, tmp_path / "elsewhere")
    assert (report.altered, said in (report.problem or "")) == (altered, True), report


async def test_an_erased_payload_is_gone_and_the_seals_hold(database: str, tmp_path: Path) -> None:
    async with opened(database, tmp_path) as log:
        for number in range(4):
            await append(log, data=b"secret %d" % number)
        assert await log.redact([2, 3, 77], "ada") == (2, 3)
        assert await log.redact([3], "bob") == (3,)
        assert [e.data for e in await log.stream(WEB)] == [
            b"secret 0",
            TOMBSTONE,
            TOMBSTONE,
            b"secret 3",
        ]
        actors = await execute(database, "SELECT position, actor FROM stateward.tombstones")
        assert sorted(actors) == [(2, "ada"), (3, "ada")]
    report = await asyncio.to_thread(verify, database, tmp_path)
    assert (report.sound, report.redacted, report.events) == (True, 2, 4)


# -- secrets ------------------------------------------------------------------------------------


async def test_processes_that_share_the_key_share_the_secrets(
    database: str, tmp_path: Path
) -> None:
    values = {"password": SecretText("hush")}
    one = await PostgresSecrets.open(database, tmp_path / "key", now=lambda: 0.0)
    other = await PostgresSecrets.open(database, tmp_path / "key", now=lambda: 0.0)
    stranger = await PostgresSecrets.open(database, tmp_path / "another", now=lambda: 0.0)
    try:
        token = await one.put(DB, values)
        assert other.token(values) == token
        assert await other.get(DB, token) == values
        assert await other.held() == {DB: frozenset({token})}
        with pytest.raises(SecretUnavailable, match="another is missing"):
            await stranger.get(DB, token)
        assert not (tmp_path / "another").exists()
        rows = await execute(database, "SELECT ciphertext FROM stateward.secrets")
        assert not any(b"hush" in row[0] for row in rows)
        await one.erase(DB, frozenset({token}))
        with pytest.raises(SecretUnavailable, match="has no values"):
            await other.get(DB, token)
    finally:
        for store in (one, other, stranger):
            await store.close()


async def test_the_installation_is_minted_once_for_all_processes(
    database: str, tmp_path: Path
) -> None:
    async with opened(database, tmp_path / "a") as one, opened(database, tmp_path / "b") as other:
        found = await asyncio.gather(one.installation(lambda: "1"), other.installation(lambda: "2"))
        assert len(set(found)) == 1
