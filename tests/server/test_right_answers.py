"""Right answers in bad company: equal outputs, frames that fail, units that others send again."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import Served, make_served
from test_serve_cli import serving
from test_service import config_of, in_service, outcome

from isthmus.conceal_slices import cut_frame
from isthmus.errors import BackHalfError, ReplayError
from isthmus.seal import seal
from isthmus.server.fleet import DecodedBatch, Fleet, Generation
from isthmus.server.jsonform import answer_json
from isthmus.server.keys import device_key
from isthmus.server.service import Service
from isthmus.server.types import Answer, Origin


@pytest.fixture(scope="module")
def generation(digits: Served) -> Generation:
    """The digits; its labels are ten, so outputs of other sizes are asked for without."""
    made = Fleet(config_of(digits)).models()[0]
    made.labels = []
    return made


@pytest.mark.parametrize("size", [1, 3, 5, 6, 10, 64, 65, 1000])
@pytest.mark.parametrize("values", [1, 2, 5, 200])
def test_top_is_by_value_and_then_by_place(generation: Generation, size: int, values: int) -> None:
    rng = np.random.default_rng(size * values)
    rows = rng.integers(0, values, (40, size)).astype(np.float32)
    for row, top in zip(rows, generation.top(rows), strict=True):
        order = sorted(range(size), key=lambda i: (-float(row[i]), i))[:5]
        assert [one.index for one in top] == order
        assert top[0].index == np.argmax(row)
        assert [one.value for one in top] == [float(row[i]) for i in order]


@pytest.mark.parametrize("size", [10, 300])
def test_what_is_no_number_comes_last(generation: Generation, size: int) -> None:
    rows = np.full((3, size), np.nan, np.float32)
    rows[0, 7], rows[0, 2] = 3.0, -np.inf
    rows[1, :] = np.arange(size)
    first, second, third = generation.top(rows)
    assert [one.index for one in first[:2]] == [7, 2]
    assert [one.index for one in second] == [size - 1 - k for k in range(5)]
    assert [one.index for one in third] == [0, 1, 2, 3, 4]


@pytest.fixture(scope="module")
def fragile(
    digits_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
    require_package: Callable[[str], None],
) -> Served:
    """A back half in ONNX that fails on frames whose elements are large together."""
    require_package("onnxruntime")
    import onnx
    from onnx import helper, numpy_helper

    table = np.arange(100, dtype=np.float32).reshape(10, 10)
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["flat"]),
        helper.make_node("ReduceSum", ["flat", "axis"], ["sum"], keepdims=0),
        helper.make_node("Div", ["sum", "hundred"], ["share"]),
        helper.make_node("Cast", ["share"], ["place"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["table", "place"], ["y"], axis=0),
    ]
    constants = {
        "shape": np.array([-1, 512]), "axis": np.array([1]),
        "hundred": np.float32(100), "table": table,
    }  # fmt: skip
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "fragile",
        [helper.make_tensor_value_info("x", kind, ["n", 4, 4, 32])],
        [helper.make_tensor_value_info("y", kind, ["n", 10])],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    folder = tmp_path_factory.mktemp("fragile")
    onnx.save(model, folder / "back.onnx")
    return make_served(digits_data, folder / "bundle", back=str(folder / "back.onnx"))


@pytest.mark.parametrize("delay_ms", [0, 30])
def test_a_frame_that_fails_fails_alone(fragile: Served, delay_ms: int) -> None:
    codec = fragile.decoder.codec
    shape = codec.profile.tensor.shape
    bad = codec.encode_levels(0, 99, np.full(shape, 3, np.uint8))

    async def body(service: Service) -> None:
        frames = [*fragile.frames[:6], bad, *fragile.frames[6:12]]
        results = await asyncio.gather(
            *(outcome(service.answer(f, Origin("http", str(k)))) for k, f in enumerate(frames))
        )
        refusal = results.pop(6)
        assert isinstance(refusal, BackHalfError)
        assert "onnxruntime" in str(refusal)
        for result, want in zip(results, fragile.answers, strict=False):
            assert isinstance(result, Answer)
            np.testing.assert_array_equal(result.outputs["y"], want)
            assert json.loads(answer_json(result))["outputs"]["y"] == want.tolist()
        generation = service.fleet.models()[0]
        features = fragile.decoder.decode(bad).features[None]
        with pytest.raises(BackHalfError, match="onnxruntime"):
            await service.compute(generation, features, Origin("http", "peer"))

    in_service(config_of(fragile, batch={"workers": 1, "delay_ms": delay_ms}), body)


def test_a_defect_is_logged_and_its_frames_are_refused(
    digits: Served, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(service: Service) -> None:
        def broken(self: Generation, frames: Any) -> DecodedBatch:
            raise KeyError("a defect of ours")

        monkeypatch.setattr(Generation, "decode", broken)
        origin = Origin("http", "board")
        refusal = await outcome(service.answer(digits.frames[0], origin))
        assert isinstance(refusal, BackHalfError)
        monkeypatch.undo()
        assert isinstance(await service.answer(digits.frames[0], origin), Answer)

    in_service(config_of(digits), body)
    out, err = capfd.readouterr()
    assert "a defect of ours" in out + err


def test_who_sends_a_devices_units_again_shuts_nobody_out(digits: Served, tmp_path: Path) -> None:
    """Anyone who listens can: neither its quarantine nor its rate may count that."""
    secret = bytes(range(32))
    file = tmp_path / "secret"
    file.write_text(secret.hex())
    file.chmod(0o600)
    security = {"fleet_secret_file": str(file), "replay_file": str(tmp_path / "replay.db")}
    units = [seal(device_key(secret, 7), 7, k, digits.frames[k]) for k in range(4)]

    async def body(service: Service) -> None:
        device, other = Origin("udp", "", "10.0.0.7:1"), Origin("udp", "", "10.0.0.9:1")
        for unit in units[:3]:
            assert isinstance(await outcome(service.answer(unit, device)), Answer)
        for unit in 10 * units[:3]:
            assert isinstance(await outcome(service.answer(unit, other)), ReplayError)
        assert isinstance(await outcome(service.answer(units[3], device)), Answer)

    sections = {
        "limits": {"device_rate": 0.01, "device_burst": 4},
        "quarantine": {"failures": 3},
    }
    in_service(config_of(digits, security=security, **sections), body)


def test_a_frame_does_not_wait_for_a_batch_that_takes_longer_than_it_should(
    digits: Served, digits_packets: Served
) -> None:
    """An idle thread waits for one that is nearly done, not for one that stands still."""
    go_on = threading.Event()

    async def body(service: Service) -> None:
        here, whole = Origin("http", "board"), digits_packets.frames[0]
        for _ in range(20):  # how long frames take is known then
            await service.answer(digits.frames[0], here)
            await service.answer(whole, here)
        slow = next(g for g in service.fleet.models() if g.name == "digits")
        compute = slow.compute

        def stands_still(features: Any) -> Any:
            go_on.wait(20)
            return compute(features)

        slow.compute = stands_still  # type: ignore[method-assign]
        first = asyncio.create_task(outcome(service.answer(digits.frames[0], here)))
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        try:
            await asyncio.wait_for(service.answer(whole, here), 5)
            assert not first.done()
        finally:
            go_on.set()
        assert isinstance(await first, Answer)

    in_service(config_of(digits, digits_packets), body)


def test_packets_of_devices_that_are_called_the_same_do_not_mix(digits_packets: Served) -> None:
    """One on a serial line and one on MQTT, at the same moment, with the same sequence."""
    boards = [Origin("serial", "cam", "/dev/ttyS0"), Origin("mqtt", "cam")]
    frames = [digits_packets.frame(k, 5) for k in (0, 1)]

    async def body(service: Service) -> None:
        units = [
            (packet, boards[k]) for k, frame in enumerate(frames) for packet in cut_frame(frame)
        ]
        random.Random(3).shuffle(units)
        results = await asyncio.gather(*(outcome(service.receive(u, o)) for u, o in units))
        answers = {
            origin.link: result
            for (_, origin), result in zip(units, results, strict=True)
            if result is not None
        }
        for k, origin in enumerate(boards):
            answer = answers[origin.link]
            assert isinstance(answer, Answer)
            assert answer.concealed == 0
            np.testing.assert_array_equal(
                next(iter(answer.outputs.values())), digits_packets.answers[k]
            )

    in_service(config_of(digits_packets), body)


@pytest.mark.parametrize("sent", ["Gerät 7".encode(), "Gerät 7".encode("latin-1")])
def test_a_devices_name_in_a_header_is_utf_8(digits: Served, sent: bytes) -> None:
    request = b"POST /v2/frames HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-isthmus-device: "
    request += sent + b"\r\ncontent-length: %d\r\n\r\n" % len(digits.frames[0])
    with (
        serving(str(digits.path), "--port", "0", "--grpc-port", "-1") as (_, ports),
        socket.create_connection(("127.0.0.1", ports["http"]), timeout=20) as client,
    ):
        client.sendall(request + digits.frames[0])
        got = b"".join(iter(lambda: client.recv(65536), b""))
    assert json.loads(got.partition(b"\r\n\r\n")[2])["device"] == "Gerät 7"
