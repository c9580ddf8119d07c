"""What an app and a project are on a cluster."""

import json
from itertools import chain

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.k8s.render.labels import Owner
from adapters.k8s.render.manifests import content_hash, sent, stored
from adapters.k8s.render.pods import claim_name, volume_name
from domain.app import Volume
from reconcilers.object_labels import DIGEST
from reconcilers.object_ports import AppOrder, Manifest, Stage
from tests.support import golden, k8s_grammar, pod_security
from tests.support import k8s_orders as orders
from tests.support.k8s_orders import RENDERER, SHOP, VALUE, order


def one(manifests: tuple[Manifest, ...], kind: str) -> Manifest:
    [found] = [manifest for manifest in manifests if manifest.key.kind == kind]
    return found


def kinds(manifests: tuple[Manifest, ...]) -> set[str]:
    return {manifest.key.kind for manifest in manifests}


# --- what people read ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", golden.CASES)
def test_a_golden_manifest_is_what_is_rendered(name: str) -> None:
    kept = (golden.DIRECTORY / f"{name}.yaml").read_text()
    assert kept == golden.text(name), "run 'make golden' and look at the difference"


def test_every_golden_manifest_has_its_case() -> None:
    assert {path.stem for path in golden.DIRECTORY.iterdir()} == set(golden.CASES)


# --- any spec -----------------------------------------------------------------------------------


@given(asked=orders.orders())
def test_a_server_has_nothing_against_any_object(asked: AppOrder) -> None:
    for manifest in RENDERER.app(asked):
        assert not k8s_grammar.complaints(manifest), manifest.key


@given(asked=orders.orders())
def test_every_pod_may_run_under_restricted(asked: AppOrder) -> None:
    pods = [pod for m in RENDERER.app(asked) if (pod := k8s_grammar.pod_spec(m))]
    assert len(pods) == 1
    assert pod_security.violations(pods[0]) == []


@given(asked=orders.orders())
def test_the_same_order_gives_the_same_bytes(asked: AppOrder) -> None:
    turned = msgspec.structs.replace(
        asked, env={n: asked.env[n] for n in reversed(list(asked.env))}
    )
    first, second = (
        msgspec.json.encode([m.body for m in RENDERER.app(o)]) for o in (asked, turned)
    )
    assert first == second


@given(asked=orders.orders())
def test_what_is_rendered_is_as_a_server_stores_it(asked: AppOrder) -> None:
    for manifest in RENDERER.app(asked):
        assert stored(manifest.body) == manifest.body
        assert json.loads(msgspec.json.encode(manifest.body)) == manifest.body


@given(asked=orders.orders())
def test_objects_come_in_stages_and_none_twice(asked: AppOrder) -> None:
    manifests = RENDERER.app(asked)
    assert [m.stage for m in manifests] == sorted(m.stage for m in manifests)
    assert len({m.key for m in manifests}) == len(manifests)


@given(asked=orders.orders())
def test_no_value_of_a_secret_is_seen(asked: AppOrder) -> None:
    assert VALUE not in repr(RENDERER.app(asked))


@given(asked=orders.orders(), revision=st.integers(1, 2**31))
def test_a_new_revision_changes_nothing_but_the_workload(asked: AppOrder, revision: int) -> None:
    later = msgspec.structs.replace(asked, revision=revision)
    before, after = ({m.key: m.digest for m in RENDERER.app(o)} for o in (asked, later))
    changed = {key.kind for key in after if before.get(key) != after[key]}
    assert changed <= {"Deployment", "StatefulSet"}
    assert bool(changed) == (revision != asked.revision)


@given(names=st.lists(st.tuples(orders.name, orders.name, orders.name), min_size=2, max_size=2))
def test_names_of_different_apps_and_volumes_never_collide(
    names: list[tuple[str, str, str]],
) -> None:
    taken = [set(_names(*pair)) for pair in names]
    mine, theirs = names
    if mine[:2] != theirs[:2]:
        assert taken[0].isdisjoint(taken[1])


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [(("a", "b-c"), ("a-b", "c")), (("data", "web"), ("data", "web-0")), (("a", "b"), ("b", "a"))],
)
def test_claims_that_would_read_alike_do_not(
    mine: tuple[str, str], theirs: tuple[str, str]
) -> None:
    assert _claims(*mine).isdisjoint(_claims(*theirs))


def _names(app: str, project: str, volume: str) -> list[tuple[str, ...]]:
    spec = {
        **orders.WEB,
        "volumes": [
            {"name": "v", "path": "/v"},
            {"name": "w", "path": "/w", "scope": "app"},
        ],
    }
    manifests = RENDERER.app(order(spec, app=app, project=project))
    claims = _claims(volume, app)
    return [*(m.key for m in manifests), *(("claim", project, name) for name in claims)]


def _claims(volume: str, app: str) -> set[str]:
    """The claims of a volume of both scopes: a StatefulSet appends its own name and a number."""
    own, shared = (Volume(name=volume, path="/v", scope=s) for s in ("replica", "app"))
    return {claim_name(app, shared), *(f"{volume_name(own)}-{app}-{n}" for n in range(3))}


# --- what is in it ------------------------------------------------------------------------------


