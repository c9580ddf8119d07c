"""Subjects name resources without doubt, and their document names all that is spoken."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.nats import subjects
from bus.nats.asyncapi import asyncapi
from domain.events import REGISTRY
from domain.names import KINDS_WITHOUT_PROJECT, Ref
from domain.refusals import BadValue

names = st.from_regex(r"[a-z]([a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
refs = st.one_of(
    st.builds(Ref, st.sampled_from(["App", "Secret"]), names, names),
    st.builds(Ref, st.sampled_from(sorted(KINDS_WITHOUT_PROJECT)), st.just(""), names),
)


@given(actor=names, ref=refs)
def test_a_subject_says_who_asks_and_of_what(actor: str, ref: Ref) -> None:
    for subject in (subjects.intent_subject(actor, ref), subjects.submit_subject(actor, ref)):
        assert subjects.sender(subject) == (actor, subjects.resource_tokens(ref))
    submitted = subjects.submit_subject(actor, ref)
    rest = f"{actor}.{ref.project or '_'}.{ref.kind}.{ref.name}"
    assert subjects.refused_subject(submitted) == f"stateward.v1.refused.{rest}"
    assert subjects.accepted_subject(submitted) == f"stateward.v1.accepted.{rest}"


@pytest.mark.parametrize("rest", ["ci", "CI.shop.App.web", "c_i.shop.App.web", ".shop.App.web"])
def test_a_subject_of_no_actor_is_refused(rest: str) -> None:
    with pytest.raises(BadValue):
        subjects.sender(f"stateward.v1.intent.{rest}")


def test_every_event_of_a_resource_has_a_subject_of_its_own_with_as_many_tokens() -> None:
    found = {subjects.event_subject("App/shop/web#status", kind) for kind in REGISTRY}
    assert len(found) == len(REGISTRY)
    assert {subject.count(".") for subject in found} == {6}
    assert subjects.event_subject("App/shop/web", "app.scaled").endswith("App.web.scaled")


@pytest.mark.parametrize("reply", ["", "stateward.v1.hint.0", "$JS.API.STREAM.DELETE.X", "INBOX.a"])
def test_answers_go_to_inboxes_alone(reply: str) -> None:
    assert not subjects.may_answer(reply)


def test_the_document_leads_to_everything_it_names() -> None:
    document = json.loads(json.dumps(asyncapi()))

    def visit(node: Any) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                if key == "$ref":
                    target = document
                    for step in value.removeprefix("#/").split("/"):
                        target = target[step]
                visit(value)
        elif isinstance(node, list):
            for item in node:
                visit(item)

    visit(document)
    assert document["asyncapi"] == "3.0.0"
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert addresses == {
        None,
        "stateward.v1.intent.{actor}.{project}.{kind}.{name}",
        "stateward.v1.submit.{actor}.{project}.{kind}.{name}",
        "stateward.v1.accepted.{actor}.{project}.{kind}.{name}",
        "stateward.v1.refused.{actor}.{project}.{kind}.{name}",
        "stateward.v1.event.{project}.{kind}.{name}.{event}",
        "stateward.v1.gap",
        "stateward.v1.hint.{partition}",
    }
    assert len(document["channels"]["event"]["messages"]) == len(REGISTRY)
