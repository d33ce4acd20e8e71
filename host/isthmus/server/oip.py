"""The Open Inference Protocol, version 2: requests into frames, answers into tensors. No sockets.

A request has one input, ``bitstream``, of datatype BYTES and shape [n] or [n, 1]: n frames, sealed
or not, of one bundle's one version. What may stand where:

    JSON                 {"inputs": [{"name": "bitstream", "datatype": "BYTES", "shape": [1],
                         "data": ["..."], "parameters": {"encoding": "base64"}}]}
    JSON and binary      ``binary_data_size`` instead of ``data``; behind the JSON, whose length the
                         header Inference-Header-Content-Length says, each frame after its length
                         (32 bits, little-endian)
    one frame            the header says 0: the body is the frame

A string of ``data`` stands for its UTF-8 bytes, as clients of the protocol write them. Few frames
are UTF-8, so ``encoding`` (or ``content_type``, as other servers call it) may say ``base64`` or
``latin-1`` (one character for each byte).

Parameters, of the input or else of the request: ``encoding`` as above, ``device`` names the sender,
``sequence`` is the sequence number that the first frame must carry.

Every length is checked against the bytes that are there before it is used, all bytes must be
consumed, and what is not well formed is a RequestError with the place.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from isthmus.codec.frame import Octets
from isthmus.errors import RequestError
from isthmus.server.jsonform import peek_sequence

__all__ = [
    "INPUT",
    "InferRequest",
    "WantedOutput",
    "check_device",
    "check_input",
    "check_sequence",
    "device_name",
    "parse_infer",
    "read_outputs",
    "read_parameters",
    "split_bytes",
]

INPUT = "bitstream"

_LENGTH = struct.Struct("<I")
_DEVICE_CHARACTERS = 128
_ENCODINGS = ("utf-8", "base64", "latin-1")


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """An output that the request names; ``binary`` None is as the request's other outputs."""

    name: str
    binary: bool | None = None


@dataclass(slots=True)
class InferRequest:
    """What a request asks for.

    frames    one or more, not looked into
    device    "" where it names none
    outputs   in the order asked for; none: all
    binary    whether outputs that do not say so are sent as binary data
    """

    frames: list[bytes]
    id: str = ""
    device: str = ""
    outputs: tuple[WantedOutput, ...] = ()
    binary: bool = False


def parse_infer(body: Octets, json_bytes: int | None, most: int) -> InferRequest:
    """A request's body; ``json_bytes`` is Inference-Header-Content-Length, None without the header.

    ``most`` is how many frames a request may have. Raises RequestError only.
    """
    if json_bytes == 0:
        return InferRequest([bytes(body)])
    size = len(body)
    if json_bytes is None:
        json_bytes = size
    elif not 0 <= json_bytes <= size:
        raise RequestError(
            "Inference-Header-Content-Length", f"is {json_bytes}", allowed=f"0..{size}, the body"
        )
    view = memoryview(body)
    request = _object(_load(view[:json_bytes]), "body")
    parameters = read_parameters(request.get("parameters"), "parameters")
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1:
        raise RequestError("inputs", "are not a list of one", allowed=f"one input, {INPUT!r}")
    tensor = _object(inputs[0], "inputs[0]")
    own = read_parameters(tensor.get("parameters"), "inputs[0].parameters")
    count = check_input(tensor.get("name"), tensor.get("datatype"), tensor.get("shape"), most)
    encoding = _encoding(own, "inputs[0].parameters") or _encoding(parameters, "parameters")
    frames = _frames(tensor.get("data"), own, view[json_bytes:], count, encoding or "utf-8")
    result = InferRequest(
        frames,
        id=_text(request.get("id"), "id"),
        device=check_device(own, parameters),
        outputs=read_outputs(request.get("outputs")),
        binary=_flag(parameters.get("binary_data_output"), "parameters.binary_data_output")
        or False,
    )
    check_sequence(own, parameters, frames[0])
    return result


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_constant)


def _load(data: memoryview) -> Any:
    try:
        return _DECODER.decode(str(data, "utf-8"))
    except RecursionError:
        raise RequestError("body", "is JSON nested too deeply") from None
    except ValueError as error:
        raise RequestError("body", f"is no JSON ({error})", allowed="a JSON object") from None


