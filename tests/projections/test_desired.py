"""The desired state is a function of the log: however it was folded, it is the same bytes."""

from collections.abc import Iterator, Sequence
from itertools import batched, pairwise

from hypothesis import given
from hypothesis import strategies as st

from bus import codec
from bus.log import StoredEvent
from domain import events as e
from domain import state
from projections.desired import DesiredState, rebuilt
from projections.replaying import replay
from tests.support.histories import UNKNOWN, Told, played, poisons, steps
from tests.support.intents import NOON

histories = st.lists(steps, min_size=20, max_size=50)
troubled = st.lists(
    st.integers(0, 15).flatmap(lambda luck: steps if luck else poisons), min_size=20, max_size=50
)
KINDS = ("App", "Project", "Target", "Secret")


def live(rows: Sequence[StoredEvent]) -> tuple[DesiredState, list[bytes]]:
    """Folded event by event, with the dump before the first and after each."""
    desired = DesiredState(codec.decode)
    dumps = [desired.dump()]
    for row in rows:
        desired.fold([row])
        dumps.append(desired.dump())
    return desired, dumps


class Shelf:
    """A history to replay, which notes what is read."""

    def __init__(self, rows: Sequence[StoredEvent], size: int) -> None:
        self._rows, self._size = rows, size
        self.read: list[int] = []

    def outlines(self, after: int) -> Iterator[tuple[list[int], list[str], list[str]]]:
        above = [row for row in self._rows if row.position > after]
        for page in batched(above, self._size):
            yield [r.position for r in page], [r.stream for r in page], [r.type for r in page]

    def payloads(self, positions: Sequence[int]) -> list[bytes]:
        self.read += positions
        found = {row.position: row.data for row in self._rows}
        return [found[position] for position in positions]


def folded(rows: Sequence[StoredEvent]) -> DesiredState:
    return rebuilt(codec.decode, [rows])


def look_at_everything(desired: DesiredState, streams: set[str]) -> None:
    for stream in streams:
        desired.app(stream)
        desired.resource(stream)
        desired.removals_of(stream)
        desired.orphans(stream)
        desired.adoptions(stream)
        desired.revisions(stream)
    list(desired.removals())
    assert desired.frozen is not None


def shown(desired: DesiredState, stream: str) -> object:
    """Everything that a reader can learn of one stream."""
    return (
        desired.app(stream),
        desired.resource(stream),
        desired.revisions(stream),
        desired.removals_of(stream),
        desired.orphans(stream),
        desired.adoptions(stream),
        desired.frozen.get(stream),
    )


@given(told=troubled)
def test_live_rebuilt_and_restored_states_are_byte_equal_at_every_prefix(told: list[Told]) -> None:
    rows = played(told)
    _, dumps = live(rows)
    for count in range(len(rows) + 1):
        assert folded(rows[:count]).dump() == dumps[count]
        restored = DesiredState(codec.decode)
        restored.load(dumps[count])
        assert restored.dump() == dumps[count]
        restored.fold(rows[count:])
        assert restored.dump() == dumps[-1]


@given(told=troubled, data=st.data())
def test_the_pages_it_is_read_in_make_no_difference(told: list[Told], data: st.DataObject) -> None:
    rows = played(told)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(rows)))) | {0, len(rows)})
    pages = [rows[a:b] for a, b in pairwise(cuts)]
    assert rebuilt(codec.decode, pages).dump() == folded(rows).dump()


@given(told=troubled, data=st.data())
def test_a_replay_that_reads_few_payloads_gives_the_same(
    told: list[Told], data: st.DataObject
) -> None:
    rows = played(told)
    start = data.draw(st.integers(0, len(rows)))
    history = Shelf(rows, size=data.draw(st.integers(1, 8)))
    desired = folded(rows[:start])
    replay(desired, history)
    assert desired.dump() == folded(rows).dump()
    assert len(history.read) == len(set(history.read))


