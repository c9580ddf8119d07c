"""Looking into pods through the same commands and paths as into any replica."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from secrets import token_hex

import pytest

from tests.acceptance.kubernetes import Town, app, town
from tests.support.kubernetes.pods import Session

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with town(tmp_path_factory.mktemp("kubernetes")) as built:
        built.plane.apply("web", app(replicas=1))
        built.plane.rolled_out()
        yield built


@pytest.fixture
def name(shop: Town) -> str:
    """An app whose logs are nobody else's."""
    name = f"said-{token_hex(3)}"
    shop.plane.apply(name, app(replicas=1))
    shop.plane.rolled_out(name)
    return name


def test_logs_can_be_read_since_a_while_and_of_former_runs(shop: Town, name: str) -> None:
    there, logs = shop.prod.container(name), ("logs", f"app/{name}")
    now = datetime.now(UTC)
    shop.prod.say(there, "old", now - timedelta(hours=1))
    shop.prod.say(there, "new", now)
    assert shop.cli(*logs) == "0 | old\n0 | new\n"
    assert shop.cli(*logs, "--since", "10m") == "0 | new\n"
    shop.prod.restart(there)
    shop.plane.until(
        lambda: shop.plane.app(name)["status"]["replicas"][0]["attempt"] == 2,
        "it was started again",
    )
    shop.prod.say(there, "again", now + timedelta(seconds=1))
    assert shop.cli(*logs) == "0 | again\n"
    assert shop.cli(*logs, "--previous") == "0 | old\n0 | new\n0 | again\n"


def test_a_followed_log_goes_on_when_its_container_is_started_again(shop: Town, name: str) -> None:
    there, path = shop.prod.container(name), f"/api/v1/projects/default/apps/{name}/logs"
    at = datetime.now(UTC) + timedelta(minutes=1)
    shop.prod.say(there, "0", at)
    with shop.plane.http.stream("GET", path, params={"follow": True, "tail": 1}) as answer:
        lines = (json.loads(line)["text"] for line in answer.iter_lines() if line)
        assert next(lines) == "0"
        for number in (1, 2):
            shop.prod.restart(there)
            shop.prod.say(there, f"{number}", at + timedelta(seconds=number))
            assert next(lines) == f"{number}"


def test_a_command_has_its_exit_code_and_two_streams(shop: Town) -> None:
    async def shout(session: Session) -> int:
        await session.out(" ".join(session.arguments[1:]).encode())
        await session.err(b"err")
        return 3

    shop.prod.do(lambda server: server.pods.commands.update(shout=shout))
    done = shop.plane.run("app/web", "--", "shout", "one", "-l", verb="exec")
    assert (done.returncode, done.stdout, done.stderr) == (3, "one -l", "err")
    said = shop.cli("exec", "app/web", "--", "missing", code=1)
    assert "'missing' cannot run" in said
    assert "executable file not found" in said


def test_a_command_that_takes_too_long_is_told(shop: Town) -> None:
    async def hang(session: Session) -> int:
        await session.input.get()
        return 0

    shop.prod.do(lambda server: server.pods.commands.update(hang=hang))
    said = shop.cli("exec", "app/web", "--timeout", "1s", "--", "hang", code=4)
    assert "'hang' ran longer than 1 s" in said
