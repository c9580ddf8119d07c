"""Link-local and metadata addresses are refused, however they are written."""

import pytest

from domain import addresses
from domain.refusals import BadValue
from tests.support.intents import Desk, manifest

CLOSED = [
    *("169.254.169.254", "169.254.0.1", "100.100.100.200", "fe80::1", "FEBF::1", "fd00:ec2::254"),
    *("::ffff:169.254.169.254", "fe80::1%eth0", "[fe80::1]", "169.254.169.254."),
    *("2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "0xA9.254.0251.254"),
]
OPEN = [
    *("", "localhost", "ghcr.io", "169.253.1.1", "100.100.100.201", "10.0.0.1", "fd00::1", "::1"),
    *("::ffff:10.0.0.1", "169.254.1.1.example.org", "169.254.1.256", "1.2.3.4.5", "0x", "08.1"),
    *("99999999999", "\u0661"),
]


@pytest.mark.parametrize("host", CLOSED)
def test_an_address_that_nobody_may_ask_is_known_in_every_form(host: str) -> None:
    assert addresses.is_closed(host)


@pytest.mark.parametrize("host", OPEN)
def test_everything_else_may_be_asked(host: str) -> None:
    assert not addresses.is_closed(host)


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("web", ""),
        ("web:1", ""),
        ("library/web:1", ""),
        ("ghcr.io/a/web:1", "ghcr.io"),
        ("localhost:5000/web", "localhost"),
        ("169.254.169.254/web", "169.254.169.254"),
        ("169.254.169.254:80/web@sha256:1", "169.254.169.254"),
        ("fd00:ec2::254/web", "fd00:ec2::254"),
    ],
)
def test_the_registry_of_an_image_is_what_stands_before_its_path(image: str, registry: str) -> None:
    assert addresses.registry_of(image) == registry


async def test_an_image_and_a_daemon_on_such_an_address_are_refused() -> None:
    desk = Desk()
    await desk.furnish()
    with pytest.raises(BadValue, match=r"^spec.image: .* metadata services are never asked"):
        await desk.send(manifest("App", "web", {"image": "169.254.169.254:80/web:1"}))
    for host, said in (
        ("tcp://u:p@169.254.169.254:2375", "never asked"),
        ("https://[fe80::1]:2376", "never asked"),
        ("http://[fe80::1", "no URL"),
    ):
        with pytest.raises(BadValue, match=rf"^spec.docker.host: .*{said}"):
            await desk.send(
                manifest("Target", "far", {"engine": "docker", "docker": {"host": host}})
            )
    assert desk.types == ["target.defined", "project.defined"]
