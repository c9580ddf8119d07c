"""The OpenAPI 3.1 file: what FastAPI sees in the routes, and what only we know about them.

Bodies of manifests are read by `gateway.bodies`, headers by the routes themselves, and every
error is a problem; so these are described here and laid over what is generated.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel

from bus.actions import PARAMETERS
from bus.envelopes import MAX_KEY
from bus.manifests import API_VERSION
from domain.names import KINDS, KINDS_WITHOUT_PROJECT
from gateway.explaining import spec_schema
from gateway.problems import MEDIA_TYPE

type Json = dict[str, Any]

NAME: Final = {"type": "string", "maxLength": 40, "pattern": "^[a-z](-?[a-z0-9]){0,39}$"}
PROBLEM: Final = {
    "description": "A problem: what was asked, what is the case, what to do.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_PROBLEM_SCHEMA: Final = {
    "type": "object",
    "description": "RFC 9457. More members depend on `code`: path, rule, nearest, line...",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
    },
}


def operation(method: str, path: str) -> str:
    """A unique id: `put_projects_project_apps_name`."""
    return "_".join([method.lower(), *re.findall(r"\w+", path)])


def answers(model: type[BaseModel], *statuses: int) -> dict[int | str, Json]:
    described: dict[int | str, Json] = {
        status: {"model": model, "description": "Done." if status == 200 else "Created."}
        for status in statuses or (200,)
    }
    return {**described, "default": PROBLEM}


def streamed(media_type: str, model: type[BaseModel] | None = None) -> dict[int | str, Json]:
    """Answers of a route that streams, alone or beside a JSON answer."""
    described: Json = {"description": "Done.", "content": {media_type: {}}}
    if model is not None:
        described["model"] = model
    return {200: described, "default": PROBLEM}


def health(model: type[BaseModel]) -> dict[int | str, Json]:
    text: Json = {"content": {"text/plain": {}}}
    return {
        200: {"model": model, "description": "Yes.", **text},
        503: {"model": model, "description": "No.", **text},
    }


def path_parameters(path: str) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _path_schema(name)}
        for name in re.findall(r"{(\w+)}", path)
    ]


def reading(path: str, *headers: Json) -> Json:
    return {"parameters": [*path_parameters(path), *headers]}


def writing(method: str, path: str, kind: str) -> Json:
    """What a route that changes something reads by itself: headers and a body."""
    parameters = [*path_parameters(path), _header("Idempotency-Key", _KEY)]
    if path != "/apply":
        parameters += [_header("If-Match", _GENERATION), _header("If-None-Match", {"const": "*"})]
    extra: Json = {"parameters": parameters}
    if method == "PUT":
        schema = {"$ref": f"#/components/schemas/{kind}Manifest"}
        extra["requestBody"] = _body(schema, required=True)
    elif path == "/apply":
        one = {"oneOf": [{"$ref": f"#/components/schemas/{kind}Manifest"} for kind in KINDS]}
        extra["requestBody"] = _body({"type": "array", "minItems": 1, "items": one}, required=True)
    elif method == "POST":
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/Parameters"}}}
        extra["requestBody"] = {"required": False, "content": content}
    return extra


def json_body(model: type[BaseModel]) -> Json:
    """A body that the route reads by itself, described by a model."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def complete(generated: Json) -> Json:
    """The generated description with what it cannot know."""
    components: Json = generated.setdefault("components", {})
    schemas: Json = components.setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM_SCHEMA
    schemas["Parameters"] = {"type": "object", "description": _parameters_told()}
    for kind in KINDS:
        schemas[f"{kind}Spec"] = spec_schema(kind)
        schemas[f"{kind}Manifest"] = _manifest(kind)
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    generated["security"] = [{"token": []}]
    for path, item in generated["paths"].items():
        if not path.startswith("/api/"):
            for described in item.values():
                described["security"] = []
    return generated


def _parameters_told() -> str:
    told = []
    for verb, parameters in PARAMETERS.items():
        names: Sequence[str] = parameters.__struct_fields__
        told.append(f"`{verb}`" + (f" ({', '.join(names)})" if names else ""))
    return "Parameters by verb: " + ", ".join(told)


def _manifest(kind: str) -> Json:
    metadata: Mapping[str, Json] = {
        "name": NAME,
        "project": NAME,
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "generation": {"type": "integer", "minimum": 0},
    }
    known = {
        k: v for k, v in metadata.items() if k != "project" or kind not in KINDS_WITHOUT_PROJECT
    }
    return {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": kind},
            "metadata": {"type": "object", "properties": known},
            "spec": {"$ref": f"#/components/schemas/{kind}Spec"},
        },
    }


def _body(schema: Json, *, required: bool) -> Json:
    content = {"application/json": {"schema": schema}, "application/yaml": {"schema": schema}}
    return {"required": required, "content": content}


def _path_schema(name: str) -> Json:
    if name == "verb":
        return {"type": "string", "enum": sorted(PARAMETERS)}
    return {"type": "string", "examples": sorted(KINDS)} if name == "kind" else NAME


_KEY: Final = {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[!-~]+$"}
_GENERATION: Final = {"type": "string", "pattern": '^(\\*|"[0-9]{1,18}")$'}


def _header(name: str, schema: Json) -> Json:
    return {"name": name, "in": "header", "required": False, "schema": schema}
