"""Producers that do not wait hand in at the submit stream, and hear what was refused."""

import asyncio
import json
from pathlib import Path
from typing import Any

from bus.nats.subjects import accepted_subject, refused_subject, submit_subject
from domain.names import Ref
from tests.support.nats_server import PATIENCE, app, envelope, program, running
from tests.support.producers import acceptances, decided, emptied, refusals, refused, submit


async def test_what_is_submitted_is_decided_and_leaves_the_stream(tmp_path: Path) -> None:
    async with running(tmp_path / "nats") as place, program(place) as producer:
        await submit(producer, "apply", "App/shop/web", app("web"), key="s1")
        await decided(place.desk, "s1")
        await emptied(place)
        (defined,) = [e for e in place.desk.log.events if e.type == "app.defined"]
        assert json.loads(defined.data)["actor"] == "program:producer"


async def test_a_key_that_is_submitted_twice_is_stored_once(tmp_path: Path) -> None:
    async with running(tmp_path / "nats") as place, program(place) as producer:
        first = await submit(producer, "apply", "App/shop/web", app("web"), key="s1")
        again = await submit(producer, "apply", "App/shop/web", app("web"), key="s1")
        assert again["duplicate"]
        assert again["seq"] == first["seq"]


async def test_a_message_id_that_begins_with_another_name_is_refused_with_the_rule(
    tmp_path: Path,
) -> None:
    async with running(tmp_path / "nats") as place, program(place) as producer:
        for identity in ("s1", "ci:s1", "producer-s1"):
            await producer.request(
                submit_subject("producer", Ref("App", "shop", "web")),
                envelope("apply", "App/shop/web", app("web"), key="s1"),
                timeout=PATIENCE,
                headers={"Nats-Msg-Id": identity},
            )
        for _, kept in await refused(place, 3):
            told = kept["data"]["problem"]
            assert (told["code"], told["details"]["path"]) == ("BadValue", "Nats-Msg-Id")
            assert "write producer:<idempotency key>" in told["detail"]
        assert "app.defined" not in place.desk.types


async def test_a_submission_without_a_message_id_is_decided(tmp_path: Path) -> None:
    async with running(tmp_path / "nats") as place, program(place) as producer:
        await producer.request(
            submit_subject("producer", Ref("App", "shop", "web")),
            envelope("apply", "App/shop/web", app("web"), key="s1"),
            timeout=PATIENCE,
        )
        await decided(place.desk, "s1")


async def test_a_refused_one_is_kept_with_its_reason(tmp_path: Path) -> None:
    async with running(tmp_path / "nats") as place, program(place) as producer:
        await submit(producer, "scale", "App/shop/none", {"replicas": 2}, key="s1")
        await submit(producer, "scale", "App/shop/web", {"replica": 2}, key="s2")
        kept = await refused(place, 2)
        await emptied(place)
    by_key = {notice["data"]["key"]: (subject, notice) for subject, notice in kept}
    subject, notice = by_key["s1"]
    assert subject == refused_subject(submit_subject("producer", Ref("App", "shop", "none")))
    assert (notice["type"], notice["subject"]) == ("stateward.intent.refused.v1", "App/shop/none")
    assert notice["data"]["problem"]["code"] == "NotFound"
    assert by_key["s2"][1]["data"]["problem"]["detail"].startswith("data.replica: there is no such")


async def test_a_secret_is_not_taken_from_a_stream_that_keeps_it_unencrypted(
    tmp_path: Path,
) -> None:
    secret = {
        "apiVersion": "stateward/v1",
        "kind": "Secret",
        "metadata": {"name": "db", "project": "shop"},
        "spec": {"data": {"password": "canary-4711"}},
    }
    async with running(tmp_path / "nats") as place, program(place) as producer:
        await submit(producer, "apply", "Secret/shop/db", secret, key="alone")
        await submit(producer, "apply", "Project/shop", [app("web"), secret], key="set")
        kept = await refused(place, 2)
        await emptied(place)
        assert await place.desk.secrets.held() == {}
    assert {notice["data"]["key"] for _, notice in kept} == {"alone", "set"}
    for _, notice in kept:
        assert notice["data"]["problem"]["code"] == "NotPossible"
        detail = notice["data"]["problem"]["detail"]
        assert "ask on stateward.v1.intent.producer.shop.Secret.db or over HTTP" in detail
        assert "canary" not in json.dumps(notice)


async def test_every_accepted_one_is_kept_with_its_answer_also_if_it_changed_nothing(
    tmp_path: Path,
) -> None:
    async with running(tmp_path / "nats") as place, program(place) as producer:
        for key in ("s1", "s2"):
            await submit(producer, "apply", "App/shop/web", app("web"), key=key)
        await emptied(place)
        first, second = await acceptances(place)
    subject, notice = first
    assert subject == accepted_subject(submit_subject("producer", Ref("App", "shop", "web")))
    assert (notice["type"], notice["subject"]) == ("stateward.intent.accepted.v1", "App/shop/web")
    assert notice["data"]["answer"]["changes"][0]["events"] == ["app.defined"]
    assert second[1]["data"]["key"] == "s2"
    assert second[1]["data"]["answer"]["changes"][0]["result"] == "unchanged"
    assert [notice["data"]["sequence"] for _, notice in (first, second)] == [1, 2]


async def test_a_producer_hears_what_became_of_each(tmp_path: Path) -> None:
    async with running(tmp_path / "nats") as place, program(place) as producer:
        heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

        async def note(message: Any) -> None:
            told = json.loads(message.data)
            heard.put_nowait((told["data"]["key"], told["type"]))

        for outcome in ("refused", "accepted"):
            await producer.subscribe(f"stateward.v1.{outcome}.producer.>", cb=note)
        await producer.flush()
        await producer.flush()
        await submit(producer, "stop", "App/shop/none", key="s1")
        await submit(producer, "apply", "App/shop/web", app("web"), key="s2")
        async with asyncio.timeout(PATIENCE):
            assert {await heard.get(), await heard.get()} == {
                ("s1", "stateward.intent.refused.v1"),
                ("s2", "stateward.intent.accepted.v1"),
            }


async def test_nonsense_is_refused_and_holds_nobody_up(
    tmp_path: Path,
) -> None:
    async with running(tmp_path / "nats") as place, program(place) as producer:
        for n, nonsense in enumerate((b"", b"{", b"\xff\xfe", b"[" * 10_000, b"null")):
            await producer.request(
                submit_subject("producer", Ref("App", "shop", f"n{n}")), nonsense, timeout=PATIENCE
            )
        await submit(producer, "apply", "App/shop/web", app("web"), key="s1")
        await decided(place.desk, "s1")
        await emptied(place)
        assert len(await refusals(place)) == 5


async def test_settings_of_a_stream_that_changed_are_brought_up_to_date(tmp_path: Path) -> None:
    async with running(tmp_path / "nats") as place, program(place, "stateward") as insider:
        stream = insider.jetstream()
        config = (await stream.stream_info("STATEWARD_SUBMIT")).config
        config.max_bytes = 1 << 20
        await stream.update_stream(config)
    async with running(tmp_path / "nats") as place, program(place, "stateward") as insider:
        config = (await insider.jetstream().stream_info("STATEWARD_SUBMIT")).config
        assert config.max_bytes == 256 << 20
