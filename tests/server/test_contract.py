"""What the server promises of bad input, a test for each promise, on the real service over HTTP."""

from __future__ import annotations

import asyncio
import json
import struct
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import numpy as np
import pytest
from codec_profiles import level_patterns, make_profile, neighbour_profile, tensor_of
from live_server import FRAMES, Live, run
from served import Served

from isthmus.codec import coding
from isthmus.decoder import Decoder
from isthmus.errors import FrameError, IsthmusError
from isthmus.server.cobs import FrameReader
from isthmus.server.compact import pack_refusal, unpack
from isthmus.server.config import UdpConfig
from isthmus.server.fleet import Generation
from isthmus.server.grpc_oip import serve_grpc
from isthmus.server.mqtt import _refusal
from isthmus.server.oip import parse_infer
from isthmus.server.protocol import open_inference_pb2 as pb
from isthmus.server.types import Origin
from isthmus.server.udp import serve_udp

HERE = Origin("http", "board", "127.0.0.1")


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Calls of what decodes and what computes."""
    calls: Counter[str] = Counter()
    with monkeypatch.context() as patch:
        for name in ("decode", "compute"):
            real = getattr(Generation, name)

            def watched(self: Any, given: Any, name: str = name, real: Any = real) -> Any:
                calls[name] += len(given)
                return real(self, given)

            patch.setattr(Generation, name, watched)
        yield calls


def sealed_by_hand(served: Served, head: bytes, payload: bytes) -> bytes:
    """Header and payload with the checksum that BITSTREAM.md asks for: CRC-32 by zlib."""
    crc = zlib.crc32(served.decoder.profile.digest + head + payload)
    return head + struct.pack("<I", crc) + payload


def head_with_length(head: bytes, length: int) -> bytes:
    """The first eight bytes of a frame, with another payload length (21 bits)."""
    out = bytearray(head[:8])
    out[1] = (out[1] & 0xE0) | (length >> 16)
    out[2], out[3] = length & 255, length >> 8 & 255
    return bytes(out)


def test_frames_made_by_hand_are_frames(digits: Served) -> None:
    """The helpers above, against a frame of the encoder."""
    frame = digits.frames[0]
    head = head_with_length(frame, len(frame) - 12)
    assert sealed_by_hand(digits, head, frame[12:]) == frame


def test_the_digest_decides_before_anything_else(
    digits: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A foreign digest is the reason, whatever else is wrong; nothing is decoded to find out."""
    rng = np.random.default_rng(1)

    async def body(live: Live) -> None:
        frame = digits.frames[0]
        with counted(monkeypatch) as calls:
            for k in range(60):
                bad = bytearray(frame)
                bad[4:6] = bytes(b ^ 0x5A for b in frame[4:6])
                for at in rng.integers(6, len(frame), k % 5):
                    bad[at] = int(rng.integers(256))
                bad[1] = (bad[1] & 0x1F) | int(rng.integers(8)) << 5 if k % 2 else bad[1]
                if k % 7 == 6:
                    bad = bad[: int(rng.integers(12, len(frame)))]
                assert (await live.refusal(bytes(bad)))["name"] == "digest_unknown"
            # of our digest by its first two bytes, and by no more: the checksum tells
            own = bytearray(frame)
            own[8:12] = zlib.crc32(bytes(32) + frame[:8] + frame[12:]).to_bytes(4, "little")
            assert (await live.refusal(bytes(own)))["name"] == "checksum"
            assert calls["compute"] == 0
            assert calls["decode"] <= 1
        assert live.service.monitor.state()["frames"] == 0

    run(digits, body)


def test_every_length_is_bounded_by_the_bundle_before_it_is_used(digits: Served) -> None:
    """Right checksums, lengths of all sizes: more than the bundle's longest is refused as such."""
    frame = digits.frames[0]
    size = len(frame) - 12

    async def body(live: Live) -> None:
        names: dict[int, str] = {}
        for length in (0, 1, size - 1, size + 1, 2000, 1 << 16, (1 << 20) + 7, (1 << 21) - 1):
            head = head_with_length(frame, length)
            short = await live.refusal(sealed_by_hand(digits, head, frame[12:]))
            names[length] = short["name"]
            if 2000 <= length < 1 << 17:
                whole = sealed_by_hand(digits, head, (frame[12:] + bytes(length))[:length])
                assert (await live.refusal(whole))["name"] == "length"
        assert names[(1 << 21) - 1] == names[1 << 16] == "length"
        assert names[size + 1] == "truncated"
        answer = await live.post(frame)
        assert answer.status_code == 200

    run(digits, body)


