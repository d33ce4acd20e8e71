"""The Open Inference Protocol's answers: tensors, metadata, and both as JSON. No sockets.

Outputs of a request with n frames, in this order:

    the back half's    FP32 [n, ...]  by their names in the bundle
    top_labels         BYTES [n, k]   names of the k largest values, where the bundle has labels
    top_indices        INT32 [n, k]   their places in the first output, flattened
    top_values         FP32 [n, k]
    sequence           INT32 [n]      the frames' sequence numbers

An output of the back half that has one of these names takes its place.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

import isthmus
from isthmus.errors import ModelUnknownError, RequestError
from isthmus.profile import Profile
from isthmus.server.config import ServerConfig
from isthmus.server.jsonform import dump
from isthmus.server.oip import INPUT, InferRequest
from isthmus.server.types import Answer, FrameService

__all__ = [
    "EXTENSIONS",
    "GenerationView",
    "OipService",
    "OutputTensor",
    "find_generations",
    "infer_body",
    "model_metadata",
    "output_tensors",
    "server_metadata",
]

EXTENSIONS = ("binary_tensor_data",)
PLATFORM = "isthmus"


class GenerationView(Protocol):
    """What the protocol needs to know of one bundle."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def profile(self) -> Profile: ...
    @property
    def outputs(self) -> Sequence[tuple[str, tuple[int, ...]]]: ...
    @property
    def labels(self) -> Sequence[str] | None: ...
    @property
    def latest(self) -> bool: ...


class FleetView(Protocol):
    """The bundles."""

    def models(self) -> Sequence[GenerationView]: ...


class OipService(FrameService, Protocol):
    """What the protocol needs of the server."""

    @property
    def fleet(self) -> FleetView: ...
    @property
    def ready(self) -> bool: ...
    @property
    def config(self) -> ServerConfig: ...


def find_generations(fleet: FleetView, name: str, version: str = "") -> list[GenerationView]:
    """The bundles of this name, and version where one is given, latest first; at least one."""
    named = [one for one in fleet.models() if one.name == name]
    if not named:
        held = sorted({one.name for one in fleet.models()})
        raise ModelUnknownError("model", f"is {name!r}", allowed=", ".join(held))
    found = [one for one in named if version in ("", one.version)]
    if not found:
        held = sorted(one.version for one in named)
        raise ModelUnknownError("version", f"is {version!r}", allowed=", ".join(held))
    return sorted(found, key=lambda one: not one.latest)


def server_metadata() -> dict[str, Any]:
    """The server's name, version and extensions."""
    return {"name": "isthmus", "version": isthmus.__version__, "extensions": list(EXTENSIONS)}


def model_metadata(found: Sequence[GenerationView], top: int) -> dict[str, Any]:
    """The metadata of ``find_generations``' result; -1 is a size that the request chooses."""
    first = found[0]
    outputs = [_spec(name, "FP32", [-1, *shape]) for name, shape in first.outputs]
    k = min(top, prod(first.outputs[0][1])) if first.outputs else 0
    extra = [_spec("sequence", "INT32", [-1])]
    if k:
        extra[:0] = [_spec("top_indices", "INT32", [-1, k]), _spec("top_values", "FP32", [-1, k])]
        if first.labels:
            extra.insert(0, _spec("top_labels", "BYTES", [-1, k]))
    taken = {name for name, _ in first.outputs}
    return {
        "name": first.name,
        "versions": [one.version for one in found],
        "platform": PLATFORM,
        "inputs": [_spec(INPUT, "BYTES", [-1])],
        "outputs": outputs + [one for one in extra if one["name"] not in taken],
    }


def _spec(name: str, datatype: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}


@dataclass(slots=True)
class OutputTensor:
    """One output; the values are an array of the shape, or a list of texts for BYTES."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: npt.NDArray[Any] | list[str]
    binary: bool

    def raw(self) -> bytes:
        """The values as the binary extension sends them: little-endian, row by row."""
        if isinstance(self.values, list):
            texts = [text.encode("utf-8") for text in self.values]
            return b"".join(struct.pack("<I", len(text)) + text for text in texts)
        return self.values.astype(self.values.dtype.newbyteorder("<"), copy=False).tobytes()

    def flat(self) -> list[Any]:
        """The values as a flat list of Python's own."""
        if isinstance(self.values, list):
            return self.values
        flat: list[Any] = self.values.ravel().tolist()
        return flat


def output_tensors(answers: Sequence[Answer], request: InferRequest) -> list[OutputTensor]:
    """The outputs that the request asks for, or all.

    RequestError if it names one that there is not, or its frames are of several versions.
    """
    first = answers[0]
    if any(one.version != first.version or one.model != first.model for one in answers):
        raise RequestError("inputs[0]", "has frames of several models or versions", allowed="one")
    made = _all_outputs(answers)
    if not request.outputs:
        for tensor in made.values():
            tensor.binary = request.binary
        return list(made.values())
    chosen = []
    for i, wanted in enumerate(request.outputs):
        tensor = made.get(wanted.name)  # type: ignore[assignment]
        if tensor is None:
            raise RequestError(
                f"outputs[{i}].name", f"is {wanted.name[:40]!r}", allowed=", ".join(made)
            )
        tensor.binary = request.binary if wanted.binary is None else wanted.binary
        chosen.append(tensor)
    return chosen


def _all_outputs(answers: Sequence[Answer]) -> dict[str, OutputTensor]:
    n = len(answers)
    first = answers[0]
    made: dict[str, OutputTensor] = {}
    for name, values in first.outputs.items():
        rows = values if n == 1 else np.stack([one.outputs[name] for one in answers])
        made[name] = OutputTensor(name, "FP32", (n, *values.shape), rows, False)
    k = len(first.top)
    tops = [top for one in answers for top in one.top]
    if k:
        if any(top.label for top in tops):
            texts = [top.label for top in tops]
            made.setdefault("top_labels", OutputTensor("top_labels", "BYTES", (n, k), texts, False))
        indices = np.array([top.index for top in tops], np.int32)
        largest = np.array([top.value for top in tops], np.float32)
        made.setdefault("top_indices", OutputTensor("top_indices", "INT32", (n, k), indices, False))
        made.setdefault("top_values", OutputTensor("top_values", "FP32", (n, k), largest, False))
    numbers = np.array([one.sequence for one in answers], np.int32)
    made.setdefault("sequence", OutputTensor("sequence", "INT32", (n,), numbers, False))
    return made


def infer_body(answers: Sequence[Answer], request: InferRequest) -> tuple[bytes, int | None]:
    """The body of the answer, and the length of its JSON where binary data follow it."""
    blobs: list[bytes] = []
    outputs: list[dict[str, Any]] = []
    for tensor in output_tensors(answers, request):
        output: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": tensor.shape,
        }
        if tensor.binary:
            blob = tensor.raw()
            blobs.append(blob)
            output["parameters"] = {"binary_data_size": len(blob)}
        else:
            output["data"] = tensor.flat()
        outputs.append(output)
    content: dict[str, Any] = {
        "model_name": answers[0].model,
        "model_version": answers[0].version,
        "outputs": outputs,
    }
    if request.id:
        content["id"] = request.id
    head = dump(content)
    if not blobs:
        return head, None
    return b"".join([head, *blobs]), len(head)
