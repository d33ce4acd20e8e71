"""Features between servers: the Open Inference Protocol with one FP32 tensor. No sockets.

What a server that decodes posts to one that computes, with the binary extension:

    JSON        {"inputs": [{"name": "features", "datatype": "FP32", "shape": [n, ...],
                 "parameters": {"binary_data_size": 4 * n * ...}}],
                 "parameters": {"binary_data_output": true}}
    behind it   the values, little-endian, row by row

and the answer likewise with the back half's outputs, each FP32 [n, ...]. Any server of the protocol
can be the one that computes. Every size is checked against the bundle before it is used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.codec.frame import Octets
from isthmus.errors import BackHalfError, RequestError
from isthmus.server.jsonform import dump

__all__ = ["INPUT", "Output", "pack_features", "pack_outputs", "read_features", "read_outputs"]

INPUT = "features"
#: An output's name, and its shape without the batch dimension.
Output = tuple[str, tuple[int, ...]]

Array = npt.NDArray[np.float32]


def _tensor(name: str, values: Array) -> tuple[dict[str, Any], bytes]:
    raw = np.ascontiguousarray(values, "<f4").tobytes()
    entry = {
        "name": name,
        "datatype": "FP32",
        "shape": list(values.shape),
        "parameters": {"binary_data_size": len(raw)},
    }
    return entry, raw


def pack_features(features: Array, outputs: Sequence[Output], name: str) -> tuple[bytes, int]:
    """A request's body for features [n, ...], and the length of its JSON."""
    entry, raw = _tensor(name, features)
    wanted = [{"name": one, "parameters": {"binary_data": True}} for one, _ in outputs]
    head = dump({"inputs": [entry], "outputs": wanted})
    return head + raw, len(head)


def read_features(
    body: Octets, json_bytes: int | None, shape: tuple[int, ...], most: int
) -> tuple[Array, str]:
    """The features [n, *shape] of a request, n from 1 to ``most``, and its id; RequestError."""
    request, blobs = _split(body, json_bytes, RequestError)
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise RequestError("inputs", "are not a list of one object", allowed=f"one, {INPUT!r}")
    entry = inputs[0]
    if entry.get("name") != INPUT or entry.get("datatype") != "FP32":
        raise RequestError("inputs[0]", "has another name or datatype", allowed=f"{INPUT!r}, FP32")
    size = entry.get("shape")
    if (
        not isinstance(size, list)
        or any(type(one) is not int for one in size)
        or tuple(size[1:]) != shape
        or not 1 <= size[0] <= most
    ):
        raise RequestError(
            "inputs[0].shape", "does not fit the bundle", allowed=f"n, {shape}; n 1..{most}"
        )
    values, rest = _values(entry, blobs, "inputs[0]", RequestError)
    if len(rest):
        raise RequestError("body", f"has {len(rest)} bytes that no input claims", allowed="0")
    if not np.isfinite(values).all():
        raise RequestError("inputs[0]", "has values that are not finite")
    found = request.get("id", "")
    if not isinstance(found, str):
        raise RequestError("id", "is no string")
    return values, found


def pack_outputs(
    model: str, version: str, request_id: str, names: Sequence[str], outputs: Sequence[Array]
) -> tuple[bytes, int]:
    """An answer's body, and the length of its JSON."""
    made = [_tensor(name, values) for name, values in zip(names, outputs, strict=True)]
    content: dict[str, Any] = {"model_name": model, "model_version": version}
    if request_id:
        content["id"] = request_id
    head = dump({**content, "outputs": [entry for entry, _ in made]})
    return head + b"".join(raw for _, raw in made), len(head)


def read_outputs(
    body: Octets, json_bytes: int | None, outputs: Sequence[Output], count: int
) -> list[Array]:
    """The ``outputs`` of an answer to ``count`` features, in their order; BackHalfError.

    Others that it holds are left alone. Values may stand behind the JSON or in it.
    """
    answer, rest = _split(body, json_bytes, BackHalfError)
    entries = answer.get("outputs")
    if not isinstance(entries, list):
        raise BackHalfError("predictor: outputs", "are no list")
    found: dict[str, Array] = {}
    for i, entry in enumerate(entries):
        path = f"outputs[{i}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise BackHalfError(f"predictor: {path}", "has no name")
        shape = next(((count, *s) for name, s in outputs if name == entry["name"]), None)
        if shape is None:
            rest = _skip(entry, rest, path)
            continue
        if entry.get("datatype") != "FP32" or entry.get("shape") != list(shape):
            raise BackHalfError(
                f"predictor: {path}", "is of another datatype or shape", allowed=f"FP32 {shape}",
                remedy="serve the back half of the same bundle there",
            )  # fmt: skip
        found[entry["name"]], rest = _values(entry, rest, path, BackHalfError)
    missing = [name for name, _ in outputs if name not in found]
    if missing or len(rest):
        what = f"lack {', '.join(missing)}" if missing else "leave bytes that none claims"
        raise BackHalfError("predictor: outputs", what)
    return [found[name] for name, _ in outputs]


Refusal = type[RequestError] | type[BackHalfError]


def _split(
    body: Octets, json_bytes: int | None, refusal: Refusal
) -> tuple[dict[str, Any], memoryview]:
    view = memoryview(body)
    end = len(view) if json_bytes is None else json_bytes
    if not 0 <= end <= len(view):
        raise refusal("Inference-Header-Content-Length", f"is {end}", allowed=f"0..{len(view)}")
    try:
        content = json.loads(str(view[:end], "utf-8"))
    except (ValueError, RecursionError):
        raise refusal("body", "is no JSON", allowed="a JSON object") from None
    if not isinstance(content, dict):
        raise refusal("body", "is no object", allowed="a JSON object")
    return content, view[end:]


def _binary_size(entry: dict[str, Any], path: str, refusal: Refusal, most: int) -> int | None:
    parameters = entry.get("parameters") or {}
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is not None and (type(size) is not int or not 0 <= size <= most):
        raise refusal(f"{path}.parameters.binary_data_size", "does not fit", allowed=f"0..{most}")
    return size


def _skip(entry: dict[str, Any], rest: memoryview, path: str) -> memoryview:
    return rest[_binary_size(entry, path, BackHalfError, len(rest)) or 0 :]


def _values(
    entry: dict[str, Any], rest: memoryview, path: str, refusal: Refusal
) -> tuple[Array, memoryview]:
    """The values of a tensor whose shape was checked, and the bytes behind it."""
    shape = entry["shape"]
    count = prod(shape)
    size = _binary_size(entry, path, refusal, len(rest))
    if size is not None:
        if size != 4 * count:
            raise refusal(
                f"{path}.parameters.binary_data_size", f"is {size}", allowed=f"{4 * count}"
            )
        values = np.frombuffer(rest[:size], "<f4").astype(np.float32)  # a copy, aligned
        return values.reshape(shape), rest[size:]
    data = entry.get("data")
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
            values = np.asarray(data, np.float32)
    except (TypeError, ValueError, OverflowError):
        raise refusal(f"{path}.data", "holds something that is no number") from None
    if values.size != count or data is None:
        raise refusal(f"{path}.data", "is missing or of another length", allowed=f"{count} numbers")
    return values.reshape(shape), rest
