"""The no-op sweep in memory: 100,000 apps that are as they should be, found so in one loop.

What should run comes from the log's events, what does run from an engine's list, so that no
string and no object is shared. The floor compares as many pairs of msgspec Structs with `==`.
"""

import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from bus import codec
from domain import events as e
from domain.target import TargetSpec
from projections.desired import DesiredState
from reconcilers.differing import Wanted, differing
from reconcilers.ports import Replica, ReplicaName, ReplicaState
from reconcilers.targets import TargetView
from tests.benchmarks.rows import Promise, Row, Times, millis, show

APPS = 100_000
ROUNDS = 15

SWEEP = Promise(f"no-op sweep of {APPS:,} apps in memory", "msgspec == loop", at_least=1.0)
PROMISES = (SWEEP,)
HOW = (
    f"What should run is folded from events, what runs is decoded from a list of {APPS:,} replicas"
    " in no order, so nothing is shared. Ours is `reconcilers.differing.differing`; the floor looks"
    f" up and compares as many pairs of Structs of four fields. {ROUNDS} alternating rounds."
)
_SPEC = msgspec.Raw(b'{"target":"local","command":["a"],"replicas":1,"running":true}')
_STAMP = {"actor": "user:alice", "cause": "k", "at": datetime(2030, 1, 1, tzinfo=UTC)}


class Pair(msgspec.Struct, frozen=True):
    """One side of a pair, as a plain comparison would have it."""

    uid: int
    revision: int
    digest: str
    replicas: int


def _stream(number: int) -> str:
    return f"App/p{number % 100}/a{number}"


def _wanted() -> dict[str, str]:
    desired = DesiredState(codec.decode)
    for number in range(APPS):
        stream, uid = _stream(number), number + 1
        defined = e.AppDefined(uid=uid, revision=1, digest=_digest(number), spec=_SPEC, **_STAMP)  # type: ignore[arg-type]
        completed = e.RolloutCompleted(uid=uid, revision=1, **_STAMP)  # type: ignore[arg-type]
        desired.fold([(2 * number + 1, stream, 1, defined.type, codec.encode(defined))])
        row = (2 * number + 2, f"{stream}#status", 1, completed.type, codec.encode(completed))
        desired.fold([row])
    return Wanted(desired).of("local")


def _digest(number: int) -> str:
    return f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}"


def _listed() -> list[Replica]:
    listed = [
        Replica(
            id=f"c{number}",
            name=ReplicaName(f"p{number % 100}", f"a{number}", 1, 0, 1),
            uid=number + 1,
            digest=_digest(number),
            position=number,
            state=ReplicaState.RUNNING,
        )
        for number in range(APPS)
    ]
    random.Random(1).shuffle(listed)
    return msgspec.json.decode(msgspec.json.encode(listed), type=list[Replica])


def _pairs() -> tuple[dict[str, Pair], dict[str, Pair]]:
    wanted = {_stream(n): Pair(n + 1, 1, _digest(n), 1) for n in range(APPS)}
    listed = list(wanted.items())
    random.Random(1).shuffle(listed)
    return wanted, msgspec.json.decode(msgspec.json.encode(dict(listed)), type=dict[str, Pair])


def measure() -> Sequence[Row]:
    wanted = _wanted()
    view = TargetView("local", TargetSpec(engine="simulated"), now=time.monotonic, check=_unseen)
    view.take(_listed())
    left, right = _pairs()
    floor, ours = Times(), Times()
    for _ in range(ROUNDS):
        with floor.taken():
            get = right.get
            assert not [stream for stream, pair in left.items() if get(stream) != pair]
        with ours.taken():
            assert not differing(wanted, view)
    ratio = floor.median / ours.median
    return [SWEEP.kept(ratio, ours=millis(ours.median), floor=millis(floor.median))]


def _unseen(_position: int, _witness: str) -> None:
    return


if __name__ == "__main__":
    raise SystemExit(0 if show(measure()) else 1)
