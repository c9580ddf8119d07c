"""What intents on apps bring about, decided by the real rules through the intent service."""

import asyncio

import pytest

from bus import codec
from bus.intents import RecordedRefusal
from bus.log import KeyReused
from bus.secrets import SecretUnavailable
from domain import access, state
from domain import app as spec_of
from domain import events as e
from domain import intents as i
from domain.access import Actor, Role, part_of_ours
from domain.names import Ref, app, target
from domain.refusals import BadValue, Forbidden, InUse, NotFound, NotPossible, Stale
from tests.support.intents import Desk, manifest

WEB = app("shop", "web")


async def present(desk: Desk, ref: Ref = WEB) -> state.App:
    found = await desk.service.present(ref.stream)
    assert isinstance(found, state.App)
    return found


async def spec(desk: Desk) -> spec_of.AppSpec:
    return spec_of.decode((await present(desk)).spec)


@pytest.fixture
async def desk() -> Desk:
    desk = Desk()
    await desk.furnish()
    await desk.send(manifest("App", "web", {"image": "web:1"}))
    return desk


async def test_a_new_app_gets_revision_1_and_every_default(desk: Desk) -> None:
    now = await present(desk)
    assert (now.revision, now.generation, now.uid) == (1, now.uid, now.uid)
    complete = await spec(desk)
    assert (complete.target, complete.replicas, complete.running) == ("local", 1, True)
    assert complete.rollout.strategy == "startFirst"


async def test_an_equal_apply_adds_no_event(desk: Desk) -> None:
    before = len(desk.log.events)
    answer = await desk.send(manifest("App", "web", {"image": "web:1"}))
    assert (len(desk.log.events), answer.changes[0].result) == (before, "unchanged")


@pytest.mark.parametrize("image", ["shop/Web:1", "web:", "web::1", "a//b", "web:1@sha256", "-/web"])
async def test_an_image_that_no_engine_can_read_is_refused(desk: Desk, image: str) -> None:
    with pytest.raises(BadValue, match=r"no name of an image; write \[HOST/\]NAME"):
        await desk.send(manifest("App", "web", {"image": image}))


@pytest.mark.parametrize(
    "image",
    ["registry.example:5000/shop_a/web--x.y:V1.2_3", "LOCAL/web", "a@sha256:feed", "sha256:0a1b"],
)
async def test_an_image_is_read_as_engines_do(desk: Desk, image: str) -> None:
    await desk.send(manifest("App", "web", {"image": image}))
    assert (await present(desk)).revision == 2


async def test_a_rollout_that_may_neither_start_nor_stop_anything_is_refused(desk: Desk) -> None:
    """Whether its strategy was written or is the default; with volumes, the default is another."""
    stuck = {"maxSurge": 0, "maxUnavailable": 0}
    for rollout in (stuck, {**stuck, "strategy": "startFirst"}):
        with pytest.raises(BadValue, match="one of them must be at least 1"):
            await desk.send(manifest("App", "web", {"image": "web:1", "rollout": rollout}))
    volumes = [{"name": "data", "path": "/data"}]
    await desk.send(manifest("App", "web", {"image": "a", "rollout": stuck, "volumes": volumes}))


async def test_a_scale_survives_the_next_apply(desk: Desk) -> None:
    await desk.send(i.Scale(ref=WEB, replicas=5))
    await desk.send(i.Stop(ref=WEB))
    await desk.send(manifest("App", "web", {"image": "web:2"}))
    now = await spec(desk)
    assert (now.replicas, now.running, now.image) == (5, False, "web:2")


async def test_scaling_makes_no_revision_and_a_new_image_does(desk: Desk) -> None:
    await desk.send(i.Scale(ref=WEB, replicas=5))
    assert (await present(desk)).revision == 1
    await desk.send(manifest("App", "web", {"image": "web:2"}))
    assert (await present(desk)).revision == 2


