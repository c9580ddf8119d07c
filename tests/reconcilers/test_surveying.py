"""Who lives and who holds what, as somebody tells who looks only once."""

import math

import msgspec

from bus.lease_survey import Surveyed, survey
from bus.lease_view import LeaseRecord, SessionRecord
from bus.leases import Entry
from stateward.cli.worker_check import told

PATIENCE = 10.0


def entry(key: str, record: msgspec.Struct) -> Entry:
    return Entry(key, msgspec.json.encode(record), 1)


def session(name: str, worker: str, state: str = "live") -> Entry:
    return entry(
        f"session.{name}", msgspec.convert({"worker": worker, "state": state}, SessionRecord)
    )


def lease(target: str, number: int, worker: str = "", of: str = "") -> Entry:
    return entry(f"lease.{target}.{number}", LeaseRecord(worker=worker, session=of))


TOWN = [
    session("s1", "a"),
    session("s2", "b"),
    session("s3", "c", "ended"),
    session("s4", "d", "leaving"),
    session("s5", "e", "ended"),
    lease("fleet", 0, "a", "s1"),
    lease("fleet", 1, "b", "s2"),
    lease("fleet", 2, "c", "s3"),
    lease("fleet", 3),
    lease("dock", 0, "a", "s1"),
    lease("edge", 0, "z", "s0"),
    Entry("session.s9", b"not for us", 1),
]
AGES = {"session.s1": 1.0, "session.s2": 11.0, "session.s4": 2.0, "session.s3": 40.0} | {
    "session.s5": 50.0,
    "session.s9": 0.0,
}


def test_a_survey_tells_who_lives_and_what_each_holds() -> None:
    found = survey(TOWN, AGES, PATIENCE)
    assert found.workers == (
        Surveyed("a", "live", 1.0, {"fleet": 1, "dock": 1}),
        Surveyed("b", "silent", 11.0, {"fleet": 1}),
        Surveyed("c", "silent", 40.0, {"fleet": 1}),
        Surveyed("d", "leaving", 2.0, {}),
        Surveyed("z", "silent", math.inf, {"edge": 1}),
    )
    assert (found.parts, found.free) == ({"fleet": 4, "dock": 1, "edge": 1}, {"fleet": 1})


def test_it_is_told_in_words_with_what_to_do() -> None:
    lines = {one.name: one for one in told(survey(TOWN, AGES, PATIENCE), PATIENCE)}
    assert lines["worker a"].found == "holds dock, fleet (1 of 4); heard of 1.0 s ago"
    assert lines["worker a"].remedy == ""
    assert lines["worker b"].found == "not heard of for 11 s, and still holds fleet (1 of 4)"
    assert "others that serve it take it within 10 s" in lines["worker b"].remedy
    assert lines["worker d"].found.startswith("is ending, and holds nothing")
    assert lines["worker z"].found == "not heard of any more, and still holds edge"
    assert lines["leases"].found == "nobody holds fleet (1 of 4)"
    assert "workers" not in lines


def test_a_place_without_workers_is_told_with_how_to_start_one() -> None:
    (only,) = told(survey([], {}, PATIENCE), PATIENCE)
    assert only.found == "none lives, so nothing is changed"
    assert "stateward serve --roles worker" in only.remedy