def test_the_digest_covers_all_but_itself_and_the_position() -> None:
    for manifest in RENDERER.app(order(orders.WEB)):
        body = json.loads(json.dumps(manifest.body))
        assert body["metadata"]["labels"].pop(DIGEST) == manifest.digest == content_hash(body)
        assert sent(manifest, 1)["metadata"]["labels"]["stateward/position"] == "1"
        assert "stateward/position" not in manifest.body["metadata"]["labels"]


def test_other_values_are_another_config_and_name_nothing_of_the_value() -> None:
    first, second = (RENDERER.app(order(orders.WEB, tokens=t)) for t in ("t1", "t2"))
    assert one(first, "Deployment").digest != one(second, "Deployment").digest
    secrets = [{m.key.name for m in made if m.key.kind == "Secret"} for made in (first, second)]
    assert secrets[0].isdisjoint(secrets[1])
    revealed = sent(next(m for m in first if m.key.kind == "Secret"), 1)["data"]["PASSWORD"]
    assert content_hash(revealed) not in secrets[0]


def test_a_variable_cannot_hide_the_port() -> None:
    spec = {
        **orders.WEB,
        "env": {"PORT": {"secretRef": {"name": "db", "key": "k"}}, "PORT_HTTP": "1"},
    }
    made = RENDERER.app(order(spec))
    config = next(m for m in made if m.body.get("data"))
    assert (config.body["data"]["PORT"], config.body["data"]["PORT_HTTP"]) == ("8080", "8080")
    assert not any("PORT" in m.confidential for m in made)


def test_an_autoscaled_app_says_nothing_of_replicas_from_the_first_apply_on() -> None:
    made = RENDERER.app(order(orders.BUSY))
    assert "replicas" not in one(made, "Deployment").body["spec"]
    assert one(made, "HorizontalPodAutoscaler").body["spec"]["minReplicas"] == 2
    stopped = RENDERER.app(order(orders.BUSY, replicas=0))
    assert one(stopped, "Deployment").body["spec"]["replicas"] == 0
    assert "HorizontalPodAutoscaler" not in kinds(stopped)


@pytest.mark.parametrize(("replicas", "has_budget"), [(0, False), (1, False), (2, True)])
def test_one_at_a_time_may_be_evicted_of_two_or_more(replicas: int, *, has_budget: bool) -> None:
    made = RENDERER.app(order(orders.WEB, replicas=replicas))
    assert ("PodDisruptionBudget" in kinds(made)) == has_budget


def test_stop_first_lets_no_two_revisions_run_at_once() -> None:
    made = one(RENDERER.app(order(orders.ARCHIVE)), "Deployment")
    assert made.body["spec"]["strategy"] == {"type": "Recreate", "rollingUpdate": None}


def test_volumes_of_their_own_make_replicas_somebody() -> None:
    made = RENDERER.app(order(orders.DATABASE))
    runs = one(made, "StatefulSet").body["spec"]
    assert runs["serviceName"] in {m.key.name for m in made if m.key.kind == "Service"}
    assert runs["persistentVolumeClaimRetentionPolicy"] == {
        "whenDeleted": "Retain",
        "whenScaled": "Retain",
    }


def test_data_and_the_namespace_are_in_no_set_that_is_pruned() -> None:
    made = chain(RENDERER.app(order(orders.ARCHIVE)), RENDERER.project(SHOP))
    loose = {
        m.key.kind
        for m in made
        if "applyset.kubernetes.io/part-of" not in m.body["metadata"]["labels"]
    }
    assert loose == {"ConfigMap", "Namespace", "PersistentVolumeClaim"}


def test_the_name_of_a_set_is_that_of_kubectl() -> None:
    owner = Owner("i", "t", "acme-prod", "p", "shop", 1)
    assert owner.set_name == "shop--set"
    # of the SHA-256 of `shop--set.acme-prod.ConfigMap.`
    assert owner.set_id == "applyset-EqeKgVUP8Gtd9vRXzkS5CKfErj5aeWW6xvQH2-hTmEs-v1"


def test_the_namespace_comes_before_all_else() -> None:
    first, *others = RENDERER.project(SHOP)
    assert (first.key.kind, first.stage) == ("Namespace", Stage.NAMESPACE)
    assert all(m.stage > Stage.NAMESPACE for m in others)
    assert not [c for m in (first, *others) for c in k8s_grammar.complaints(m)]


# --- the checkers see something -----------------------------------------------------------------


@pytest.mark.parametrize(
    "spoilt",
    [
        {"hostNetwork": True},
        {"volumes": [{"name": "a", "hostPath": {"path": "/"}}]},
        {"securityContext": {"runAsUser": 0, "runAsNonRoot": True}},
        {"containers": [{"name": "a"}]},
    ],
    ids=str,
)
def test_the_checker_of_restricted_sees_what_is_not(spoilt: dict[str, object]) -> None:
    pod = k8s_grammar.pod_spec(one(RENDERER.app(order(orders.WORKER)), "Deployment"))
    assert pod is not None
    assert pod_security.violations({**pod, **spoilt})


@pytest.mark.parametrize("amount", ["1000m", "1024Mi", "0.5", "1000", "01", "2000k", "5x"])
def test_the_checker_of_amounts_sees_another_spelling(amount: str) -> None:
    assert not k8s_grammar.is_canonical(amount)