async def test_an_apply_that_only_scales_is_recorded_as_scaling(desk: Desk) -> None:
    await desk.send(manifest("App", "web", {"image": "web:1", "replicas": 3}))
    assert desk.types[-1] == "app.scaled"


async def test_restart_makes_a_revision_with_an_equal_spec(desk: Desk) -> None:
    before = await present(desk)
    await desk.send(i.Restart(ref=WEB))
    after = await present(desk)
    assert (after.revision, after.digest, after.spec) == (2, before.digest, before.spec)


async def test_a_delete_says_how_long_the_last_spec_lets_replicas_take(desk: Desk) -> None:
    asked = {"image": "web:1", "stopGrace": "2m", "rollout": {"drain": "7s"}}
    await desk.send(manifest("App", "web", asked))
    await desk.send(i.Delete(ref=WEB))
    (gone,) = [codec.decode(one.type, one.data) for one in desk.log.events if "deleted" in one.type]
    assert isinstance(gone, e.AppDeleted)
    assert (gone.drain, gone.stop_grace) == ("7s", "2m")


async def test_undo_returns_to_the_spec_and_the_image_but_keeps_the_scale(desk: Desk) -> None:
    resolved = i.ResolveImage(ref=WEB, revision=1, image="sha256:one")
    await desk.send(resolved, actor=part_of_ours("images"))
    await desk.send(manifest("App", "web", {"image": "web:2", "replicas": 4}))
    await desk.send(i.Undo(ref=WEB))
    now = await present(desk)
    assert (now.revision, now.image) == (3, "sha256:one")
    assert ((await spec(desk)).image, (await spec(desk)).replicas) == ("web:1", 4)


async def test_undo_to_what_runs_already_or_never_was_is_refused(desk: Desk) -> None:
    with pytest.raises(NotFound, match="revision 7"):
        await desk.send(i.Undo(ref=WEB, to=7))
    await desk.send(i.Restart(ref=WEB))
    with pytest.raises(NotPossible, match="nothing to undo"):
        await desk.send(i.Undo(ref=WEB, to=1))


async def test_undo_passes_over_revisions_that_run_the_same(desk: Desk) -> None:
    await desk.send(manifest("App", "web", {"image": "web:2"}))
    for _ in range(3):
        await desk.send(i.Restart(ref=WEB))
    await desk.send(i.Undo(ref=WEB))
    assert ((await present(desk)).revision, (await spec(desk)).image) == (6, "web:1")
    await desk.send(i.Undo(ref=WEB))
    assert ((await present(desk)).revision, (await spec(desk)).image) == (7, "web:2")


async def test_undo_takes_back_a_refresh(desk: Desk) -> None:
    images = part_of_ours("images")
    await desk.send(i.ResolveImage(ref=WEB, revision=1, image="sha256:one"), actor=images)
    await desk.send(i.Refresh(ref=WEB))
    await desk.send(i.ResolveImage(ref=WEB, revision=2, image="sha256:two"), actor=images)
    await desk.send(i.Undo(ref=WEB))
    assert (await present(desk)).image == "sha256:one"


async def test_undo_never_returns_to_an_app_that_was_deleted(desk: Desk) -> None:
    await desk.send(i.Delete(ref=WEB))
    await desk.send(manifest("App", "web", {"image": "web:2"}))
    with pytest.raises(NotPossible, match="nothing to undo"):
        await desk.send(i.Undo(ref=WEB))
    with pytest.raises(NotFound, match="revision 1"):
        await desk.send(i.Undo(ref=WEB, to=1))
    await desk.send(manifest("App", "web", {"image": "web:3"}))
    await desk.send(i.Undo(ref=WEB))
    assert (await spec(desk)).image == "web:2"


