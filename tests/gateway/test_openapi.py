"""The OpenAPI file says the truth: generated requests find no fault, answers have their shape."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.gateway import House, app_manifest

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
TAKES_NOTHING = {"GET /metrics"}  # so no request for it can be wrong
FEW = settings(
    max_examples=5,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    deadline=None,
)


async def _furnished(folder: Path) -> House:
    house = House(folder)
    await house.furnish()
    async with house.client() as client:
        await client.put("/api/v1/projects/shop/apps/web", json=app_manifest())
        await client.put(
            "/api/v1/projects/shop/secrets/db", json={"spec": {"data": {"password": "x"}}}
        )
        await client.get("/api/v1/apps")
    house.publish()
    house.services.closing.set()  # streams end at once
    return house


def _headers(house: House) -> dict[str, str]:
    return {"Authorization": f"Bearer {house.admin}", "Host": "127.0.0.1"}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_generated_requests_find_no_fault(tmp_path: Path, mode: GenerationMode) -> None:
    house = asyncio.run(_furnished(tmp_path))
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", house.app, headers=_headers(house))
    tried: set[str] = set()
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        tried.add(operation.label)
        if mode is GenerationMode.NEGATIVE and operation.label in TAKES_NOTHING:
            continue

        @FEW
        @given(case=operation.as_strategy(generation_mode=mode))
        def no_fault(case: Any) -> None:
            case.call_and_validate(headers=_headers(house), checks=CHECKS)

        no_fault()
    assert len(tried) > 35


async def test_every_operation_is_described_with_its_answers(
    house: House, client: httpx.AsyncClient
) -> None:
    described = (await client.get("/api/openapi.json")).json()
    assert described["openapi"].startswith("3.1")
    ids = []
    for path, item in described["paths"].items():
        for method, operation in item.items():
            ids.append(operation["operationId"])
            assert operation["summary"], path
            answers = operation["responses"]
            assert path == "/metrics" or "default" in answers or "503" in answers, (method, path)
            named = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
            assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}
    assert len(ids) == len(set(ids)) > 35
