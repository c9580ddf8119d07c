"""What the resolvers answer: weights, fallbacks, and packets that are nothing."""

import random
import struct
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.caddy import dns
from adapters.caddy.resolver import Resolver
from adapters.caddy.snapshot import Place, Pool, Snapshot, Target, host_name, ip_of

ONE, TWO = Place("10.0.0.1", 80, 1), Place("10.0.0.2", 81, 1)
PAGE = Target(host_name("127.0.0.1"), 5300, 1)


def snapshot(pool: Pool, **places: tuple[Place, ...]) -> Snapshot:
    return Snapshot(5300, {"p.internal": pool}, places)


def found(pool: Pool, **places: tuple[Place, ...]) -> dict[tuple[str | None, int], int]:
    targets = snapshot(pool, **places).targets("p.internal")
    return {(ip_of(one.name), one.port): one.weight for one in targets}


# --- pools ------------------------------------------------------------------------------------


def test_a_backend_has_its_part_however_many_places_it_has() -> None:
    pool = Pool((("a", 3), ("b", 1)), ())
    three = tuple(Place("10.0.0.1", number, 1) for number in (1, 2, 3))
    assert sorted(found(pool, a=three, b=(TWO,)).values()) == [1, 1, 1, 1]
    assert found(pool, a=(ONE,), b=(TWO,)) == {("10.0.0.1", 80): 3, ("10.0.0.2", 81): 1}


def test_weights_of_places_are_within_their_backend() -> None:
    pool = Pool((("a", 1),), ())
    heavy = ONE._replace(weight=6)
    assert found(pool, a=(heavy, TWO._replace(weight=2))) == {
        ("10.0.0.1", 80): 3,
        ("10.0.0.2", 81): 1,
    }


def test_what_has_no_place_or_no_weight_leaves_its_part_to_the_others() -> None:
    pool = Pool((("a", 5), ("b", 1), ("c", 0)), ())
    assert found(pool, b=(TWO,), c=(ONE,)) == {("10.0.0.2", 81): 1}
    assert found(pool, a=(ONE._replace(weight=0),), b=(TWO,)) == {("10.0.0.2", 81): 1}


def test_the_fallback_is_only_for_when_nothing_else_is_there() -> None:
    pool = Pool((("a", 1),), (("b", 1),))
    assert found(pool, a=(ONE,), b=(TWO,)) == {("10.0.0.1", 80): 1}
    assert found(pool, b=(TWO,)) == {("10.0.0.2", 81): 1}


def test_where_nothing_is_there_is_the_page_that_says_so() -> None:
    assert snapshot(Pool((("a", 1),), ())).targets("p.internal") == [PAGE]
    assert snapshot(Pool((), ())).targets("another.internal") == [PAGE]


def test_a_context_that_is_gone_is_answered_as_its_base() -> None:
    base, context = Pool((("a", 1),), ()), Pool((("b", 1),), (("a", 1),))
    pools = {"p.internal": base, "feature.r1.p.internal": context}
    known = Snapshot(5300, pools, {"a": (ONE,), "b": (TWO,)})
    assert [one.port for one in known.targets("feature.r1.p.internal")] == [81]
    assert [one.port for one in known.targets("other.r1.p.internal")] == [80]
    assert known.targets("other.r1.gone.internal") == [PAGE]


weights = st.lists(st.integers(0, 7), max_size=4)


@given(st.lists(st.tuples(st.integers(0, 9), weights), min_size=1, max_size=4))
def test_the_parts_are_exactly_what_the_weights_say(backends: list[tuple[int, list[int]]]) -> None:
    places = {
        str(number): tuple(Place("10.0.0.1", 100 * number + at, w) for at, w in enumerate(weighed))
        for number, (_, weighed) in enumerate(backends)
    }
    shares = tuple((str(number), weight) for number, (weight, _) in enumerate(backends))
    alive = {number: w for number, (w, weighed) in enumerate(backends) if w and sum(weighed)}
    parts = found(Pool(shares, ()), **places)
    if not alive:
        assert parts == {("127.0.0.1", 5300): 1}
        return
    total, whole = sum(parts.values()), sum(alive.values())
    for (_, port), part in parts.items():
        number, at = divmod(port, 100)
        weighed = backends[number][1]
        expected = Fraction(alive[number], whole) * Fraction(weighed[at], sum(weighed))
        assert Fraction(part, total) == expected


def test_a_snapshot_is_read_as_it_was_written() -> None:
    written = snapshot(Pool((("a", 1),), (("b", 2),)), a=(ONE,), b=(TWO, ONE))
    assert Snapshot.decode(written.encode()) == written


# --- names and packets ------------------------------------------------------------------------


@pytest.mark.parametrize("ip", ["127.0.0.1", "10.20.30.40", "2001:db8::1", "::1"])
def test_a_name_stands_for_an_address(ip: str) -> None:
    back = ip_of(host_name(ip))
    assert back is not None
    assert dns.packed_ip(back) == dns.packed_ip(ip)


@pytest.mark.parametrize("name", ["zz000001.internal", "7f0001.internal", "7f000001.org", ""])
def test_other_names_stand_for_none(name: str) -> None:
    assert ip_of(name) is None