async def test_undo_needs_what_the_former_spec_needs(desk: Desk) -> None:
    await desk.send(manifest("Secret", "db", {"data": {"password": "one"}}))
    env = {"P": {"secretRef": {"name": "db", "key": "password"}}}
    await desk.send(manifest("App", "web", {"image": "web:1", "env": env}))
    await desk.send(manifest("Secret", "db", {"data": {"password": "two"}}))
    rotated = await present(desk)
    await desk.send(i.Undo(ref=WEB))
    assert (await present(desk)).secrets["db"] != rotated.secrets["db"]
    await desk.send(manifest("App", "web", {"image": "web:1"}))
    await desk.send(i.Delete(ref=Ref("Secret", "shop", "db")))
    with pytest.raises(NotFound, match="Secret/shop/db"):
        await desk.send(i.Undo(ref=WEB, to=rotated.revision))
    await desk.send(manifest("Secret", "db", {"data": {"password": "three"}}))
    await desk.send(i.Undo(ref=WEB, to=rotated.revision))
    made = await desk.service.present("Secret/shop/db")
    assert isinstance(made, state.Secret)
    assert (await present(desk)).secrets == {"db": made.token}
    assert "P" in (await spec(desk)).env


async def test_undo_to_a_target_that_runs_another_engine_now_is_refused(desk: Desk) -> None:
    await desk.send(manifest("Target", "other", {"engine": "simulated"}))
    await desk.send(manifest("App", "web", {"image": "web:1", "target": "other"}))
    await desk.send(manifest("App", "web", {"image": "web:1", "target": "local"}))
    await desk.send(manifest("Target", "other", {"engine": "process"}))
    with pytest.raises(BadValue, match="runs process"):
        await desk.send(i.Undo(ref=WEB))


async def test_a_resolved_image_belongs_to_its_revision_only(desk: Desk) -> None:
    resolve = i.ResolveImage(ref=WEB, revision=1, image="sha256:one")
    generation = (await present(desk)).generation
    await desk.send(resolve, actor=part_of_ours("images"))
    assert ((await present(desk)).image, (await present(desk)).generation) == (
        "sha256:one",
        generation,
    )
    await desk.send(i.Restart(ref=WEB))
    assert (await present(desk)).image == "sha256:one"
    await desk.send(i.Refresh(ref=WEB))
    assert (await present(desk)).image is None
    await desk.send(resolve, actor=part_of_ours("images"))
    assert (await present(desk)).image is None


async def test_a_pause_holds_the_revision_and_records_changes(desk: Desk) -> None:
    await desk.send(i.Hold(ref=WEB, reason="incident 7"))
    await desk.send(manifest("App", "web", {"image": "web:2"}))
    now = await present(desk)
    assert now.paused is not None
    assert (now.paused.revision, now.revision) == (1, 2)
    await desk.send(i.Resume(ref=WEB))
    assert (await present(desk)).paused is None


async def test_revision_numbers_go_on_after_delete_and_create(desk: Desk) -> None:
    first = (await present(desk)).uid
    await desk.send(i.Delete(ref=WEB))
    assert not (await present(desk)).exists
    await desk.send(manifest("App", "web", {"image": "web:1"}))
    again = await present(desk)
    assert again.revision == 2
    assert again.uid > first


async def test_a_stale_generation_is_refused_with_both_numbers(desk: Desk) -> None:
    generation = (await present(desk)).generation
    await desk.send(i.Scale(ref=WEB, replicas=2))
    with pytest.raises(Stale) as refusal:
        await desk.send(manifest("App", "web", {"image": "web:2"}, generation=generation))
    assert refusal.value.details["asked"] == generation
    assert refusal.value.details["actual"] > generation  # type: ignore[operator]


async def test_the_same_key_gives_the_same_answer_and_one_effect(desk: Desk) -> None:
    first = await desk.send(i.Scale(ref=WEB, replicas=3), key="once")
    again = await desk.send(i.Scale(ref=WEB, replicas=3), key="once")
    assert (again.position, again.changes, again.repeated) == (first.position, first.changes, True)
    assert desk.types.count("app.scaled") == 1


