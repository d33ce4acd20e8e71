"""The OpenAPI document: valid, true of the server, and shown by a page that needs nothing else."""

from __future__ import annotations

import asyncio
import html.parser
import json
from typing import Any

import httpx
import jsonschema
import pytest
import schemathesis
from fake_service import FakeService
from hypothesis import HealthCheck, settings
from openapi_spec_validator import validate
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.applications import Starlette

from isthmus.errors import ERROR_TABLE
from isthmus.server.http_oip import oip_routes
from isthmus.server.openapi import openapi_document

SERVICE = FakeService()
APP = Starlette(routes=oip_routes(SERVICE))
LIMIT = SERVICE.config.limits.body_bytes
DOCUMENT = openapi_document(SERVICE.fleet.models(), LIMIT, tokens=False)


def ask(verb: str, path: str, content: bytes = b"", **headers: str) -> httpx.Response:
    """One request to the application itself."""

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(APP)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(verb, path, content=content, headers=headers)

    return asyncio.run(run())


def matches(content: Any, name: str) -> None:
    """The content against one of the document's schemas, by a library of its own."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    jsonschema.validate(content, schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("tokens", [False, True])
def test_the_document_is_valid(tokens: bool) -> None:
    document = openapi_document(SERVICE.fleet.models(), LIMIT, tokens=tokens)
    validate(document)
    assert ("security" in document) is tokens
    assert document["openapi"] == "3.1.0"


def test_it_is_served_and_names_what_is_served() -> None:
    answer = ask("GET", "/openapi.json")
    assert answer.status_code == 200
    assert answer.json() == DOCUMENT
    names = DOCUMENT["paths"]["/v2/models/{name}"]["parameters"]
    assert names[0]["schema"]["examples"] == ["digits"]
    for row in ERROR_TABLE:
        assert f"{row.code} {row.name}" in DOCUMENT["info"]["description"]


def test_every_route_is_described() -> None:
    described = {
        (path, verb.upper())
        for path, item in DOCUMENT["paths"].items()
        for verb in item
        if verb != "parameters"
    }
    served = {
        (route.path, verb)
        for route in oip_routes(SERVICE)
        for verb in (route.methods or set()) - {"HEAD"}
    }
    assert served - described == {("/openapi.json", "GET"), ("/docs", "GET")}
    assert described <= served


def test_a_good_request_and_its_answer_match() -> None:
    frame = SERVICE.digits.frame(3, b"plain")
    tensor = {
        "name": "bitstream", "datatype": "BYTES", "shape": [2, 1],
        "data": [[frame.decode("latin-1")]] * 2,
        "parameters": {"encoding": "latin-1", "device": 7, "sequence": 3},
    }  # fmt: skip
    request = {"id": "1", "inputs": [tensor], "outputs": [{"name": "probabilities"}]}
    matches(request, "InferRequest")
    for version in ("", f"/versions/{SERVICE.digits.version}"):
        answer = ask("POST", f"/v2/models/digits{version}/infer", json.dumps(request).encode())
        assert answer.status_code == 200
        matches(answer.json(), "InferResponse")
    answer = ask("POST", "/v2/frames", frame)
    assert answer.status_code == 200
    matches(answer.json(), "Answer")
    refused = ask("POST", "/v2/frames", frame[:-1])
    assert refused.status_code == 422
    matches(refused.json(), "Refusal")


@pytest.mark.parametrize(
    "tensor",
    [
        {"name": "x", "datatype": "BYTES", "shape": [1], "data": ["a"]},
        {"name": "bitstream", "datatype": "FP32", "shape": [1], "data": ["a"]},
        {"name": "bitstream", "datatype": "BYTES", "shape": [0], "data": ["a"]},
        {"name": "bitstream", "datatype": "BYTES", "shape": [1]},
        {"name": "bitstream", "datatype": "BYTES", "shape": [1], "data": [1]},
    ],
)
def test_what_the_schema_refuses_the_server_refuses(tensor: dict[str, Any]) -> None:
    request = {"inputs": [tensor]}
    with pytest.raises(jsonschema.ValidationError):
        matches(request, "InferRequest")
    answer = ask("POST", "/v2/models/digits/infer", json.dumps(request).encode())
    assert answer.status_code == 400
    matches(answer.json(), "Error")


class Page(html.parser.HTMLParser):
    """What a page links to, loads and holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("href", "src", "srcset", "action", "data"):
                self.links.append(value or "")
            elif name == "id":
                self.ids.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_holds_everything_and_loads_nothing() -> None:
    answer = ask("GET", "/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    page = Page(answer.text)
    assert not page.tags & {"script", "img", "link", "iframe", "object"}
    assert "url(" not in answer.text
    assert "@import" not in answer.text
    for path in DOCUMENT["paths"]:
        assert path in page.text
    assert page.ids == list(DOCUMENT["components"]["schemas"])
    assert {link for link in page.links if not link.startswith("#")} == {"openapi.json"}
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", APP)


@SCHEMA.parametrize()
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_schemathesis(case: Any) -> None:
    """Good and bad requests by the document; all of schemathesis's checks hold but one.

    That one wants every request of the right form accepted. What a frame is no schema says.
    """
    posts = case.method == "POST"
    case.call_and_validate(excluded_checks=[positive_data_acceptance] if posts else [])
