"""Answers and refusals as the Open Inference Protocol and JSON have them, without sockets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from fake_service import FakeService

from isthmus.errors import (
    BundleFormatError,
    ChecksumError,
    ModelUnknownError,
    RequestError,
)
from isthmus.server.config import LimitsConfig
from isthmus.server.infer import http_status, infer, most_frames
from isthmus.server.jsonform import answer_json, dump, peek_sequence, refusal_json
from isthmus.server.oip import InferRequest, WantedOutput
from isthmus.server.oip_answer import find_generations, infer_body, model_metadata
from isthmus.server.types import Answer, Origin, Timings, Top

# A frame's header as BITSTREAM.md lays it out: version 1, rung 1, no payload, sequence 0x0203.
FRAME = bytes([0x10, 0x20, 0, 0, 0xAA, 0xBB, 0x03, 0x02, 1, 2, 3, 4])


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