def test_the_size_of_what_is_said_is_fixed(digits: Served) -> None:
    """Every accepted frame has the bundle's outputs; a refusal is short whatever was sent."""

    async def body(live: Live) -> None:
        sizes = set()
        rng = np.random.default_rng(2)
        frame = digits.frames[0]
        accepted = 0
        for k in range(64):
            payload = rng.integers(0, 256, int(rng.integers(1, 260)), np.uint8).tobytes()
            head = head_with_length(frame, len(payload))
            for data in (sealed_by_hand(digits, head, payload), digits.frames[k % 32]):
                answer = await live.post(data)
                if answer.status_code == 200:
                    accepted += 1
                    (values,) = answer.json()["outputs"].values()
                    assert len(values) == 10
                    compact = await live.post(data, accept="application/octet-stream")
                    sizes.add(len(compact.content))
                assert len(answer.content) < 1500
        assert accepted >= 64
        assert len(sizes) == 1
        for data, headers in (
            (bytes(1 << 20), {}),
            (b"x" * (4 << 20), {}),
            (b"\x18" * 4000, {"x_isthmus_device": "a" * 128}),
            (b"", {"content_encoding": "x" * 4000}),
        ):
            answer = await live.post(data, **headers)
            assert answer.status_code >= 400
            assert len(answer.content) < 1500

    run(digits, body)