async def test_the_same_key_gives_the_same_refusal_although_it_would_now_pass(desk: Desk) -> None:
    other = app("shop", "api")
    with pytest.raises(NotFound):
        await desk.send(i.Scale(ref=other, replicas=3), key="early")
    await desk.send(manifest("App", "api", {"image": "api:1"}))
    with pytest.raises(RecordedRefusal, match="does not exist"):
        await desk.send(i.Scale(ref=other, replicas=3), key="early")


async def test_a_key_for_another_intent_is_refused(desk: Desk) -> None:
    await desk.send(i.Scale(ref=WEB, replicas=3), key="once")
    with pytest.raises(KeyReused):
        await desk.send(i.Scale(ref=WEB, replicas=4), key="once")


async def test_racing_producers_both_win_in_some_order(desk: Desk) -> None:
    await asyncio.gather(*(desk.send(i.Restart(ref=WEB)) for _ in range(20)))
    assert (await present(desk)).revision == 21


async def test_racing_creations_in_one_project_all_succeed(desk: Desk) -> None:
    names = [f"a{n}" for n in range(40)]
    await asyncio.gather(*(desk.send(manifest("App", n, {"image": "x:1"})) for n in names))
    members = await desk.service.present("Project/shop#members")
    assert isinstance(members, state.Members)
    assert len(members.members) == 41


async def test_a_set_is_appended_whole_or_not_at_all(desk: Desk) -> None:
    before = len(desk.log.events)
    with pytest.raises(NotFound, match="Target/mars"):
        await desk.send(
            manifest("App", "api", {"image": "api:1"}),
            manifest("App", "bad", {"image": "bad:1", "target": "mars"}),
        )
    assert len(desk.log.events) == before


async def test_a_set_may_make_the_project_and_the_secret_its_apps_need(desk: Desk) -> None:
    await desk.send(
        manifest("Project", "blog", {}),
        manifest("Secret", "db", {"data": {"password": "hunter2"}}, project="blog"),
        manifest(
            "App",
            "web",
            {"image": "x", "env": {"P": {"secretRef": {"name": "db", "key": "password"}}}},
            project="blog",
        ),
    )
    assert (await present(desk, app("blog", "web"))).secrets.keys() == {"db"}
    assert b"hunter2" not in b"".join(event.data for event in desk.log.events)


async def test_a_new_secret_value_is_a_new_revision_of_its_users_only(desk: Desk) -> None:
    await desk.send(manifest("Secret", "db", {"data": {"password": "one"}}))
    env = {"P": {"secretRef": {"name": "db", "key": "password"}}}
    await desk.send(manifest("App", "api", {"image": "x", "env": env}))
    await desk.send(manifest("Secret", "db", {"data": {"password": "two"}}))
    assert (await present(desk, app("shop", "api"))).revision == 2
    assert (await present(desk)).revision == 1
    await desk.send(manifest("Secret", "db", {"data": {"password": "two"}}))
    assert (await present(desk, app("shop", "api"))).revision == 2


async def test_a_secret_in_use_stays_and_keeps_the_keys_in_use(desk: Desk) -> None:
    await desk.send(manifest("Secret", "db", {"data": {"password": "one"}}))
    env = {"P": {"secretRef": {"name": "db", "key": "password"}}}
    await desk.send(manifest("App", "api", {"image": "x", "env": env}))
    with pytest.raises(InUse):
        await desk.send(i.Delete(ref=Ref("Secret", "shop", "db")))
    with pytest.raises(BadValue, match="password"):
        await desk.send(manifest("Secret", "db", {"data": {"other": "one"}}))


