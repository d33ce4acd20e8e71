"""The JSON of requests and answers as schemas (JSON Schema 2020-12, as OpenAPI 3.1 uses it)."""

from __future__ import annotations

from typing import Any

SCHEMAS: dict[str, Any]


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
    }


def _list(items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
_COUNT = {"type": "integer", "minimum": 0}
_NUMBER = {"type": "number"}
_SEQUENCE = {"type": "integer", "minimum": 0, "maximum": 65535}
_VERSION = {"type": "string", "pattern": "^[0-9a-f]{12}$"}
_DATATYPE = {"enum": ["BYTES", "FP32", "INT32"]}
_DEVICE = {
    "description": "who sends, for limits and results; a seal's device comes first",
    "oneOf": [{"type": "integer", "minimum": 0}, {"type": "string", "maxLength": 128}],
}
_ERROR_NUMBER = {"type": "integer", "minimum": 1, "maximum": 109}

_SHARED_PARAMETERS = {
    "device": _DEVICE,
    "sequence": {**_SEQUENCE, "description": "what the first frame's header must say"},
    "encoding": {"enum": ["utf-8", "base64", "latin-1"], "default": "utf-8"},
    "content_type": {"enum": ["utf-8", "base64", "latin-1"], "description": "the same"},
}

_METADATA = _list(
    _object(
        {
            "name": _TEXT,
            "datatype": _DATATYPE,
            "shape": {**_list({"type": "integer", "minimum": -1}), "description": "-1: any size"},
        }
    )
)

_INPUT = _object(
    {
        "name": {"const": "bitstream"},
        "datatype": {"const": "BYTES"},
        "shape": {
            **_list({"type": "integer", "minimum": 1}, minItems=1, maxItems=2),
            "description": "[n] or [n, 1]: n frames",
        },
    },
    {
        "data": _list(
            {"oneOf": [_TEXT, _list(_TEXT, minItems=1, maxItems=1)]},
            minItems=1,
            description="the frames, as parameters.encoding says",
        ),
        "parameters": {
            "type": ["object", "null"],
            "properties": {
                **_SHARED_PARAMETERS,
                "binary_data_size": {
                    **_COUNT,
                    "description": "instead of data: bytes behind the JSON, "
                    "each frame after its length (32 bits, little-endian)",
                },
            },
        },
    },
)

_INPUT["anyOf"] = [
    {"required": ["data"]},
    {
        "required": ["parameters"],
        "properties": {"parameters": {"type": "object", "required": ["binary_data_size"]}},
    },
]

_OUTPUT = _object(
    {"name": _TEXT, "datatype": _DATATYPE, "shape": _list(_COUNT, minItems=1)},
    {
        "data": {
            "description": "flat, row by row; null stands for NaN and infinities",
            "type": "array",
            "items": {"type": ["number", "string", "null"]},
        },
        "parameters": _object({"binary_data_size": _COUNT}),
    },
)

_ANSWER = _object(
    {
        "model": _TEXT,
        "version": _VERSION,
        "device": _TEXT,
        "sequence": _SEQUENCE,
        "rung": {"type": "integer", "minimum": 0, "maximum": 7},
        "outputs": {"type": "object", "additionalProperties": {"type": ["array", "number"]}},
        "top": _list(_object({"index": _COUNT, "value": {"type": ["number", "null"]},
                              "label": _TEXT})),
        "bits_per_element": _NUMBER,
        "concealed": _COUNT,
        "slices_lost": _COUNT,
        "timings_ms": _object(
            {"queue": _NUMBER, "decode": _NUMBER, "compute": _NUMBER, "total": _NUMBER}
        ),
    }
)  # fmt: skip

SCHEMAS = {
    "Live": _object({"live": _FLAG}),
    "Ready": _object({"ready": _FLAG}),
    "Models": _object({"models": _list(_TEXT)}),
    "ModelReady": _object({"name": _TEXT, "ready": _FLAG}),
    "ServerMetadata": _object({"name": _TEXT, "version": _TEXT, "extensions": _list(_TEXT)}),
    "ModelMetadata": _object(
        {
            "name": _TEXT,
            "versions": _list(_VERSION),
            "platform": _TEXT,
            "inputs": _METADATA,
            "outputs": _METADATA,
        }
    ),
    "InferRequest": _object(
        {"inputs": _list(_INPUT, minItems=1, maxItems=1)},
        {
            "id": {"type": ["string", "null"]},
            "parameters": {
                "type": ["object", "null"],
                "properties": {**_SHARED_PARAMETERS, "binary_data_output": _FLAG},
            },
            "outputs": _list(
                _object(
                    {"name": _TEXT},
                    {
                        "parameters": {
                            "type": ["object", "null"],
                            "properties": {"binary_data": _FLAG},
                        }
                    },
                )
            ),
        },
    ),
    "InferResponse": _object(
        {"model_name": _TEXT, "model_version": _VERSION, "outputs": _list(_OUTPUT)}, {"id": _TEXT}
    ),
    "Error": _object({"error": _TEXT, "code": _ERROR_NUMBER, "name": _TEXT, "path": _TEXT}),
    "Answer": _ANSWER,
    "ErrorObject": _object(
        {
            "code": _ERROR_NUMBER, "name": _TEXT, "path": _TEXT, "what": _TEXT, "allowed": _TEXT,
            "remedy": _TEXT,
        }
    ),
    "Refusal": _object(
        {
            "error": _ref("ErrorObject"),
            "sequence": {
                "type": ["integer", "null"],
                "minimum": 0,
                "maximum": 65535,
                "description": "of the frame, where it could be read that far",
            },
        }
    ),
}  # fmt: skip
