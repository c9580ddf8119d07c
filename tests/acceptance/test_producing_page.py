"""The page for producers does what it says: its program runs, its messages are taken."""

import asyncio
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.acceptance.conftest import Serve
from tests.acceptance.producing import producer
from tests.support.asking import PATIENCE
from tests.support.serving import ControlPlane

pytestmark = pytest.mark.needs("nats")

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "produce-intents.md").read_text()


def blocks(language: str) -> list[str]:
    """The blocks of code in a language, in order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [text for named, text in found if named == language]


class Request(NamedTuple):
    """What a `nats request` of the page sends."""

    subject: str
    body: bytes
    headers: dict[str, str] | None


def requests() -> Iterator[Request]:
    (commands,) = blocks("console")
    for line in commands.splitlines():
        words = shlex.split(line.removeprefix("$ "))
        if words[:2] == ["nats", "request"]:
            subject, body, *rest = words[2:]
            headers = None
            if rest:
                assert rest[0] == "-H"
                name, _, value = rest[1].partition(":")
                headers = {name: value}
            yield Request(subject, body.encode(), headers)


@pytest.fixture
def plane(serve: Serve) -> ControlPlane:
    return serve("--engine=process")


def test_the_program_of_the_page_says_what_the_page_says_and_the_messages_are_taken(
    plane: ControlPlane, tmp_path: Path
) -> None:
    (program,) = blocks("python")
    script = tmp_path / "deploy.py"
    script.write_text(program)
    ran = run(script, plane)
    said = blocks("")
    assert (ran.stdout, ran.returncode) == (said[0], 0), ran.stderr
    again = run(script, plane)  # under the same keys: nothing happens twice
    assert (again.stdout.splitlines()[0], again.returncode) == ("on disk: created", 0), again.stderr
    asyncio.run(sent_by_nats(plane))


def run(script: Path, plane: ControlPlane) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "error", str(script), str(plane.data)],
        cwd=ROOT,
        env=plane.environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


async def sent_by_nats(plane: ControlPlane) -> None:
    asked, submitted = requests()
    async with producer(plane) as sender:
        outcomes = await sender.subscribe("stateward.v1.accepted.producer.>")
        answer = await sender.request(asked.subject, asked.body, timeout=PATIENCE)
        assert json.loads(answer.data)["changes"][0]["events"] == ["app.scaled"]
        kept = await sender.request(
            submitted.subject, submitted.body, timeout=PATIENCE, headers=submitted.headers
        )
        assert json.loads(kept.data)["stream"] == "STATEWARD_SUBMIT"
        outcome = json.loads((await outcomes.next_msg(timeout=PATIENCE)).data)
        assert outcome["data"]["key"] == "restart-43"
        assert outcome["data"]["answer"]["changes"][0]["events"] == ["app.restarted"]
