"""Any bytes to the service: an answer or an IsthmusError, everything counted, and it goes on."""

from __future__ import annotations

import asyncio
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import Served
from served_app import loop_thread

from isthmus.codec.frame import SliceHeader
from isthmus.conceal_slices import cut_frame
from isthmus.errors import IsthmusError
from isthmus.server.cobs import FrameReader, LinkFrame
from isthmus.server.config import load_config
from isthmus.server.grpc_oip import infer_request
from isthmus.server.infer import infer
from isthmus.server.oip import parse_infer
from isthmus.server.protocol import open_inference_pb2 as pb
from isthmus.server.service import Service
from isthmus.server.types import Answer, Origin

ORIGIN = Origin("http", "fuzz", "127.0.0.1")
FUZZ = settings(
    max_examples=300, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


class Live:
    """A started service over both bundles, called from this thread."""

    def __init__(self, call: Any, digits: Served, packets: Served) -> None:
        self.call, self.digits, self.packets = call, digits, packets
        config = load_config(
            None, bundles=[{"path": str(one.path)} for one in (digits, packets)],
            quarantine={"failures": 0}, limits={"reassembly_ms": 5.0, "reassembly_frames": 16},
            batch={"workers": 2},
        )  # fmt: skip
        self.service: Service = call(self._start(config))
        self.answers = self.refusals = 0

    @staticmethod
    async def _start(config: Any) -> Service:
        service = Service(config)
        await service.start()
        return service

    def offer(self, *units: bytes, whole: bool) -> list[Answer | IsthmusError | None]:
        """What the service says to the units, all at once."""

        async def outcome(unit: bytes) -> Answer | IsthmusError | None:
            try:
                if whole:
                    return await self.service.answer(unit, ORIGIN)
                return await self.service.receive(unit, ORIGIN)
            except IsthmusError as error:
                return error

        async def main() -> list[Any]:
            return list(await asyncio.gather(*(outcome(unit) for unit in units)))

        found: list[Answer | IsthmusError | None] = self.call(main())
        for one in found:
            assert one is None or isinstance(one, Answer | IsthmusError)
            assert not (whole and one is None)
            self.answers += isinstance(one, Answer)
            self.refusals += isinstance(one, IsthmusError)
        self.check()
        return found

    def check(self) -> None:
        """Every call came to one end, and it was counted."""
        state = self.service.monitor.state()
        assert (state["frames"], state["refused"]) == (self.answers, self.refusals)
        assert self.service.waiting == 0
        assert not self.service._gatherings
        assert len(self.service._reassembler) == 0

    def still_answers(self) -> None:
        """Good frames of both bundles get the right answers."""
        for served in (self.digits, self.packets):
            (found,) = self.offer(served.frames[4], whole=True)
            assert isinstance(found, Answer)
            (values,) = found.outputs.values()
            assert values.tolist() == served.answers[4].tolist()


@pytest.fixture(scope="module")
def live(digits: Served, digits_packets: Served) -> Iterator[Live]:
    with loop_thread() as call:
        one = Live(call, digits, digits_packets)
        yield one
        one.still_answers()

        async def close() -> None:
            assert await one.service.drain(5)
            one.service.close()

        call(close())


@st.composite
def damages(draw: st.DrawFn) -> tuple[str, list[tuple[int, int]], int, bytes]:
    """How good bytes are damaged: which of them, edits, a cut and a tail."""
    which = draw(st.sampled_from(["frame", "packets", "packet"]))
    edits = draw(st.lists(st.tuples(st.integers(0, 1 << 12), st.integers(0, 255)), max_size=4))
    cut = draw(st.one_of(st.just(0), st.integers(0, 1 << 12)))
    tail = draw(st.one_of(st.just(b""), st.binary(max_size=64)))
    return which, edits, cut, tail


def damaged(live: Live, plan: tuple[str, list[tuple[int, int]], int, bytes]) -> bytes:
    which, edits, cut, tail = plan
    data = bytearray(
        live.digits.frames[0] if which == "frame"
        else live.packets.frames[0] if which == "packets"
        else cut_frame(live.packets.frames[0])[0]
    )  # fmt: skip
    for at, value in edits:
        data[at % len(data)] = value
    if cut:
        del data[cut % len(data) :]
    return bytes(data) + tail


@FUZZ
@given(st.binary(max_size=600), st.booleans())
def test_any_bytes(live: Live, data: bytes, whole: bool) -> None:
    live.offer(data, whole=whole)


@FUZZ
@given(damages(), st.booleans())
def test_damaged_frames(
    live: Live, plan: tuple[str, list[tuple[int, int]], int, bytes], whole: bool
) -> None:
    live.offer(damaged(live, plan), whole=whole)


@FUZZ
@given(st.binary(min_size=0, max_size=300), st.integers(0, 255), st.booleans(), st.booleans())
def test_frames_of_who_holds_the_bundle(
    live: Live, payload: bytes, rung: int, in_packets: bool, whole: bool
) -> None:
    """Right digest and checksum, any header and payload: only the decoder stands against it."""
    served = live.packets if in_packets else live.digits
    profile = served.decoder.profile
    good = SliceHeader.read(served.frames[0])
    head = bytearray(served.frames[0][:8])
    head[3 if in_packets else 7] ^= rung & 7
    size = len(payload)
    head[1] = (head[1] & 0xE0) | (size >> (8 if good.packet else 16))
    head[2] = size & 255
    if not good.packet:
        head[3] = size >> 8 & 255
    crc = zlib.crc32(profile.digest + bytes(head) + payload)
    frame = bytes(head) + struct.pack("<I", crc) + payload
    live.offer(frame, whole=whole)


@settings(FUZZ, max_examples=100)
@given(
    st.lists(st.integers(0, 40), max_size=24),
    st.lists(
        st.tuples(st.integers(0, 23), st.integers(0, 1 << 9), st.integers(1, 255)), max_size=3
    ),
)
def test_packets_in_any_order_with_losses_and_damage(
    live: Live, order: list[int], flips: list[tuple[int, int, int]]
) -> None:
    packets = [p for k in range(4) for p in cut_frame(live.packets.frames[k])]
    chosen = [bytearray(packets[k % len(packets)]) for k in order]
    for which, at, flip in flips:
        if chosen:
            unit = chosen[which % len(chosen)]
            unit[at % len(unit)] ^= flip
    live.offer(*map(bytes, chosen), whole=False)


@FUZZ
@given(
    st.one_of(st.binary(max_size=400), st.text(max_size=200).map(lambda t: t.encode())),
    st.one_of(st.none(), st.integers(-1, 1 << 63)),
)
def test_requests_of_any_bytes(live: Live, body: bytes, json_bytes: int | None) -> None:
    try:
        request = parse_infer(body, json_bytes, 16)
    except IsthmusError:
        return
    live.offer(*request.frames, whole=True)


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8),
        st.sampled_from(["bitstream", "BYTES", "base64", "latin-1", "device", "sequence"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner)),
    max_leaves=8,
)  # fmt: skip


