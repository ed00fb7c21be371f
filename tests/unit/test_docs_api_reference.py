"""`docs/api-reference.md` is the OpenAPI documents of both listeners, for people. `docs/generate` writes it."""

from __future__ import annotations

import http
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.generated import DOCS, Part
from tmpnb_py.web.api import openapi
from tmpnb_py.web.api.endpoints import ALWAYS, PROXY

PAGE = DOCS / "api-reference.md"
LISTENERS = (
    ("Operations of the public listener", openapi.public_document, {**ALWAYS, **PROXY}),
    ("Operations of the admin listener", openapi.admin_document, dict(ALWAYS)),
)
Json = Mapping[str, Any]


def slug(name: str) -> str:
    return name.lower()


def kind(schema: Json) -> str:
    """A JSON schema's type in words: what a field holds."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{slug(name)})"
    if "anyOf" in schema:
        return " or ".join(kind(one) for one in schema["anyOf"])
    if values := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return ", ".join(f"`{one}`" for one in values)
    inner = schema.get("items") or schema.get("additionalProperties")
    if isinstance(inner, dict):
        return f"{'list' if schema['type'] == 'array' else 'object'} of {kind(inner)}"
    name = "time" if schema.get("format") == "date-time" else schema.get("type", "anything")
    return f"{name} {_bounds(schema)}".strip()


def _bounds(schema: Json) -> str:
    words = {
        "minimum": "at least {}",
        "exclusiveMinimum": "more than {}",
        "maximum": "at most {}",
        "minLength": "at least {} characters",
        "maxLength": "at most {} characters",
        "pattern": "`{}`",
    }
    found = [text.format(schema[name]).replace("|", "\\|") for name, text in words.items() if name in schema]
    return f"({', '.join(found)})" if found else ""


def _operation(method: str, path: str, operation: Json, always: Mapping[int, str]) -> Iterator[str]:
    yield f"### `{method.upper()} {path}`"
    token = " The operator may demand a token." if operation["security"] else ""
    yield " ".join([operation["summary"], operation.get("description", "")]).strip() + token
    if operation["parameters"]:
        rows = [
            f"| `{one['name']}` | {one['in']} | {kind(one['schema'])} | {one.get('description', '')} |"
            for one in operation["parameters"]
        ]
        yield "\n".join(["| parameter | in | type | meaning |", "|---|---|---|---|", *rows])
    if body := operation.get("requestBody"):
        needed = "It needs a body" if body["required"] else "It takes a body"
        yield f"{needed}: {_content(body['content'])}."
    answers = {int(code): one for code, one in operation["responses"].items()}
    rows = [
        f"| {code} | {answer['description']} | {_content(answer.get('content', {}))} |"
        for code, answer in answers.items()
        if always.get(code) is None or (always[code] or http.HTTPStatus(code).phrase) != answer["description"]
    ]
    yield "\n".join(["| answer | meaning | content |", "|---|---|---|", *rows])


def _content(content: Json) -> str:
    """What a body holds: a model, or else its type."""
    for media, one in content.items():
        schema = one["schema"]
        return kind(schema) if "$ref" in schema else f"`{media}`"
    return ""


def _model(name: str, schema: Json) -> Iterator[str]:
    yield f"### {name}"
    yield _text(schema.get("description", ""))
    if "enum" in schema:
        yield f"One of {kind(schema)}."
        return
    required = schema.get("required", [])
    rows = [
        f"| `{field}` | {kind(one)} | {'' if field in required else _default(one)} |"
        for field, one in schema.get("properties", {}).items()
    ]
    yield "\n".join(["| field | type | default |", "|---|---|---|", *rows])


def _default(schema: Json) -> str:
    return f"`{json.dumps(schema['default'])}`" if "default" in schema else "may be missing"


def _text(description: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", description))


def _page() -> str:
    parts = []
    models: dict[str, Json] = {}
    for title, document_of, always in LISTENERS:
        document = document_of()
        parts += [f"## {title}", _text(document["info"]["description"]), _common(always)]
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                parts += _operation(method, path, operation, always)
        models |= document["components"]["schemas"]
    parts.append("## Fields")
    for name in sorted(models):
        parts += _model(name, models[name])
    return "\n\n".join(part for part in parts if part) + "\n"


def _common(always: Mapping[int, str]) -> str:
    head = ["Every operation may also answer, with a [Problem](#problem):", "", "| answer | meaning |", "|---|---|"]
    rows = [f"| {code} | {always[code] or http.HTTPStatus(code).phrase} |" for code in sorted(always)]
    return "\n".join([*head, *rows])


PARTS = [Part(PAGE, "api", _page)]


def test_every_operation_and_field_is_documented_as_it_is() -> None:
    PARTS[0].check()


def test_a_link_to_a_field_leads_to_one_heading() -> None:
    headings = re.findall(r"^### (\w+)$", PAGE.read_text(), re.MULTILINE)
    assert len(headings) == len(set(map(slug, headings)))
    assert set(re.findall(r"\]\(#(\w+)\)", PAGE.read_text())) <= set(map(slug, headings))
