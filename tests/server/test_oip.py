"""The Open Inference Protocol without sockets: bytes written by hand in, frames and errors out."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import zlib
from typing import Any

import numpy as np
import pytest
from fake_service import FakeService
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.errors import (
    BodyTooLargeError,
    BundleFormatError,
    ChecksumError,
    ModelUnknownError,
    RequestError,
)
from isthmus.server.bodies import check_length, inflate
from isthmus.server.config import LimitsConfig
from isthmus.server.infer import http_status, infer, most_frames
from isthmus.server.jsonform import answer_json, dump, peek_sequence, refusal_json
from isthmus.server.oip import InferRequest, WantedOutput, parse_infer
from isthmus.server.oip_answer import find_generations, infer_body, model_metadata
from isthmus.server.types import Answer, Origin, Timings, Top

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


def answer(**changes: Any) -> Answer:
    made = Answer(
        "digits", "0123456789ab", "7", 515, 1,
        {"probabilities": np.array([0.25, 0.5], np.float32)},
        (Top(1, 0.5, "one"), Top(0, 0.25, "z\u00e9ro")),
        frame_bytes=4, elements=16, timings=Timings(0.001, 0.0000125, 0.25, 1.0),
    )  # fmt: skip
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_an_answer_as_json() -> None:
    assert json.loads(answer_json(answer(concealed=3, slices_lost=1))) == {
        "model": "digits",
        "version": "0123456789ab",
        "device": "7",
        "sequence": 515,
        "rung": 1,
        "outputs": {"probabilities": [0.25, 0.5]},
        "top": [
            {"index": 1, "value": 0.5, "label": "one"},
            {"index": 0, "value": 0.25, "label": "z\u00e9ro"},
        ],
        "bits_per_element": 2.0,
        "concealed": 3,
        "slices_lost": 1,
        "timings_ms": {"queue": 1.0, "decode": 0.012, "compute": 250.0, "total": 1000.0},
    }


def test_what_is_no_number_is_null() -> None:
    outputs = {"p": np.array([[np.nan, 1.0], [np.inf, -np.inf]], np.float32)}
    assert json.loads(answer_json(answer(outputs=outputs)))["outputs"] == {
        "p": [[None, 1.0], [None, None]]
    }
    assert dump((float("nan"),)) == b"[null]"


def test_a_refusal_as_json() -> None:
    error = RequestError("a", "b", allowed="c", remedy="d")
    assert json.loads(refusal_json(error, 5)) == {
        "error": {
            "code": 90, "name": "request", "path": "a", "what": "b", "allowed": "c", "remedy": "d",
        },
        "sequence": 5,
    }  # fmt: skip
    assert json.loads(refusal_json(error))["sequence"] is None


def test_the_sequence_of_any_unit() -> None:
    assert peek_sequence(FRAME) == 0x0203
    # A packet has it at bytes 3 and 4; a seal's envelope is 12 bytes before the unit.
    packet = bytes([0x12, 0, 0, 0x05, 0x04, 0, 0, 0, 1, 2, 3, 4])
    assert peek_sequence(packet) == 0x0405
    envelope = bytes([0x18, 8, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0])
    assert peek_sequence(envelope + FRAME + bytes(8)) == 0x0203
    for bad in (b"", FRAME[:7], b"\x20" + FRAME[1:], envelope, envelope + envelope):
        assert peek_sequence(bad) is None


def test_an_answer_in_json_tensors() -> None:
    body, length = infer_body([answer()], InferRequest([FRAME], id="x"))
    assert length is None
    assert json.loads(body) == {
        "model_name": "digits",
        "model_version": "0123456789ab",
        "id": "x",
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.5]},
            {"name": "top_labels", "datatype": "BYTES", "shape": [1, 2],
             "data": ["one", "z\u00e9ro"]},
            {"name": "top_indices", "datatype": "INT32", "shape": [1, 2], "data": [1, 0]},
            {"name": "top_values", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 0.25]},
            {"name": "sequence", "datatype": "INT32", "shape": [1], "data": [515]},
        ],
    }  # fmt: skip


def test_an_answer_in_binary_tensors() -> None:
    names = ("top_labels", "sequence", "probabilities", "top_indices")
    wanted = tuple(WantedOutput(name, False if name == "sequence" else None) for name in names)
    both = [answer(), answer(sequence=1)]
    body, length = infer_body(both, InferRequest([], outputs=wanted, binary=True))
    assert length is not None
    head = json.loads(body[:length])
    assert [output["name"] for output in head["outputs"]] == list(names)
    sizes = [output.get("parameters", {}).get("binary_data_size") for output in head["outputs"]]
    assert sizes == [32, None, 16, 16]
    assert head["outputs"][1]["data"] == [515, 1]
    row = b"\x03\x00\x00\x00one\x05\x00\x00\x00z\xc3\xa9ro"
    floats = b"\x00\x00\x80\x3e\x00\x00\x00\x3f"  # 0.25, 0.5
    assert body[length:] == row * 2 + floats * 2 + b"\x01\0\0\0\0\0\0\0" * 2


def test_an_output_that_is_not_there() -> None:
    with pytest.raises(RequestError, match=r"outputs\[0\].name: is 'logits'; allowed: probab"):
        infer_body([answer()], InferRequest([], outputs=(WantedOutput("logits"),)))


def test_frames_of_two_versions_have_no_common_answer() -> None:
    with pytest.raises(RequestError, match="several models or versions"):
        infer_body([answer(), answer(version="ba9876543210")], InferRequest([]))


def test_the_back_halfs_names_come_first() -> None:
    outputs = {"sequence": np.array([1.0], np.float32)}
    body, _ = infer_body([answer(outputs=outputs, top=())], InferRequest([]))
    assert json.loads(body)["outputs"] == [
        {"name": "sequence", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}
    ]


def test_metadata_of_a_bundle() -> None:
    fleet = FakeService().fleet
    version = fleet.models()[0].version
    found = find_generations(fleet, "digits", version)
    assert model_metadata(found, 5) == {
        "name": "digits",
        "versions": [version],
        "platform": "isthmus",
        "inputs": [{"name": "bitstream", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
            {"name": "top_labels", "datatype": "BYTES", "shape": [-1, 5]},
            {"name": "top_indices", "datatype": "INT32", "shape": [-1, 5]},
            {"name": "top_values", "datatype": "FP32", "shape": [-1, 5]},
            {"name": "sequence", "datatype": "INT32", "shape": [-1]},
        ],
    }
    with pytest.raises(ModelUnknownError, match="allowed: digits"):
        find_generations(fleet, "other")
    with pytest.raises(ModelUnknownError, match=f"allowed: {version}"):
        find_generations(fleet, "digits", "000000000000")


def test_the_frames_of_a_request_wait_together() -> None:
    service = FakeService()
    frames = [service.digits.frame(n) for n in range(3)]
    frames[1] = frames[1][:-1] + b"?"

    async def run() -> None:
        service.gate = asyncio.Event()
        task = asyncio.create_task(infer(service, frames, Origin("http", "7"), "digits"))
        while len(service.seen) < 3:
            await asyncio.sleep(0)
        assert not task.done()
        service.gate.set()
        with pytest.raises(ChecksumError, match=r"^inputs\[0\].data\[1\]: frame.header.checksum"):
            await task

    asyncio.run(asyncio.wait_for(run(), 10))
    assert [data for data, _ in service.seen] == frames


def test_how_many_frames_a_request_may_have() -> None:
    assert most_frames(LimitsConfig(queue=100, device_queue=20)) == 20
    assert most_frames(LimitsConfig(queue=10, device_queue=20)) == 10


def test_statuses_of_refusals() -> None:
    assert http_status(ChecksumError("frame", "is damaged")) == 422
    assert http_status(RequestError("body", "is no JSON")) == 400
    assert http_status(BundleFormatError("bundle", "is damaged")) == 500
