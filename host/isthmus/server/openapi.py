"""What the HTTP side says of itself: an OpenAPI 3.1 document, and a page that shows it."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

import isthmus
from isthmus.errors import ERROR_TABLE
from isthmus.server.asgi import send_body
from isthmus.server.jsonform import dump
from isthmus.server.oip_answer import GenerationView, OipService
from isthmus.server.openapi_schemas import SCHEMAS

__all__ = ["openapi_document", "openapi_page", "openapi_routes"]

_JSON = "application/json"
_BINARY = "application/octet-stream"


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(name: str, text: str) -> dict[str, Any]:
    return {"description": text, "content": {_JSON: {"schema": _ref(name)}}}


def _with_binary(name: str, text: str) -> dict[str, Any]:
    answer = _json(name, text)
    answer["content"][_BINARY] = {}
    return answer


#: Statuses of refusals, and what they mean.
_REFUSALS = {
    "400": "the request is not well formed",
    "401": "it carries no valid token",
    "403": "the seal is missing or does not match",
    "404": "no bundle of that name or version, or none made this frame",
    "409": "the seal's counter was used before",
    "413": "the body is too long",
    "422": "a frame must not be decoded: damaged, or not of this profile",
    "429": "the queue is full, or the device sends more than it may",
    "500": "the back half failed",
    "503": "the server shuts down",
}


def _refusals(schema: str, *, binary: bool = False) -> dict[str, Any]:
    make = _with_binary if binary else _json
    return {status: make(schema, text) for status, text in _REFUSALS.items()}


def _operation(
    name: str, summary: str, answers: dict[str, Any], parameters: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    made: dict[str, Any] = {"operationId": name, "summary": summary, "responses": answers}
    if parameters:
        made["parameters"] = list(parameters)
    return made


def _in_path(name: str, text: str, values: Sequence[str]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "minLength": 1, "pattern": "^[^/]+$"}
    if values:
        schema["examples"] = sorted(set(values))
    return {"name": name, "in": "path", "required": True, "description": text, "schema": schema}


_DEVICE = [
    {
        "name": name,
        "in": place,
        "description": "who sends, for limits and results; a seal's device comes first",
        "schema": {"type": "string", "maxLength": 128, "pattern": "^[ -~]*$"},
    }
    for name, place in (("X-Isthmus-Device", "header"), ("device", "query"))
]


def _infer_operation(suffix: str, limit: int) -> dict[str, Any]:
    made = _operation(
        f"infer{suffix}",
        "Frames in, outputs of the back half out",
        {
            "200": _with_binary("InferResponse", "the outputs, as JSON or JSON and binary data"),
            **_refusals("Error"),
        },
        [
            {
                "name": "Inference-Header-Content-Length",
                "in": "header",
                "description": "bytes of JSON before the binary data; 0: the body is one frame",
                "schema": {"type": "integer", "minimum": 0, "maximum": limit},
            },
            *_DEVICE,
        ],
    )
    made["requestBody"] = {
        "required": True,
        "description": f"at most {limit} bytes; Content-Encoding may be gzip or deflate",
        "content": {_JSON: {"schema": _ref("InferRequest")}, _BINARY: {}},
    }
    return made


def _frames_operation(suffix: str, limit: int) -> dict[str, Any]:
    made = _operation(
        f"frames{suffix}",
        "One frame as it is, sealed or not",
        {
            "200": _with_binary("Answer", "the answer; compact where the client accepts bytes"),
            **_refusals("Refusal", binary=True),
        },
        _DEVICE,
    )
    made["requestBody"] = {
        "required": True,
        "description": f"the frame, at most {limit} bytes",
        "content": {_BINARY: {}},
    }
    return made


def _model_paths(
    prefix: str, suffix: str, parameters: list[dict[str, Any]], limit: int
) -> dict[str, Any]:
    errors = {status: _json("Error", _REFUSALS[status]) for status in ("401", "404")}
    return {
        prefix: {
            "parameters": parameters,
            "get": _operation(
                f"modelMetadata{suffix}", "A bundle's versions, input and outputs",
                {"200": _json("ModelMetadata", "the metadata"), **errors},
            ),
        },
        f"{prefix}/ready": {
            "parameters": parameters,
            "get": _operation(
                f"modelReady{suffix}", "Whether a bundle takes frames",
                {
                    "200": _json("ModelReady", "it does"),
                    "503": _json("ModelReady", "it does not, or no more"),
                    **errors,
                },
            ),
        },
        f"{prefix}/infer": {"parameters": parameters, "post": _infer_operation(suffix, limit)},
        f"{prefix}/frames": {"parameters": parameters, "post": _frames_operation(suffix, limit)},
    }  # fmt: skip


def openapi_document(models: Sequence[GenerationView], limit: int, tokens: bool) -> dict[str, Any]:
    """The document for a server of these bundles and bodies of ``limit`` bytes.

    It speaks of the protocol's routes and of frames, and names the bundles as examples; ``tokens``
    says whether the server asks for one.
    """
    name = _in_path("name", "the bundle's name", [one.name for one in models])
    version = _in_path(
        "version", "first 12 hex digits of the profile's digest", [one.version for one in models]
    )
    unauthorized = {"401": _json("Error", _REFUSALS["401"])}
    paths: dict[str, Any] = {
        "/v2": {
            "get": _operation(
                "serverMetadata", "The server's name, version and extensions",
                {"200": _json("ServerMetadata", "the metadata"), **unauthorized},
            )
        },
        "/v2/health/live": {
            "get": _operation(
                "live", "Whether the server is there", {"200": _json("Live", "it is")}
            )
        },
        "/v2/health/ready": {
            "get": _operation(
                "ready", "Whether it takes frames",
                {"200": _json("Ready", "it does"), "503": _json("Ready", "not yet, or no more")},
            )
        },
        "/v2/models": {
            "get": _operation(
                "models", "The names of the bundles",
                {"200": _json("Models", "the names"), **unauthorized},
            )
        },
        "/v2/frames": {"post": _frames_operation("ByDigest", limit)},
        **_model_paths("/v2/models/{name}", "", [name], limit),
        **_model_paths(
            "/v2/models/{name}/versions/{version}", "OfVersion", [name, version], limit
        ),
    }  # fmt: skip
    codes = ", ".join(f"{row.code} {row.name}" for row in ERROR_TABLE)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Isthmus",
            "version": isthmus.__version__,
            "summary": "Coded frames of feature tensors in, answers of the back half out",
            "description": "The Open Inference Protocol, version 2, with the binary tensor data "
            f"extension, and plain posts of frames. Numbers of errors: {codes}.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": SCHEMAS},
    }
    if tokens:
        document["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"bearer": []}]
        for path in ("/v2/health/live", "/v2/health/ready"):
            paths[path]["get"]["security"] = []
    return document


_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
color:#1b1f24;background:#fff}
code,pre{font:13px/1.45 ui-monospace,monospace}
pre{background:#f4f5f7;padding:.7rem;overflow:auto;border-radius:4px}
details{border:1px solid #d5d9de;border-radius:4px;margin:.4rem 0;padding:.4rem .7rem}
summary{cursor:pointer}table{border-collapse:collapse;width:100%}
td{border-top:1px solid #e3e6ea;padding:.25rem .6rem .25rem 0;vertical-align:top}
.verb{display:inline-block;min-width:3.2rem;font-weight:600;color:#0a58ca}
@media(prefers-color-scheme:dark){body{color:#e6e8ea;background:#14171a}
pre{background:#20252a}details,td{border-color:#353b42}.verb{color:#7ab2ff}}
"""


