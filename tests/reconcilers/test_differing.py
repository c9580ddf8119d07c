"""What should run where: kept up to date event by event, it is what a fresh look would find."""

from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from bus import codec
from domain import events as e
from projections.desired import DesiredState
from reconcilers.differing import Wanted

TARGETS = ("local", "spare")
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)

definitions = st.tuples(
    st.sampled_from(["web", "api"]), st.sampled_from(TARGETS), st.integers(0, 2), st.booleans()
)


def spec(target: str, replicas: int) -> msgspec.Raw:
    return msgspec.Raw(
        b'{"target":"%b","command":["a"],"replicas":%d,"running":true}'
        % (target.encode(), replicas)
    )


@given(st.lists(definitions, max_size=12))
def test_what_is_kept_up_to_date_is_what_a_fresh_look_finds(
    history: list[tuple[str, str, int, bool]],
) -> None:
    desired = DesiredState(codec.decode)
    kept = Wanted(desired)
    for position, (name, target, replicas, looked_at) in enumerate(history, start=1):
        stream = f"App/shop/{name}"
        defined = e.AppDefined(
            actor="user:ada",
            cause="k",
            at=NOON,
            uid=1,
            revision=position,
            digest=f"{position:016x}",
            spec=spec(target, replicas),
        )
        desired.fold([(position, stream, position, defined.type, codec.encode(defined))])
        kept.moved(stream)
        if looked_at:
            assert kept.of("local") == fresh(desired)["local"]
    assert {one: kept.of(one) for one in TARGETS} == fresh(desired)


def fresh(desired: DesiredState) -> dict[str, dict[str, str]]:
    wanted = Wanted(desired)
    return {one: dict(wanted.of(one)) for one in TARGETS}
