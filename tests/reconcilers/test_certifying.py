"""What is said of the certificates that a router shows."""

from collections.abc import Mapping

import pytest

from projections.route_table import Row, Tls
from reconcilers import certifying
from reconcilers.router_ports import Certified
from tests.contracts.router_world import row
from tests.reconcilers.test_routing import CHECKED, HOST, routed
from tests.support.house import House, play
from tests.support.intents import manifest

DAY = 86400.0
NOW = 1000 * DAY
INTERNAL = Tls(mode="internal")
ROWS = (row("a.test", scheme="https", tls=INTERNAL), row("b.test", scheme="https", tls=INTERNAL))
SPEC = {"image": "web:1", "routes": [{"host": HOST, "tls": {"mode": "internal"}}]} | CHECKED


def held(lived: float, left: float, trouble: str = "") -> Certified:
    """A certificate of so many days, seen from now."""
    return Certified(NOW - lived * DAY, NOW + left * DAY, trouble)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        pytest.param(held(60, 30), "Certified", id="a third of 90 days is left"),
        pytest.param(held(77, 13), "CertificateExpiring", id="13 of 90 days are left"),
        pytest.param(held(700, 15), "Certified", id="15 days of many are left"),
        pytest.param(held(0.3, 0.2), "Certified", id="5 of 12 hours are left"),
        pytest.param(held(0.45, 0.05), "CertificateExpiring", id="1 of 12 hours is left"),
        pytest.param(held(90, -0.001), "CertificateExpired", id="it has ended"),
        pytest.param(Certified(), "CertificatePending", id="there is none"),
        pytest.param(Certified(trouble="refused"), "CertificateFailed", id="none could be had"),
    ],
)
def test_the_first_to_end_is_told_of(found: Certified, reason: str) -> None:
    shown = {"a.test": held(1, 89), "b.test": found}
    condition = certifying.condition(ROWS, shown, NOW)
    assert condition is not None
    assert (condition.type, condition.reason) == ("Certified", reason)
    assert condition.status == ("True" if reason == "Certified" else "False")
    assert "b.test" in condition.message


def test_why_there_is_no_newer_certificate_is_told_once_it_matters() -> None:
    def said(found: Certified) -> str:
        condition = certifying.condition(ROWS[:1], {"a.test": found}, NOW)
        assert condition is not None
        return condition.message

    assert "rate limit" in said(held(80, 10, "rate limit"))
    assert "rate limit" not in said(held(40, 50, "rate limit"))


def test_a_certificate_of_a_secret_is_asked_of_nobody() -> None:
    own = (row("a.test", scheme="https", tls=Tls(mode="secret", secret="Secret/shop/own")),)

    def said(found: Certified) -> tuple[str, str, str]:
        condition = certifying.condition(own, {"a.test": found}, NOW)
        assert condition is not None
        return condition.status, condition.reason, condition.message

    assert said(Certified())[1] == "CertificateFailed"
    assert "Secret/shop/own has none" in said(Certified())[2]
    assert "not for a.test" in said(Certified(trouble="it is for b.test, not for a.test"))[2]
    goes_on = said(held(1, 89, "its key belongs to another"))
    assert goes_on[:2] == ("True", "Certified")
    assert "the one before: its key belongs to another" in goes_on[2]


def test_nothing_is_said_of_what_is_not_known_or_has_no_certificate() -> None:
    plain: tuple[Row, ...] = (row("a.test"),)
    assert certifying.condition(ROWS, {}, NOW) is None
    assert certifying.condition(plain, {"a.test": held(1, 1)}, NOW) is None


def test_a_request_that_fails_is_a_reason_until_there_is_a_certificate() -> None:
    async def story(house: House) -> None:
        house.router.certificates[HOST] = Certified(trouble="no such account")
        await house.send(manifest("App", "web", SPEC))
        await house.ready()
        await house.until(lambda: routed(house).reason == "CertificateFailed")
        assert "no such account" in routed(house).message
        end = house.now() + 90 * DAY
        house.router.certificates[HOST] = Certified(house.now(), end)
        await house.until(lambda: routed(house).status == "True")
        status = house.of()
        assert status is not None
        assert status.certificates == {HOST: end}
        assert status.is_true("Certified")

    play(story)


def test_an_end_that_comes_near_is_said_although_nothing_else_happens() -> None:
    async def story(house: House) -> None:
        house.router.certificates[HOST] = Certified(house.now() - 3600, house.now() + 1200)
        await house.send(manifest("App", "web", SPEC))
        await house.until(lambda: certified(house) == "Certified")
        await house.until(lambda: certified(house) == "CertificateExpiring", 1500)
        await house.until(lambda: certified(house) == "CertificateExpired", 1500)
        assert routed(house).status == "True"
        house.router.certificates[HOST] = Certified(house.now(), house.now() + DAY)
        await house.until(lambda: certified(house) == "Certified", 90)

    play(story)


def certified(house: House) -> str:
    status = house.of()
    found = status.condition("Certified") if status is not None else None
    return found.reason if found is not None else ""


def test_hosts_that_are_gone_are_forgotten() -> None:
    async def story(house: House) -> None:
        house.router.certificates[HOST] = Certified(house.now(), house.now() + DAY)
        await house.send(manifest("App", "web", SPEC))
        await house.until(lambda: HOST in known(house))
        await house.send(manifest("App", "web", SPEC | {"routes": [{"host": HOST}]}))
        await house.until(lambda: not known(house))
        assert certified(house) == ""

    play(story)


def known(house: House) -> Mapping[str, float]:
    status = house.of()
    return status.certificates if status is not None else {}