@FUZZ
@given(
    st.fixed_dictionaries(
        {
            "name": st.one_of(st.just("bitstream"), JSON),
            "datatype": st.one_of(st.just("BYTES"), JSON),
            "shape": st.one_of(st.just([1]), st.lists(st.integers(), max_size=3), JSON),
        },
        optional={
            "data": JSON,
            "parameters": st.one_of(
                JSON,
                st.fixed_dictionaries(
                    {},
                    optional={
                        "binary_data_size": st.one_of(st.integers(0, 1 << 64), JSON),
                        "sequence": JSON,
                        "device": JSON,
                        "encoding": JSON,
                    },
                ),
            ),
        },
    ),
    st.binary(max_size=64),
)
def test_requests_that_are_nearly_right(live: Live, tensor: Any, tail: bytes) -> None:
    text = json.dumps({"inputs": [tensor]}).encode()
    try:
        request = parse_infer(text + tail, len(text), 16)
    except IsthmusError:
        return
    live.offer(*request.frames, whole=True)


@FUZZ
@given(st.binary(max_size=200), st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=3))
def test_grpc_messages(live: Live, raw: bytes, shape: list[int]) -> None:
    message = pb.ModelInferRequest(model_name="digits")
    message.inputs.add(name="bitstream", datatype="BYTES", shape=shape)
    message.raw_input_contents.append(raw)
    try:
        request, _ = infer_request(message, 16)
    except IsthmusError:
        return

    async def main() -> Any:
        try:
            return await infer(live.service, request.frames, ORIGIN, "digits")
        except IsthmusError as error:
            return error

    found = live.call(main())
    if isinstance(found, list):
        live.answers += len(found)
    else:
        live.answers = live.service.monitor.state()["frames"]
        live.refusals = live.service.monitor.state()["refused"]
    live.check()


@FUZZ
@given(st.lists(st.binary(max_size=120), max_size=6))
def test_a_serial_line_of_any_bytes(live: Live, pieces: list[bytes]) -> None:
    """The units that come out of it are offered; there is never an exception."""
    reader = FrameReader(600)
    found = [one for piece in pieces for one in reader.feed(piece)]
    units = [one.payload for one in found if isinstance(one, LinkFrame)]
    live.offer(*units, whole=False)


def test_after_all_that_it_answers(live: Live) -> None:
    live.still_answers()
