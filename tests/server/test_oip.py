"""The Open Inference Protocol without sockets: bytes written by hand in, frames and errors out."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.errors import (
    BodyTooLargeError,
    RequestError,
)
from isthmus.server.bodies import check_length, inflate
from isthmus.server.oip import InferRequest, WantedOutput, parse_infer

MOST = 8
# A frame's header as BITSTREAM.md lays it out: version 1, rung 1, no payload, sequence 0x0203.
FRAME = bytes([0x10, 0x20, 0, 0, 0xAA, 0xBB, 0x03, 0x02, 1, 2, 3, 4])


def request(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "bitstream", "datatype": "BYTES", "shape": [1], "data": ["abc"]}
    tensor.update(changes)
    return {"inputs": [{key: value for key, value in tensor.items() if value is not None}]}


def parse(content: dict[str, Any], most: int = MOST) -> InferRequest:
    return parse_infer(json.dumps(content).encode(), None, most)


def binary(elements: bytes, shape: list[int], **parameters: Any) -> InferRequest:
    parameters.setdefault("binary_data_size", len(elements))
    head = json.dumps(request(shape=shape, data=None, parameters=parameters)).encode()
    return parse_infer(head + elements, len(head), MOST)


def test_a_string_is_its_utf8_bytes() -> None:
    assert parse(request(data=["a\u00e9"])).frames == [b"a\xc3\xa9"]


def test_base64_and_latin_1_carry_any_byte() -> None:
    every = bytes(range(256))
    text = base64.b64encode(every).decode()
    for key in ("encoding", "content_type"):
        assert parse(request(data=[text], parameters={key: "base64"})).frames == [every]
    text = every.decode("latin-1")
    assert parse(request(data=[text], parameters={"encoding": "latin-1"})).frames == [every]


def test_shapes_of_one_and_of_several() -> None:
    assert parse(request(shape=[2], data=["a", "b"])).frames == [b"a", b"b"]
    assert parse(request(shape=[2, 1], data=["a", "b"])).frames == [b"a", b"b"]
    assert parse(request(shape=[2, 1], data=[["a"], ["b"]])).frames == [b"a", b"b"]


def test_binary_elements_after_their_lengths() -> None:
    elements = b"\x03\x00\x00\x00abc" + b"\x00\x00\x00\x00" + b"\x01\x00\x00\x00\xff"
    assert binary(elements, [3]).frames == [b"abc", b"", b"\xff"]


def test_a_header_length_of_zero_is_one_frame() -> None:
    assert parse_infer(FRAME, 0, MOST).frames == [FRAME]
    assert parse_infer(b"", 0, MOST).frames == [b""]


def test_device_and_sequence_of_input_and_request() -> None:
    text = base64.b64encode(FRAME).decode()
    own = {"encoding": "base64", "device": 7, "sequence": 0x0203}
    assert parse(request(data=[text], parameters=own)).device == "7"
    shared = {**request(data=["abc"]), "parameters": {"device": "cellar 3"}}
    assert parse(shared).device == "cellar 3"
    with pytest.raises(RequestError, match=r"parameters.sequence: is 9; allowed: 515"):
        parse(request(data=[text], parameters={**own, "sequence": 9}))


def test_outputs_and_their_form() -> None:
    content = request()
    content["id"] = "42"
    content["parameters"] = {"binary_data_output": True}
    content["outputs"] = [{"name": "a"}, {"name": "b", "parameters": {"binary_data": False}}]
    found = parse(content)
    assert found.id == "42"
    assert found.binary
    assert found.outputs == (WantedOutput("a"), WantedOutput("b", False))


BAD = {
    "no object": (b"[]", "body"),
    "no JSON": (b"{", "body"),
    "no UTF-8": (b'{"inputs": "\xff"}', "body"),
    "UTF-16": ('{"inputs": []}'.encode("utf-16"), "body"),
    "NaN": (b'{"inputs": NaN}', "body"),
    "too deep": (b"[" * 200_000, "body"),
    "too many digits": (b'{"inputs": ' + b"9" * 5000 + b"}", "body"),
    "no inputs": (b"{}", "inputs"),
    "two inputs": (b'{"inputs": [{}, {}]}', "inputs"),
    "input no object": (b'{"inputs": [1]}', "inputs[0]"),
    "id no string": (json.dumps({**request(), "id": 1}).encode(), "id"),
    "parameters no object": (json.dumps({**request(), "parameters": 1}).encode(), "parameters"),
    "outputs no list": (json.dumps({**request(), "outputs": {}}).encode(), "outputs"),
    "output no object": (json.dumps({**request(), "outputs": [1]}).encode(), "outputs[0]"),
    "output twice": (
        json.dumps({**request(), "outputs": [{"name": "a"}, {"name": "a"}]}).encode(),
        "outputs[1].name",
    ),
    "classification": (
        json.dumps(
            {**request(), "outputs": [{"name": "a", "parameters": {"classification": 3}}]}
        ).encode(),
        "outputs[0].parameters.classification",
    ),
    "shared memory": (
        json.dumps(request(data=None, parameters={"shared_memory_region": "r"})).encode(),
        "inputs[0].parameters.shared_memory_region",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_well_formed(case: str) -> None:
    body, path = BAD[case]
    with pytest.raises(RequestError) as caught:
        parse_infer(body, None, MOST)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"name": "x"}, "inputs[0].name"),
        ({"datatype": "UINT8"}, "inputs[0].datatype"),
        ({"shape": []}, "inputs[0].shape"),
        ({"shape": [0]}, "inputs[0].shape"),
        ({"shape": [True]}, "inputs[0].shape"),
        ({"shape": [1.0]}, "inputs[0].shape"),
        ({"shape": [MOST + 1]}, "inputs[0].shape"),
        ({"shape": [1, 2]}, "inputs[0].shape"),
        ({"shape": [1, 1, 1]}, "inputs[0].shape"),
        ({"data": None}, "inputs[0].data"),
        ({"data": "abc"}, "inputs[0].data"),
        ({"data": []}, "inputs[0].data"),
        ({"data": ["a", "b"]}, "inputs[0].data"),
        ({"data": [1]}, "inputs[0].data[0]"),
        ({"data": [["a", "b"]]}, "inputs[0].data[0]"),
        ({"data": ["\ud800"]}, "inputs[0].data[0]"),
        ({"parameters": {"encoding": "hex"}}, "inputs[0].parameters.encoding"),
        ({"parameters": {"encoding": "base64"}, "data": ["a"]}, "inputs[0].data[0]"),
        ({"parameters": {"encoding": "base64"}, "data": ["YQ==!"]}, "inputs[0].data[0]"),
        ({"parameters": {"encoding": "latin-1"}, "data": ["\u0100"]}, "inputs[0].data[0]"),
        ({"parameters": {"device": []}}, "parameters.device"),
        ({"parameters": {"device": -1}}, "parameters.device"),
        ({"parameters": {"device": "a\nb"}}, "parameters.device"),
        ({"parameters": {"device": "a" * 129}}, "parameters.device"),
        ({"parameters": {"sequence": 65536}}, "parameters.sequence"),
        ({"parameters": {"sequence": "1"}}, "parameters.sequence"),
        ({"parameters": {"binary_data_size": 0}}, "inputs[0].parameters.binary_data_size"),
    ],
)
def test_inputs_that_are_refused(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(request(**changes))
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("elements", "count", "path"),
    [
        (b"", 1, "inputs[0].data[0]"),
        (b"\x01\x00\x00", 1, "inputs[0].data[0]"),
        (b"\x04\x00\x00\x00abc", 1, "inputs[0].data[0]"),
        (b"\xff\xff\xff\xffabc", 1, "inputs[0].data[0]"),
        (b"\x03\x00\x00\x00abc", 2, "inputs[0].data[1]"),
        (b"\x03\x00\x00\x00abcd", 1, "inputs[0].data"),
    ],
)
def test_binary_data_that_do_not_add_up(elements: bytes, count: int, path: str) -> None:
    with pytest.raises(RequestError) as caught:
        binary(elements, [count])
    assert caught.value.path == path


@pytest.mark.parametrize("size", [6, 8, -1, True, "7", 1 << 80])
def test_a_size_that_is_not_the_rest(size: Any) -> None:
    with pytest.raises(RequestError, match="binary_data_size"):
        binary(b"\x03\x00\x00\x00abc", [1], binary_data_size=size)


def test_bytes_that_no_input_claims() -> None:
    head = json.dumps(request()).encode()
    with pytest.raises(RequestError, match="1 bytes that no input claims"):
        parse_infer(head + b"x", len(head), MOST)


def test_a_header_length_beyond_the_body() -> None:
    with pytest.raises(RequestError, match="Inference-Header-Content-Length"):
        parse_infer(b"{}", 3, MOST)


HEADS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["inputs", "name", "datatype", "shape", "data", "parameters", "outputs", "id",
                 "binary_data_size", "encoding", "device", "sequence", "binary_data"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(HEADS, st.binary(max_size=64), st.integers(-4, 200) | st.none())
def test_any_request_is_read_or_refused(content: Any, rest: bytes, length: int | None) -> None:
    head = json.dumps(content).encode()
    for json_bytes in (length, len(head)):
        try:
            found = parse_infer(head + rest, json_bytes, MOST)
        except RequestError:
            continue
        assert 1 <= len(found.frames) <= MOST


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_any_binary_data_are_read_whole_or_refused(data: st.DataObject) -> None:
    frames = data.draw(st.lists(st.binary(max_size=12), min_size=1, max_size=MOST))
    elements = b"".join(len(frame).to_bytes(4, "little") + frame for frame in frames)
    assert binary(elements, [len(frames)]).frames == frames
    at = data.draw(st.integers(0, len(elements) - 1))
    changed = data.draw(st.binary(min_size=0, max_size=3))
    mutated = elements[:at] + changed + elements[at + data.draw(st.integers(0, 3)) :]
    count = data.draw(st.integers(1, MOST))
    try:
        found = binary(mutated, [count]).frames
    except RequestError:
        return
    # What was read accounts for every byte.
    assert len(found) == count
    again = b"".join(len(frame).to_bytes(4, "little") + frame for frame in found)
    assert again == mutated


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate"]), st.integers(0, 300))
def test_any_compressed_body_is_bounded(data: bytes, encoding: str, at: int) -> None:
    packed = gzip.compress(data) if encoding == "gzip" else zlib.compress(data)
    for body in (packed, packed[:at], packed[:at] + b"\x55" + packed[at + 1 :], data):
        try:
            plain = inflate(body, encoding, 100)
        except (RequestError, BodyTooLargeError):
            continue
        assert len(plain) <= 100


def test_compressed_bodies() -> None:
    assert inflate(gzip.compress(b"abc"), "gzip", 3) == b"abc"
    assert inflate(zlib.compress(b"abc"), "deflate", 3) == b"abc"
    with pytest.raises(BodyTooLargeError):
        inflate(gzip.compress(bytes(1 << 20)), "gzip", 1 << 16)
    with pytest.raises(RequestError, match="ends before"):
        inflate(gzip.compress(b"abc")[:-1], "gzip", 100)
    with pytest.raises(RequestError, match="1 bytes behind"):
        inflate(gzip.compress(b"abc") + b"x", "gzip", 100)
    with pytest.raises(RequestError, match="Content-Encoding"):
        inflate(b"abc", "br", 100)


def test_said_lengths() -> None:
    check_length(b"100", 100)
    with pytest.raises(BodyTooLargeError):
        check_length(b"101", 100)
    for bad in (b"-1", b"1e3", b"9" * 21, b""):
        with pytest.raises(RequestError):
            check_length(bad, 100)