def openapi_page(document: dict[str, Any]) -> bytes:
    """The document as one page without scripts or outside resources."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'>",
        f"<title>{html.escape(info['title'])}</title><style>{_STYLE}</style>",
        f"<h1>{html.escape(info['title'])} {html.escape(info['version'])}</h1>",
        f"<p>{html.escape(info['summary'])}. The same for programs: ",
        "<a href=openapi.json>openapi.json</a>.</p>",
    ]
    parts += [
        _operation_html(path, verb, item[verb], item.get("parameters", []))
        for path, item in document["paths"].items()
        for verb in ("get", "post")
        if verb in item
    ]
    parts.append("<h2>Schemas</h2>")
    for name, schema in document["components"]["schemas"].items():
        parts.append(
            f"<details id='{html.escape(name)}'><summary><code>{html.escape(name)}</code></summary>"
            f"{_schema_html(schema)}</details>"
        )
    return "".join(parts).encode("utf-8")


def _operation_html(
    path: str, verb: str, operation: dict[str, Any], shared: list[dict[str, Any]]
) -> str:
    rows = [
        (f"<code>{html.escape(one['name'])}</code> ({one['in']})", html.escape(one["description"]))
        for one in [*shared, *operation.get("parameters", [])]
    ]
    body = operation.get("requestBody")
    if body:
        rows.append((f"body ({_contents(body)})", html.escape(body["description"])))
    rows += [
        (f"<b>{status}</b> {_contents(answer)}", html.escape(answer["description"]))
        for status, answer in operation["responses"].items()
    ]
    table = "".join(f"<tr><td>{left}<td>{right}" for left, right in rows)
    return (
        f"<details><summary><span class=verb>{verb.upper()}</span><code>{html.escape(path)}</code> "
        f"{html.escape(operation['summary'])}</summary><table>{table}</table></details>"
    )


def _contents(holder: dict[str, Any]) -> str:
    names = []
    for kind, content in holder.get("content", {}).items():
        name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        names.append(f"<a href='#{name}'>{name}</a>" if name else f"<code>{kind}</code>")
    return " or ".join(names)


def _schema_html(schema: dict[str, Any]) -> str:
    """A schema as indented JSON, one key a line."""
    return f"<pre>{html.escape(json.dumps(schema, indent=2))}</pre>"


class _Fixed:
    """What is made from the fleet as it is when it is asked for."""

    def __init__(self, service: OipService, *, page: bool) -> None:
        self._service = service
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        config = self._service.config
        document = openapi_document(
            self._service.fleet.models(),
            config.limits.body_bytes,
            config.security.tokens_file is not None,
        )
        if self._page:
            kind = b"text/html; charset=utf-8"
            policy = (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'")
            await send_body(send, 200, openapi_page(document), kind, policy)
        else:
            await send_body(send, 200, dump(document))


def openapi_routes(service: OipService) -> list[Route]:
    """/openapi.json and /docs."""
    return [
        Route("/openapi.json", _Fixed(service, page=False), methods=["GET"]),
        Route("/docs", _Fixed(service, page=True), methods=["GET"]),
    ]