def question(name: str, kind: int) -> bytes:
    labels = b"".join(bytes((len(one),)) + one.encode() for one in name.split("."))
    return struct.pack("!6H", 7, 0x0100, 1, 0, 0, 1) + labels + b"\0" + struct.pack("!2H", kind, 1)


def servers(answer: bytes) -> list[tuple[str, int]]:
    """The targets of an SRV answer, read as a client reads it."""
    number, flags, questions, count, _, _ = struct.unpack_from("!6H", answer)
    assert (number, flags & 0x8000, flags & 0xF, questions) == (7, 0x8000, 0, 1)
    at = answer.index(b"\0", 12) + 5
    result = []
    for _ in range(count):
        pointer, kind, net, ttl, length = struct.unpack_from("!3HIH", answer, at)
        assert (pointer, kind, net, ttl) == (0xC00C, dns.SRV, 1, 0)
        _, _, port = struct.unpack_from("!3H", answer, at + 12)
        labels, place = [], at + 18
        while size := answer[place]:
            labels.append(answer[place + 1 : place + 1 + size].decode())
            place += 1 + size
        assert place + 1 == at + 12 + length
        result.append((".".join(labels), port))
        at += 12 + length
    assert at == len(answer)
    return result


@pytest.fixture
def resolver(tmp_path: Path) -> Resolver:
    return Resolver(str(tmp_path / "snapshot"), random.Random(1))


def write(path: Path, snapshot: Snapshot) -> None:
    fresh = path / "fresh"
    fresh.write_bytes(snapshot.encode())
    fresh.replace(path / "snapshot")


def test_a_weight_is_so_many_records(resolver: Resolver, tmp_path: Path) -> None:
    write(tmp_path, snapshot(Pool((("a", 3), ("b", 1)), ()), a=(ONE,), b=(TWO,)))
    answer = resolver.answer(question("P.Internal", dns.SRV))
    assert answer is not None
    assert Counter(servers(answer)) == {("0a000001.internal", 80): 3, ("0a000002.internal", 81): 1}


def test_the_next_answer_is_from_the_next_file(resolver: Resolver, tmp_path: Path) -> None:
    for place in (ONE, TWO, ONE):
        write(tmp_path, snapshot(Pool((("a", 1),), ()), a=(place,)))
        answer = resolver.answer(question("p.internal", dns.SRV))
        assert answer is not None
        assert servers(answer) == [(host_name(place.host), place.port)]


def test_a_file_that_cannot_be_read_changes_nothing(resolver: Resolver, tmp_path: Path) -> None:
    write(tmp_path, snapshot(Pool((("a", 1),), ()), a=(ONE,)))
    before = resolver.answer(question("p.internal", dns.SRV))
    for text in ("", "{", "[]", '{"page":1}', '{"page":1,"pools":{"a":1},"places":{}}'):
        (tmp_path / "fresh").write_text(text)
        (tmp_path / "fresh").replace(tmp_path / "snapshot")
        assert resolver.answer(question("p.internal", dns.SRV)) == before


def test_too_many_targets_come_in_turns_and_fit_into_a_packet(
    resolver: Resolver, tmp_path: Path
) -> None:
    many = tuple(Place(f"2001:db8::{number:x}", 65535, 1) for number in range(1, 61))
    name = f"p{'0' * 16}.internal"
    write(tmp_path, Snapshot(5300, {name: Pool((("a", 1),), ())}, {"a": many}))
    seen: Counter[tuple[str, int]] = Counter()
    for _ in range(400):
        answer = resolver.answer(question(name, dns.SRV))
        assert answer is not None
        assert len(answer) <= 1232
        seen.update(servers(answer))
    assert len(seen) == len(many)
    assert min(seen.values()) > 60  # of 126 each, were it not for luck


def test_addresses_are_answered_by_their_kind(resolver: Resolver) -> None:
    four, six = host_name("127.0.0.1"), host_name("::1")
    counts = {
        (name, kind): struct.unpack_from("!H", resolver.answer(question(name, kind)) or b"", 6)[0]
        for name in (four, six)
        for kind in (dns.A, dns.AAAA)
    }
    assert counts == {(four, dns.A): 1, (four, dns.AAAA): 0, (six, dns.A): 0, (six, dns.AAAA): 1}
    answer = resolver.answer(question(four, dns.A))
    assert answer is not None
    assert answer.endswith(bytes((127, 0, 0, 1)))


def test_no_other_name_is_known(resolver: Resolver) -> None:
    answer = resolver.answer(question("example.org", dns.A))
    assert answer is not None
    assert answer[3] & 0xF == 3


@given(st.binary(max_size=80))
def test_whatever_arrives_is_answered_or_dropped(packet: bytes) -> None:
    answer = Resolver("/nowhere", random.Random(1)).answer(packet)
    assert answer is None or answer[:2] == packet[:2]


@pytest.mark.parametrize(
    "change", [(2, 0x80), (5, 2), (12, 0xC0)], ids=["answer", "two", "pointer"]
)
def test_what_is_no_plain_question_is_dropped(change: tuple[int, int]) -> None:
    packet = bytearray(question("p.internal", dns.SRV))
    packet[change[0]] = change[1]
    assert dns.parse(bytes(packet)) is None