def test_a_replay_reads_the_last_payload_of_what_shapes_a_resource() -> None:
    rows = played([])
    (web,) = [row for row in rows if row.type == "app.defined" and row.stream == "App/shop/web"]
    end = len(rows)
    later = [web._replace(position=end + n, version=1 + n, type="app.scaled") for n in (1, 2, 3)]
    history = Shelf([*rows, *later], size=100)
    desired = folded([])
    replay(desired, history)
    assert history.read[-1] == end + 3
    assert not {web.position, end + 1, end + 2} & set(history.read)
    assert not desired.without_data()


@given(told=troubled)
def test_looking_changes_nothing(told: list[Told]) -> None:
    rows = played(told)
    streams = {row.stream.partition("#")[0] for row in rows}
    _, dumps = live(rows)
    watched = DesiredState(codec.decode)
    for row, dump in zip(rows, dumps[1:], strict=True):
        watched.fold([row])
        look_at_everything(watched, streams)
        assert watched.dump() == dump
    after = folded(rows)
    assert {s: shown(watched, s) for s in streams} == {s: shown(after, s) for s in streams}


@given(told=histories)
def test_it_shows_what_the_rules_decided_against(told: list[Told]) -> None:
    rows = played(told)
    desired = folded(rows)
    streams = {row.stream for row in rows if "#" not in row.stream}
    existing = set()
    for stream in streams:
        history = [(r.position, codec.decode(r.type, r.data)) for r in rows if r.stream == stream]
        truth = state.fold(stream, history)
        assert not isinstance(truth, state.Members | state.Claims)
        resource = desired.resource(stream)
        assert (resource is not None) == truth.exists
        if resource is None:
            continue
        existing.add(stream)
        assert (resource.uid, resource.generation) == (truth.uid, truth.generation)
        assert resource.labels == truth.labels
        if isinstance(truth, state.App):
            assert resource.spec == truth.spec
            app = desired.app(stream)
            assert app is not None
            assert (app.revision, app.digest, app.image) == (
                truth.revision,
                truth.digest,
                truth.image,
            )
            assert (app.secrets, app.paused) == (truth.secrets, truth.paused)
    assert {stream for kind in KINDS for stream in desired.streams(kind)} == existing
    assert not desired.frozen


@given(told=histories)
def test_revision_n_was_made_at_index_n_less_one(told: list[Told]) -> None:
    rows = played(told)
    desired = folded(rows)
    made: dict[str, list[int]] = {}
    for row in rows:
        event = codec.decode(row.type, row.data)
        if isinstance(event, e.AppEvent) and row.type in e.REVISING:
            made.setdefault(row.stream, []).append(row.position)
            assert event.revision == len(made[row.stream])
    for stream, positions in made.items():
        assert list(desired.revisions(stream)) == positions
        app = desired.app(stream)
        assert app is None or app.revision == len(positions)


@given(told=histories)
def test_it_knows_which_rollouts_of_the_present_app_began_and_ended(told: list[Told]) -> None:
    rows = played(told)
    last: dict[tuple[str, str], tuple[int, int]] = {}
    where: dict[str, str] = {}
    for row in rows:
        event = codec.decode(row.type, row.data)
        if isinstance(event, e.RolloutCompleted):
            where[row.stream.removesuffix("#status")] = event.target
        if isinstance(event, e.RolloutStarted | e.RolloutCompleted | e.RolloutStalled):
            last[row.stream.removesuffix("#status"), row.type] = (event.uid, event.revision)
    desired = folded(rows)
    for stream in desired.streams("App"):
        app = desired.app(stream)
        assert app is not None
        begun = last.get((stream, e.RolloutStarted.type), (0, 0))
        stable = last.get((stream, e.RolloutCompleted.type), (0, 0))
        stalled = last.get((stream, e.RolloutStalled.type), (0, 0))
        assert app.stalled == (stalled[1] if stalled[0] == app.uid else 0)
        assert app.begun == (begun[1] if begun[0] == app.uid else 0)
        assert app.stable == (stable[1] if stable[0] == app.uid else 0)
        assert app.stable_target == (where[stream] if app.stable else "")


