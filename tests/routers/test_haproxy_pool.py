"""The pool of backends, and the slots of servers: what is kept, taken, freed and when it grows."""

from hypothesis import given
from hypothesis import strategies as st

from adapters.haproxy.pool import STOCK, Group, Pool
from adapters.haproxy.servers import (
    EMPTY,
    HEAVIEST,
    Server,
    Slots,
    commands,
    servers_of,
    slots_with,
)
from projections.route_table import Backend, Endpoint, Share
from tests.support.route_tables import API, FEATURE, WEB, shares

ONE, TWO, THREE = (Endpoint("10.0.0.1", number) for number in (81, 82, 83))


def group(number: int, *, h2c: bool = False) -> Group:
    return Group(shares(Backend(f"App/shop/a{number}", number, "http")), (), h2c)


def test_a_group_keeps_its_backend_whatever_comes_and_goes() -> None:
    first = Pool.fresh().taking([group(1), group(2)])
    kept = first.backends[group(2)]
    later = first.keeping([group(2)]).taking([group(3), group(2), group(1)])
    assert later.backends[group(2)] == kept


def test_a_backend_that_was_freed_is_taken_again_last() -> None:
    pool = Pool.fresh().taking([group(1)])
    freed = pool.backends[group(1)]
    pool = pool.keeping([])
    for number in range(2, STOCK["b"] + 1):
        pool = pool.taking([group(number)])
        assert pool.backends[group(number)] != freed
    assert pool.taking([group(99)]).backends[group(99)] == freed


def test_a_full_pool_doubles_and_moves_nobody() -> None:
    full = Pool.fresh().taking(group(number) for number in range(STOCK["b"]))
    grown = full.taking([group(1000)])
    assert full.sizes == STOCK
    assert grown.sizes == {**STOCK, "b": STOCK["b"] * 2}
    assert {key: grown.backends[key] for key in full.backends} == dict(full.backends)
    assert grown.backends[group(1000)] not in full.names


def test_a_group_that_speaks_h2c_gets_a_backend_that_does() -> None:
    pool = Pool.fresh().taking([group(1, h2c=True), group(1)])
    assert pool.backends[group(1, h2c=True)][0] == "h"
    assert pool.backends[group(1)][0] == "b"


def test_shares_divide_requests_whatever_the_number_of_their_replicas() -> None:
    split = Group((Share(WEB, 9), Share(FEATURE, 1)), (), h2c=False)
    servers = servers_of(split, {WEB: (ONE, TWO), FEATURE: (THREE,)})
    assert [server.weight for server in servers] == [9, 9, 2]


def test_a_weight_that_is_too_fine_for_haproxy_is_rounded_and_never_lost() -> None:
    split = Group((Share(WEB, 100_000), Share(FEATURE, 1)), (), h2c=False)
    servers = servers_of(split, {WEB: (ONE,), FEATURE: (TWO,)})
    assert [server.weight for server in servers] == [HEAVIEST, 1]


def test_a_share_without_weight_gets_nothing() -> None:
    split = Group((Share(WEB, 0), Share(FEATURE, 1)), (), h2c=False)
    assert servers_of(split, {WEB: (ONE,), FEATURE: (TWO,)}) == (Server("10.0.0.1", 82, 1),)


def test_the_fallback_is_asked_only_when_no_share_has_an_endpoint() -> None:
    context = Group(shares(FEATURE), shares(WEB), h2c=False)
    assert servers_of(context, {FEATURE: (ONE,), WEB: (TWO,)}) == (Server("10.0.0.1", 81, 1),)
    assert servers_of(context, {FEATURE: (), WEB: (TWO,)}) == (Server("10.0.0.1", 82, 1),)
    assert servers_of(context, {API: (TWO,)}) == ()


def test_a_new_server_is_ready_before_an_old_one_goes() -> None:
    before = slots_with(EMPTY, [Server("10.0.0.1", 81, 1)])
    after = slots_with(before, [Server("10.0.0.1", 82, 1)])
    assert list(commands("b1", before, after)) == [
        "set server b1/s2 addr 10.0.0.1 port 82",
        "set server b1/s2 weight 1",
        "set server b1/s2 state ready",
        "set server b1/s1 state maint",
    ]


def test_more_servers_than_slots_make_slots() -> None:
    servers = [Server("10.0.0.1", number, 1) for number in range(1, 6)]
    after = slots_with(EMPTY, servers)
    assert list(commands("h1", EMPTY, after))[-2:] == [
        "add server h1/s5 10.0.0.1:5 weight 1 proto h2",
        "enable server h1/s5",
    ]


SERVERS = st.dictionaries(st.integers(1, 9), st.integers(1, 3)).map(
    lambda weights: [Server("10.0.0.1", number, weight) for number, weight in weights.items()]
)


def told(slots: Slots, lines: list[str]) -> Slots:
    """What HAProxy has in its slots after commands, read by their words."""
    now: list[Server | None] = list(slots)
    pending: dict[int, Server] = {}
    for line in lines:
        words = line.split()
        at = int(words[2].split("/s")[1]) - 1
        match words:
            case ["set", "server", _, "addr", host, "port", number]:
                pending[at] = Server(host, int(number), 1)
            case ["set", "server", _, "weight", weight]:
                known = pending.get(at) or now[at]
                assert known
                changed = known._replace(weight=int(weight))
                if at in pending:
                    pending[at] = changed
                else:
                    now[at] = changed
            case ["set", "server", _, "state", "ready"]:
                now[at] = pending.pop(at)
            case ["set", "server", _, "state", "maint"]:
                now[at] = None
            case ["add", "server", _, address, "weight", weight, *_]:
                assert at == len(now)
                host, _, number = address.rpartition(":")
                now.append(Server(host, int(number), int(weight)))
            case ["enable", "server", _]:
                pass
            case _:
                raise AssertionError(line)
    return tuple(now)


@given(st.lists(SERVERS, min_size=1, max_size=5))
def test_commands_bring_slots_to_what_is_wanted_and_move_no_server(
    rounds: list[list[Server]],
) -> None:
    slots = EMPTY
    for servers in rounds:
        after = slots_with(slots, servers)
        assert told(slots, list(commands("b1", slots, after))) == after
        assert sorted(one for one in after if one) == sorted(servers)
        places = {one.address: at for at, one in enumerate(slots) if one}
        for at, one in enumerate(after):
            if one and one.address in places:
                assert places[one.address] == at
        slots = after