@pytest.mark.parametrize("kind", ["1.0", "1.1"])
def test_time_is_linear_in_elements(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bins read by the reference, which C follows bin for bin, never more than levels allow.

    For good frames and for any payload under a right checksum: N - 1 bins for each element.
    """
    bins = 0
    real = coding._read_bin

    def counting(*given: Any) -> int:
        nonlocal bins
        bins += 1
        return real(*given)

    monkeypatch.setattr(coding, "_read_bin", counting)
    rng = np.random.default_rng(3)
    levels = 8
    worst = {}
    for rows in (8, 16, 32, 64):
        profile = (make_profile if kind == "1.0" else neighbour_profile)(levels, (rows, 6))
        decoder = Decoder(profile, "reference")
        elements = rows * 6
        most = 0
        for name, pattern in level_patterns(levels, elements).items():
            bins = 0
            decoder.decode(decoder.encode(tensor_of(profile, pattern)))
            assert bins <= (levels - 1) * elements, name
            most = max(most, bins)
        good = decoder.encode(tensor_of(profile, level_patterns(levels, elements)["random"]))
        for k in range(60):
            payload = rng.integers(0, 256, int(rng.integers(1, len(good))), np.uint8).tobytes()
            if k % 3 == 0:
                payload = bytes([255 * (k % 2)]) * len(payload)
            head = head_with_length(good, len(payload))
            crc = zlib.crc32(profile.digest + head + payload)
            bins = 0
            with suppress(FrameError):
                decoder.decode(head + struct.pack("<I", crc) + payload)
            assert bins <= (levels - 1) * elements
            most = max(most, bins)
        worst[rows] = most
    assert worst[8] > 0
    assert worst[64] <= 8 * (levels - 1) * 8 * 6


def peak_bytes(call: Callable[[], Any]) -> int:
    """The most that ``call`` held at once, beyond what was there."""
    call()  # first-time allocations
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(call: Callable[..., Any], *given: Any) -> None:
    with pytest.raises(IsthmusError):
        call(*given)


def test_nothing_is_allocated_by_what_the_wire_says(digits: Served) -> None:
    """Two MiB in headers, 2**63 in requests, four GiB in lengths: none of it is asked for."""
    request = {"name": "bitstream", "datatype": "BYTES", "shape": [1]}

    def body(size: int, shape: int = 1) -> bytes:
        parameters = {"binary_data_size": size}
        tensor = {**request, "shape": [shape], "parameters": parameters}
        return json.dumps({"inputs": [tensor]}).encode()

    def requests() -> None:
        for size in (1 << 31, 1 << 63, (1 << 64) - 1, 10**30):
            text = body(size)
            refused(parse_infer, text + b"abcd", len(text), 256)
        text = body(8)
        refused(parse_infer, text + b"\xff\xff\xff\xff" * 2, len(text), 256)
        refused(parse_infer, body(8, 1 << 40) + bytes(8), len(text) + 12, 256)

    assert peak_bytes(requests) < 64 << 10

    def line() -> None:
        reader = FrameReader(4096)
        for _ in range(256):
            reader.feed(b"\xff" * 4096)  # a frame of a megabyte that does not end

    assert peak_bytes(line) < 64 << 10

    frame = digits.frames[0]
    claims = head_with_length(frame, (1 << 21) - 1) + frame[8:]

    async def serving(live: Live) -> None:
        calls = serve_grpc(live.service, live.service.config.grpc.model_copy(update={"port": 0}))
        rpc = await calls
        link = await serve_udp(live.service, UdpConfig(port=0))
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=("127.0.0.1", link.port)
        )

        async def all_of_it() -> None:
            for _ in range(50):
                assert (await live.refusal(claims))["name"] == "length"
                transport.sendto(claims)
            openings = [
                await asyncio.open_connection("127.0.0.1", live.server.port) for _ in range(50)
            ]
            for k, (_, writer) in enumerate(openings):
                said = 4 << 20 if k % 2 else 1 << 60
                writer.write(
                    b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\nabcd"
                    % (FRAMES.encode(), said)
                )
            while link.counts.units < 50:
                await asyncio.sleep(0.01)
            for k, (reader, writer) in enumerate(openings):
                if k % 2 == 0:
                    assert b"413" in await asyncio.wait_for(reader.readline(), 5)
                writer.close()

        await all_of_it()
        link.counts.units = 0
        tracemalloc.start()
        try:
            await all_of_it()
            assert tracemalloc.get_traced_memory()[1] < 3 << 20
        finally:
            tracemalloc.stop()
            transport.close()
            await link.aclose()
            await rpc.aclose(0.0)

    run(digits, serving)


def test_what_follows_is_refused(digits: Served) -> None:
    """One byte more, or a whole frame more, in every container."""
    frame = digits.frames[0]

    async def body(live: Live) -> None:
        for more in (b"\0", b"\n", frame[:12], frame):
            assert (await live.refusal(frame + more))["name"] in ("trailing", "sequence")
        text = json.dumps(
            {"inputs": [{
                "name": "bitstream", "datatype": "BYTES", "shape": [1],
                "parameters": {"binary_data_size": len(frame) + 4},
            }]}
        ).encode()  # fmt: skip
        head = {"inference-header-content-length": str(len(text))}
        good = text + struct.pack("<I", len(frame)) + frame
        for data, status in ((good, 200), (good + b"x", 400), (good[:-1], 400)):
            answer = await live.client.post("/v2/models/digits/infer", content=data, headers=head)
            assert answer.status_code == status, answer.content
        squeezed = zlib.compress(frame)
        for data, status in ((squeezed, 200), (squeezed + b"x", 400), (squeezed[:-1], 400)):
            assert (await live.post(data, content_encoding="deflate")).status_code == status

    run(digits, body)


def test_the_same_bytes_have_the_same_refusal(digits: Served) -> None:
    """Code and text through HTTP, its compact form, infer, gRPC, MQTT and UDP, again and again."""
    frame = digits.frames[0]
    stranger = bytes([*frame[:4], frame[4] ^ 1, *frame[5:]])
    payload = bytes(60)
    cases = {
        "checksum": frame[:-1] + bytes([frame[-1] ^ 1]),
        "trailing": frame + b"x",
        "truncated": frame[:-1],
        "digest_unknown": stranger,
        "version": bytes([frame[0] ^ 0x20]) + frame[1:],
        "length": sealed_by_hand(digits, head_with_length(frame, 60_000), frame[12:]),
        "payload or level": sealed_by_hand(digits, head_with_length(frame, 60), payload),
    }

    async def body(live: Live) -> None:
        rpc = await serve_grpc(
            live.service, live.service.config.grpc.model_copy(update={"port": 0})
        )
        link = await serve_udp(live.service, UdpConfig(port=0))
        replies: asyncio.Queue[bytes] = asyncio.Queue()

        class Board(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                replies.put_nowait(data)

        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            Board, remote_addr=("127.0.0.1", link.port)
        )
        async with grpc.aio.insecure_channel(f"127.0.0.1:{rpc.port}") as channel:
            infer = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelInfer",
                request_serializer=pb.ModelInferRequest.SerializeToString,
                response_deserializer=pb.ModelInferResponse.FromString,
            )
            for _ in range(2):
                # in company, so that batches differ
                crowd = asyncio.gather(*(live.post(one) for one in digits.frames))
                for name, data in cases.items():
                    with pytest.raises(IsthmusError) as caught:
                        await live.service.answer(data, HERE, model="digits")
                    error = caught.value
                    assert error.name in name
                    assert await live.refusal(data) == error.as_dict()
                    compact = await live.post(data, accept="application/octet-stream")
                    assert compact.content[:2] == pack_refusal(error)[:2]
                    assert unpack(compact.content).status == error.code
                    plain = await live.client.post(
                        "/v2/models/digits/infer", content=data,
                        headers={"inference-header-content-length": "0"},
                    )  # fmt: skip
                    said = plain.json()
                    assert (said["error"], said["code"]) == (str(error), error.code)
                    message = pb.ModelInferRequest(model_name="digits")
                    tensor = message.inputs.add(name="bitstream", datatype="BYTES", shape=[1])
                    tensor.contents.bytes_contents.append(data)
                    with pytest.raises(grpc.aio.AioRpcError) as failed:
                        await infer(message, timeout=10)
                    assert failed.value.details() == str(error)
                    trailers = dict(failed.value.trailing_metadata())
                    assert trailers["isthmus-code"] == str(error.code)
                    assert json.loads(_refusal(error, data))["error"] == error.as_dict()
                    transport.sendto(data)
                    reply = await asyncio.wait_for(replies.get(), 5)
                    assert unpack(reply).status == error.code
                assert all(one.status_code == 200 for one in await crowd)
        transport.close()
        await link.aclose()
        await rpc.aclose(0.0)

    run(digits, body)