@given(told=histories)
def test_what_was_deleted_waits_for_its_engine_unless_it_is_orphaned(told: list[Told]) -> None:
    rows = played(told)
    waiting: set[tuple[str, int]] = set()
    orphaned: dict[str, list[int]] = {}
    for row in rows:
        event = codec.decode(row.type, row.data)
        if isinstance(event, e.AppDeleted) and event.orphan:
            orphaned.setdefault(row.stream, []).append(event.uid)
        elif isinstance(event, e.AppDeleted):
            waiting.add((row.stream, event.uid))
        elif isinstance(event, e.RemovalCompleted):
            waiting.discard((row.stream.removesuffix("#status"), event.uid))
    desired = folded(rows)
    assert {(one.ref.stream, one.uid) for one in desired.removals()} == waiting
    for stream in {row.stream for row in rows}:
        assert list(desired.orphans(stream)) == orphaned.get(stream, [])


@given(told=histories)
def test_an_adoption_waits_for_its_own_confirmation_or_the_end_of_its_app(
    told: list[Told],
) -> None:
    rows = played(told)
    waiting: dict[str, dict[int, str]] = {}
    for row in rows:
        event = codec.decode(row.type, row.data)
        if isinstance(event, e.AppAdopted):
            waiting.setdefault(row.stream, {})[row.position] = event.installation
        elif isinstance(event, e.AppDeleted):
            waiting.pop(row.stream, None)
        elif isinstance(event, e.AdoptionCompleted):
            waiting.get(row.stream.removesuffix("#status"), {}).pop(event.adopted, None)
    desired = folded(rows)
    assert set(desired.adopting()) == {stream for stream, asked in waiting.items() if asked}
    for stream in {row.stream for row in rows}:
        known = {one.position: one.installation for one in desired.adoptions(stream)}
        assert known == waiting.get(stream, {})


@given(told=troubled)
def test_a_poisoned_stream_freezes_itself_alone_as_it_was(told: list[Told]) -> None:
    rows = played(told)
    poisoned: dict[str, int] = {}
    for row in rows:
        if row.type == UNKNOWN and not row.stream.endswith("#status"):
            poisoned.setdefault(row.stream.partition("#")[0], row.position)
    desired = folded(rows)
    assert set(desired.frozen) == set(poisoned)
    sound = folded([row for row in rows if row.type != UNKNOWN])
    for stream in {row.stream for row in rows} - set(poisoned):
        assert shown(desired, stream) == shown(sound, stream)
    for stream, position in poisoned.items():
        before = folded([row for row in rows if row.position < position])
        app = desired.app(stream)
        good = before.app(stream)
        assert (app is None) == (good is None)
        assert app is None or good is None or (app.spec, app.revision) == (good.spec, good.revision)


def test_what_comes_after_an_unknown_event_is_not_believed() -> None:
    rows = played([])
    (web,) = [row for row in rows if row.type == "app.defined" and row.stream == "App/shop/web"]
    end = len(rows)
    later = web._replace(position=end + 2, version=3, type="app.restarted")
    gone = e.AppDeleted(actor="a", cause="k", at=NOON, uid=web.position, revision=1, target="local")
    rows += [
        StoredEvent(end + 1, web.stream, 2, UNKNOWN, b"{}"),
        later,
        StoredEvent(end + 3, web.stream, 4, gone.type, codec.encode(gone)),
    ]
    desired = folded(rows)
    app = desired.app(web.stream)
    assert app is not None
    assert app.position == web.position
    assert list(desired.revisions(web.stream)) == [web.position]
    assert not list(desired.removals())
    assert desired.position == end + 3


def test_a_damaged_event_freezes_its_stream_as_soon_as_somebody_looks() -> None:
    desired = DesiredState(codec.decode)
    desired.fold([StoredEvent(1, "App/shop/web", 1, "app.scaled", b"{")])
    before = desired.dump()
    assert desired.app("App/shop/web") is None
    assert "App/shop/web" in desired.frozen
    assert desired.dump() == before


def test_a_state_that_takes_over_another_forgets_all_of_its_own() -> None:
    desired = DesiredState(codec.decode)
    desired.fold([StoredEvent(1, "App/shop/web", 1, "app.scaled", b"{")])
    assert desired.app("App/shop/web") is None
    desired.load(DesiredState(codec.decode).dump())
    assert not desired.frozen
    assert desired.position == 0