async def test_a_project_with_apps_goes_only_by_cascade_or_orphan(desk: Desk) -> None:
    shop = Ref("Project", "", "shop")
    with pytest.raises(InUse, match="--cascade"):
        await desk.send(i.Delete(ref=shop))
    await desk.send(i.Delete(ref=shop, cascade=True))
    assert not (await present(desk)).exists
    members = await desk.service.present("Target/local#members")
    assert members == state.Members()


async def test_a_target_with_apps_keeps_its_engine(desk: Desk) -> None:
    with pytest.raises(InUse):
        await desk.send(manifest("Target", "local", {"engine": "process"}))


async def test_an_app_that_moves_leaves_the_target_it_ran_on(desk: Desk) -> None:
    await desk.send(manifest("Target", "other", {"engine": "simulated"}))
    await desk.send(manifest("App", "web", {"image": "web:1", "target": "other"}))
    assert await desk.service.present("Target/local#members") == state.Members()
    there = await desk.service.present("Target/other#members")
    assert there == state.Members(members=frozenset({WEB.stream}))


@pytest.mark.parametrize(
    ("engine", "spec", "path"),
    [
        ("process", {"image": "x", "command": ["ls"]}, "spec.image"),
        ("process", {}, "spec.command"),
        ("docker", {"command": ["ls"]}, "spec.image"),
        ("simulated", {}, "spec"),
    ],
)
async def test_a_spec_that_the_engine_cannot_run_is_refused(
    engine: str, spec: dict[str, object], path: str
) -> None:
    desk = Desk()
    await desk.furnish(engine)
    with pytest.raises(BadValue) as refusal:
        await desk.send(manifest("App", "web", spec))
    assert refusal.value.details["path"] == path


async def test_limits_are_refused_with_the_limit(desk: Desk) -> None:
    with pytest.raises(BadValue, match="0 to 1000"):
        await desk.send(i.Scale(ref=WEB, replicas=1001))


@pytest.mark.parametrize("role", ["viewer", "router"])
async def test_who_watches_and_who_polls_change_nothing(desk: Desk, role: Role) -> None:
    with pytest.raises(Forbidden, match="may not scale"):
        await desk.send(i.Scale(ref=WEB, replicas=2), actor=Actor(name="user:eve", role=role))


@pytest.mark.parametrize(
    ("role", "projects", "polls", "reads"),
    [
        ("router", (), True, False),
        ("admin", (), False, True),
        ("router", ("shop",), False, False),
        ("admin", ("shop",), False, True),
        ("editor", (), False, True),
        ("viewer", (), False, True),
    ],
)
def test_keys_are_for_routers_of_everything_alone(
    role: Role, projects: tuple[str, ...], polls: bool, reads: bool
) -> None:
    actor = Actor(name="user:eve", role=role, projects=frozenset(projects))
    assert access.may(actor, access.POLL, target("local")) == polls
    assert access.may(actor, access.READ, target("local")) == reads


async def test_a_project_editor_stays_in_the_project(desk: Desk) -> None:
    bob = Actor(name="user:bob", role="editor", projects=frozenset({"blog"}))
    with pytest.raises(Forbidden):
        await desk.send(i.Scale(ref=WEB, replicas=2), actor=bob)


async def test_the_values_of_a_deleted_secret_are_erased(desk: Desk) -> None:
    await desk.send(manifest("Secret", "db", {"data": {"password": "one"}}))
    ref = Ref("Secret", "shop", "db")
    found = await desk.service.present(ref.stream)
    assert isinstance(found, state.Secret)
    assert await desk.secrets.get(ref, found.token)
    await desk.send(i.Delete(ref=ref))
    with pytest.raises(SecretUnavailable):
        await desk.secrets.get(ref, found.token)


async def test_a_key_for_another_secret_value_is_refused(desk: Desk) -> None:
    await desk.send(manifest("Secret", "db", {"data": {"password": "one"}}), key="once")
    with pytest.raises(KeyReused):
        await desk.send(manifest("Secret", "db", {"data": {"password": "two"}}), key="once")