def _object(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RequestError(path, "is no object", allowed="a JSON object")
    return value


def _text(value: Any, path: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RequestError(path, "is no string", allowed="a string")
    return value


def _flag(value: Any, path: str) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise RequestError(path, "is no boolean", allowed="true or false")
    return value


def read_parameters(value: Any, path: str) -> Mapping[str, Any]:
    """The parameters, {} where there are none; those that only others understand are left alone."""
    if value is None:
        return {}
    found = _object(value, path)
    if "shared_memory_region" in found:
        raise RequestError(
            f"{path}.shared_memory_region", "is not supported", allowed="data in the request"
        )
    return found


def check_input(name: Any, datatype: Any, shape: Any, most: int) -> int:
    """How many frames an input of this name, datatype and shape has."""
    if name != INPUT:
        raise RequestError("inputs[0].name", f"is {_brief(name)}", allowed=repr(INPUT))
    if datatype != "BYTES":
        raise RequestError("inputs[0].datatype", f"is {_brief(datatype)}", allowed="'BYTES'")
    if (
        not isinstance(shape, list)
        or not 1 <= len(shape) <= 2
        or any(type(size) is not int for size in shape)
        or (len(shape) == 2 and shape[1] != 1)
        or not 1 <= shape[0] <= most
    ):
        raise RequestError(
            "inputs[0].shape", f"is {_brief(shape)}", allowed=f"[n] or [n, 1], n 1..{most} frames"
        )
    count: int = shape[0]
    return count


def _brief(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of more digits than Python prints
        return "something else"
    return text if len(text) <= 40 else f"{text[:40]}..."


def check_device(own: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    """The parameter ``device`` of the input, else of the request, else ""; a number as decimal."""
    value = own.get("device")
    if value is None:
        value = shared.get("device")
    if value is None:
        return ""
    if type(value) is int and 0 <= value < 1 << 63:
        return str(value)
    return device_name(value, "parameters.device")


def device_name(value: Any, path: str) -> str:
    """``value`` if it may be a device's name."""
    if isinstance(value, str) and len(value) <= _DEVICE_CHARACTERS and value.isprintable():
        return value
    raise RequestError(
        path,
        f"is {_brief(value)}",
        allowed=f"a number, or at most {_DEVICE_CHARACTERS} printable characters",
    )


def check_sequence(own: Mapping[str, Any], shared: Mapping[str, Any], frame: Octets) -> None:
    """The parameter ``sequence``, if any, against what the header of ``frame`` says."""
    value = own.get("sequence")
    if value is None:
        value = shared.get("sequence")
    if value is None:
        return
    if type(value) is not int or not 0 <= value <= 65535:
        raise RequestError("parameters.sequence", f"is {_brief(value)}", allowed="0..65535")
    found = peek_sequence(frame)
    if found is not None and found != value:
        raise RequestError("parameters.sequence", f"is {value}", allowed=f"{found}, as the frame's")


def read_outputs(value: Any) -> tuple[WantedOutput, ...]:
    """The outputs asked for; each once, since each is sent."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise RequestError("outputs", "is no list", allowed="a list of outputs")
    wanted: dict[str, WantedOutput] = {}
    for i, item in enumerate(value):
        path = f"outputs[{i}]"
        output = _object(item, path)
        name = output.get("name")
        if not isinstance(name, str) or name in wanted:
            raise RequestError(f"{path}.name", f"is {_brief(name)}", allowed="each output once")
        parameters = read_parameters(output.get("parameters"), f"{path}.parameters")
        if parameters.get("classification"):
            raise RequestError(
                f"{path}.parameters.classification", "is not supported",
                remedy="ask for the outputs top_labels, top_indices and top_values",
            )  # fmt: skip
        binary = _flag(parameters.get("binary_data"), f"{path}.parameters.binary_data")
        wanted[name] = WantedOutput(name, binary)
    return tuple(wanted.values())


def _frames(
    data: Any, parameters: Mapping[str, Any], rest: memoryview, count: int, encoding: str
) -> list[bytes]:
    size = parameters.get("binary_data_size")
    if size is None:
        if len(rest):
            raise RequestError("body", f"has {len(rest)} bytes that no input claims", allowed="0")
        return _decode_strings(data, encoding, count)
    path = "inputs[0].parameters.binary_data_size"
    if data is not None:
        raise RequestError(path, "stands beside data", allowed="one of the two")
    if type(size) is not int or size != len(rest):
        raise RequestError(path, f"is {_brief(size)}", allowed=f"{len(rest)}, what the body has")
    return split_bytes(rest, count, "inputs[0].data")


def split_bytes(data: Octets, count: int, path: str) -> list[bytes]:
    """``count`` elements of a BYTES tensor, each after its 32-bit length, and nothing else."""
    view = memoryview(data)
    size = len(view)
    frames: list[bytes] = []
    at = 0
    while len(frames) < count:
        if size - at < 4:
            raise RequestError(
                f"{path}[{len(frames)}]", f"has {size - at} bytes left for its length", allowed="4"
            )
        length: int = _LENGTH.unpack_from(view, at)[0]
        at += 4
        if length > size - at:
            raise RequestError(
                f"{path}[{len(frames)}]", f"is said to have {length} bytes",
                allowed=f"<= {size - at}, what is left",
            )  # fmt: skip
        frames.append(bytes(view[at : at + length]))
        at += length
    if at != size:
        raise RequestError(path, f"has {size - at} bytes behind its {count} elements", allowed="0")
    return frames


def _encoding(parameters: Mapping[str, Any], path: str) -> str:
    for key in ("encoding", "content_type"):
        value = parameters.get(key)
        if value is not None:
            if value not in _ENCODINGS:
                raise RequestError(
                    f"{path}.{key}", f"is {_brief(value)}", allowed=", ".join(_ENCODINGS)
                )
            return str(value)
    return ""


def _decode_strings(data: Any, encoding: str, count: int) -> list[bytes]:
    if not isinstance(data, list) or len(data) != count:
        raise RequestError(
            "inputs[0].data", "is missing or of another length than the shape's",
            allowed=f"a list of {count} strings, or binary_data_size",
        )  # fmt: skip
    frames = []
    for i, item in enumerate(data):
        text = item[0] if isinstance(item, list) and len(item) == 1 else item
        if not isinstance(text, str):
            raise RequestError(f"inputs[0].data[{i}]", "is no string", allowed="a string")
        try:
            if encoding == "base64":
                frames.append(base64.b64decode(text, validate=True))
            else:
                frames.append(text.encode(encoding))
        except (binascii.Error, ValueError):
            raise RequestError(f"inputs[0].data[{i}]", f"is no {encoding}") from None
    return frames
