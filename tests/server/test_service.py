"""The service over a real bundle: answers, routing, batches, packets, limits, the drain."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import Served

from isthmus.conceal_slices import cut_frame
from isthmus.errors import (
    BusyError,
    ChecksumError,
    ConfigError,
    DigestUnknownError,
    DrainingError,
    IsthmusError,
    MissingSliceError,
    ModelUnknownError,
    QuarantineError,
    RateLimitError,
    ReplayError,
    SealError,
    TruncatedError,
    VersionError,
)
from isthmus.seal import seal
from isthmus.server.config import ServerConfig, load_config
from isthmus.server.fleet import Fleet
from isthmus.server.keys import device_key
from isthmus.server.service import Service
from isthmus.server.types import Answer, Origin

HERE = Origin("http", "board", "127.0.0.1")


def config_of(*served: Served, **sections: Any) -> ServerConfig:
    """A configuration for the bundles."""
    sections = {"batch": {"workers": 2}, **sections}
    return load_config(None, bundles=[{"path": str(one.path)} for one in served], **sections)


def in_service(
    config: ServerConfig, body: Callable[[Service], Awaitable[None]], *, drain: bool = True
) -> None:
    """Runs ``body`` with a started service."""

    async def main() -> None:
        service = Service(config)
        await service.start()
        try:
            await asyncio.wait_for(body(service), 30)
            if drain:
                assert await service.drain(5)
                assert service.waiting == 0
        finally:
            service.close()

    asyncio.run(main())


async def outcome(call: Awaitable[Answer | None]) -> Answer | IsthmusError | None:
    """An answer, or the refusal itself."""
    try:
        return await call
    except IsthmusError as error:
        return error


def test_answers_are_those_of_decoder_and_back_half(digits: Served) -> None:
    async def body(service: Service) -> None:
        answers = await asyncio.gather(*(service.answer(f, HERE) for f in digits.frames))
        for k, answer in enumerate(answers):
            assert answer.model == "digits"
            assert answer.version == digits.decoder.profile.digest.hex()[:12]
            assert (answer.sequence, answer.rung, answer.device) == (k, 0, "board")
            (values,) = answer.outputs.values()
            np.testing.assert_array_equal(values, digits.answers[k])
            order = sorted(range(10), key=lambda c: -values[c])[:5]
            assert [t.index for t in answer.top] == order
            assert [t.label for t in answer.top] == [f"digit {c}" for c in order]
            assert answer.bits_per_element == 8 * len(digits.frames[k]) / answer.elements
            assert answer.timings.total >= answer.timings.decode > 0
        right = sum(a.top[0].index == c for a, c in zip(answers, digits.labels, strict=True))
        assert right >= 28  # of 32: the network's own accuracy is above 97 %

    in_service(config_of(digits), body)


@pytest.mark.parametrize("batch", [{"max": 1}, {"max": 5}, {"max": 32, "delay_ms": 20}])
def test_answers_do_not_depend_on_the_batch(digits: Served, batch: dict[str, Any]) -> None:
    async def body(service: Service) -> None:
        answers = await asyncio.gather(*(service.answer(f, HERE) for f in digits.frames))
        got = np.stack([next(iter(a.outputs.values())) for a in answers])
        np.testing.assert_array_equal(got, digits.answers)

    in_service(config_of(digits, batch={"workers": 2, **batch}), body)


def test_a_delay_gathers_frames_into_one_batch(digits: Served) -> None:
    sizes: list[int] = []

    async def body(service: Service) -> None:
        batch = service.monitor.batch

        def watched(generation: Any, items: Any) -> None:
            sizes.append(len(items))
            batch(generation, items)

        service.monitor.batch = watched  # type: ignore[method-assign]

        async def late(k: int) -> Answer:
            await asyncio.sleep(0.01 * k)
            return await service.answer(digits.frames[k], HERE)

        answers = await asyncio.gather(*(late(k) for k in range(8)))
        assert all(a.timings.total < 5 for a in answers)
        assert max(sizes) >= 4, sizes
        sizes.clear()
        # a full batch does not wait for the delay
        await asyncio.gather(*(service.answer(digits.frames[k], HERE) for k in range(8)))
        assert sizes == [8]

    in_service(config_of(digits, batch={"max": 8, "delay_ms": 400, "workers": 2}), body)


def test_a_bad_frame_spoils_no_other(digits: Served) -> None:
    async def body(service: Service) -> None:
        frames = list(digits.frames)
        bad = bytearray(frames[3])
        bad[-1] ^= 1
        frames[3] = bytes(bad)
        frames[5] = frames[5] + b"x"
        got = await asyncio.gather(*(outcome(service.answer(f, HERE)) for f in frames))
        assert isinstance(got[3], ChecksumError)
        assert type(got[5]).__name__ == "TrailingError"
        for k, answer in enumerate(got):
            if k not in (3, 5):
                assert isinstance(answer, Answer)
                np.testing.assert_array_equal(
                    next(iter(answer.outputs.values())), digits.answers[k]
                )

    in_service(config_of(digits), body)


def test_what_is_no_frame_is_refused_by_its_number(digits: Served) -> None:
    async def body(service: Service) -> None:
        frame = digits.frames[0]
        stranger = bytearray(frame)
        stranger[4] ^= 0xFF
        cases: list[tuple[bytes, type[IsthmusError]]] = [
            (b"", TruncatedError),
            (frame[:11], TruncatedError),
            (b"\x20" + frame[1:], VersionError),
            (bytes(stranger), DigestUnknownError),
            (b"\x12" + frame[1:], DigestUnknownError),  # a packet: no bundle here has packets
        ]
        for data, error in cases:
            assert type(await outcome(service.answer(data, HERE))) is error
        assert isinstance(
            await outcome(service.answer(frame, HERE, model="other")), ModelUnknownError
        )
        assert isinstance(
            await outcome(service.answer(frame, HERE, model="digits", version="0" * 12)),
            ModelUnknownError,
        )

    in_service(config_of(digits, quarantine={"failures": 0}), body)


def test_frames_go_to_the_bundle_of_their_digest(digits: Served, digits_packets: Served) -> None:
    async def body(service: Service) -> None:
        assert [(m.name, m.latest) for m in service.fleet.models()] == [
            ("net", False), ("net", True),
        ]  # fmt: skip
        for served in (digits, digits_packets):
            version = served.decoder.profile.digest.hex()[:12]
            assert (await service.answer(served.frames[1], HERE)).version == version
            named = await service.answer(served.frames[1], HERE, model="net", version=version)
            assert named.version == version
        old = digits.decoder.profile.digest.hex()[:12]
        wrong = service.answer(digits_packets.frames[0], HERE, model="net", version=old)
        assert isinstance(await outcome(wrong), DigestUnknownError)

    bundles = [{"path": str(one.path), "name": "net"} for one in (digits, digits_packets)]
    in_service(load_config(None, bundles=bundles), body)


def test_packets_are_gathered_in_any_order(digits_packets: Served) -> None:
    async def body(service: Service) -> None:
        packets = [p for k in range(6) for p in cut_frame(digits_packets.frames[k])]
        packets += packets[:3]
        random.Random(4).shuffle(packets)
        got = await asyncio.gather(*(service.receive(p, HERE) for p in packets))
        answers = sorted((a for a in got if a is not None), key=lambda a: a.sequence)
        assert [a.sequence for a in answers] == list(range(6))
        for k, answer in enumerate(answers):
            assert (answer.concealed, answer.slices_lost) == (0, 0)
            assert answer.frame_bytes == len(digits_packets.frames[k])
            np.testing.assert_array_equal(
                next(iter(answer.outputs.values())), digits_packets.answers[k]
            )

    in_service(config_of(digits_packets, limits={"reassembly_ms": 5000}), body)


def test_what_does_not_come_is_concealed_at_the_deadline(digits_packets: Served) -> None:
    async def body(service: Service) -> None:
        packets = cut_frame(digits_packets.frames[2])
        kept = packets[:1] + packets[2:]
        got = await asyncio.gather(*(service.receive(p, HERE) for p in kept))
        (answer,) = [a for a in got if a is not None]
        expected = digits_packets.decoder.decode_slices(kept)
        assert expected.received is not None
        assert answer.concealed == int((~expected.received).sum()) > 0
        assert answer.slices_lost == 1
        assert answer.timings.total < 5
        # the last packet comes too late, and is no frame of its own
        assert await service.receive(packets[1], HERE) is None

    in_service(config_of(digits_packets, limits={"reassembly_ms": 100}), body)


def test_packets_that_waited_for_the_server_are_not_late(digits_packets: Served) -> None:
    async def body(service: Service) -> None:
        packets = cut_frame(digits_packets.frames[2])
        first = asyncio.create_task(service.receive(packets[0], HERE))
        await asyncio.sleep(0.01)
        time.sleep(0.4)  # the event loop stands still for longer than the deadline
        others = [asyncio.create_task(service.receive(p, HERE)) for p in packets[1:]]
        answer = await first
        assert answer is not None
        assert (answer.concealed, answer.slices_lost) == (0, 0)
        await asyncio.gather(*others)
        # and time goes on: the next frame has its own deadline
        alone = await service.receive(cut_frame(digits_packets.frames[3])[0], HERE)
        assert alone is not None
        assert alone.concealed > 0

    in_service(config_of(digits_packets, limits={"reassembly_ms": 100}), body)


def test_a_whole_frame_with_a_hole_is_refused_where_frames_are_whole(
    digits_packets: Served,
) -> None:
    async def body(service: Service) -> None:
        packets = cut_frame(digits_packets.frames[2])
        got = await outcome(service.answer(b"".join(packets[1:]), HERE))
        assert isinstance(got, MissingSliceError)

    in_service(config_of(digits_packets), body)


def test_the_queue_and_each_device_have_bounds(digits: Served) -> None:
    async def body(service: Service) -> None:
        other = Origin("http", "other", "127.0.0.1")
        calls = [outcome(service.answer(digits.frames[k], HERE)) for k in range(6)]
        calls += [outcome(service.answer(digits.frames[k], other)) for k in range(6)]
        got = await asyncio.gather(*calls)
        refused = [isinstance(one, BusyError) for one in got]
        assert refused == [False] * 4 + [True] * 2 + [False] * 3 + [True] * 3

    in_service(config_of(digits, limits={"queue": 7, "device_queue": 4}), body)


def test_a_device_may_send_so_much(digits: Served) -> None:
    async def body(service: Service) -> None:
        got = [await outcome(service.answer(digits.frames[0], HERE)) for _ in range(6)]
        assert [isinstance(one, RateLimitError) for one in got] == [False] * 3 + [True] * 3
        other = await outcome(service.answer(digits.frames[0], Origin("http", "b", "127.0.0.1")))
        assert isinstance(other, Answer)

    in_service(config_of(digits, limits={"device_rate": 0.01, "device_burst": 3}), body)


def test_a_bad_device_is_shut_out_for_a_while_and_no_other(digits: Served) -> None:
    async def body(service: Service) -> None:
        bad = digits.frames[0][:-1] + bytes([digits.frames[0][-1] ^ 1])
        got = [await outcome(service.answer(bad, HERE)) for _ in range(4)]
        assert [type(one) for one in got] == [ChecksumError] * 3 + [QuarantineError]
        assert isinstance(await outcome(service.answer(digits.frames[0], HERE)), QuarantineError)
        other = Origin("http", "good", "127.0.0.1")
        assert isinstance(await outcome(service.answer(digits.frames[0], other)), Answer)
        await asyncio.sleep(0.35)
        assert isinstance(await outcome(service.answer(digits.frames[0], HERE)), Answer)

    in_service(config_of(digits, quarantine={"failures": 3, "seconds": 0.3}), body)


def test_a_drain_answers_what_was_accepted_and_refuses_the_rest(digits: Served) -> None:
    async def body(service: Service) -> None:
        calls = [asyncio.create_task(outcome(service.answer(f, HERE))) for f in digits.frames]
        await asyncio.sleep(0)
        assert service.ready
        draining = asyncio.create_task(service.drain(5))
        await asyncio.sleep(0)
        assert not service.ready
        assert isinstance(await outcome(service.answer(digits.frames[0], HERE)), DrainingError)
        assert await draining
        assert all(isinstance(one, Answer) for one in await asyncio.gather(*calls))

    in_service(config_of(digits), body, drain=False)


def test_a_caller_that_goes_away_leaves_nothing_behind(digits: Served) -> None:
    async def body(service: Service) -> None:
        calls = [asyncio.create_task(service.answer(f, HERE)) for f in digits.frames]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        got = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(one, Answer) for one in got) >= 16
        assert service.waiting == 0

    in_service(config_of(digits), body)


def test_units_are_signed_where_there_is_a_secret(digits: Served, tmp_path: Path) -> None:
    secret = bytes(range(32))
    file = tmp_path / "secret"
    file.write_text(secret.hex())
    file.chmod(0o600)
    security = {"fleet_secret_file": str(file), "replay_file": str(tmp_path / "replay.db")}
    key = device_key(secret, 7)

    async def body(service: Service) -> None:
        anyone = Origin("http", "", "127.0.0.1")
        answer = await service.answer(seal(key, 7, 1, digits.frames[0]), anyone)
        assert answer.device == "7"
        assert answer.frame_bytes == len(digits.frames[0])
        again = await outcome(service.answer(seal(key, 7, 1, digits.frames[0]), anyone))
        assert isinstance(again, ReplayError)
        bare = await outcome(service.answer(digits.frames[0], anyone))
        assert isinstance(bare, SealError)
        foreign = await outcome(service.answer(seal(key, 8, 2, digits.frames[0]), anyone))
        assert isinstance(foreign, SealError)
        bad = bytes(digits.frames[0][:-1]) + bytes([digits.frames[0][-1] ^ 1])
        assert isinstance(
            await outcome(service.answer(seal(key, 7, 3, bad), anyone)), ChecksumError
        )
        named = Origin("http", "9", "127.0.0.1")
        other = await outcome(service.answer(seal(key, 7, 2, digits.frames[0]), named))
        assert isinstance(other, SealError)

    in_service(config_of(digits, security=security), body)

    async def restarted(service: Service) -> None:
        anyone = Origin("http", "", "127.0.0.1")
        again = await outcome(service.answer(seal(key, 7, 1, digits.frames[0]), anyone))
        assert isinstance(again, ReplayError)

    in_service(config_of(digits, security=security), restarted)


def test_a_unit_that_found_the_queue_full_may_come_again(digits: Served, tmp_path: Path) -> None:
    secret = bytes(range(32))
    file = tmp_path / "secret"
    file.write_text(secret.hex())
    file.chmod(0o600)
    security = {"fleet_secret_file": str(file), "replay_file": str(tmp_path / "replay.db")}
    units = [seal(device_key(secret, 7), 7, k, digits.frames[k]) for k in range(4)]

    async def body(service: Service) -> None:
        anyone = Origin("http", "", "127.0.0.1")
        got = await asyncio.gather(*(outcome(service.answer(u, anyone)) for u in units))
        assert [type(one) for one in got] == [Answer, Answer, BusyError, BusyError]
        again = await asyncio.gather(*(outcome(service.answer(u, anyone)) for u in units[2:]))
        assert [type(one) for one in again] == [Answer, Answer]

    in_service(config_of(digits, security=security, limits={"queue": 2}), body)


def test_a_drain_answers_frames_whose_packets_are_still_coming(digits_packets: Served) -> None:
    async def body(service: Service) -> None:
        packets = cut_frame(digits_packets.frames[2])
        call = asyncio.create_task(outcome(service.receive(packets[0], HERE)))
        await asyncio.sleep(0.01)
        assert await service.drain(5)
        answer = await call
        assert isinstance(answer, Answer)
        assert answer.concealed > 0

    in_service(config_of(digits_packets, limits={"reassembly_ms": 60_000}), body, drain=False)


def test_bundles_are_named_once_and_labels_fit(digits: Served, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a second time"):
        Fleet(config_of(digits, digits))
    with pytest.raises(ConfigError, match="missing"):
        Fleet(load_config(None))
    names = tmp_path / "names.txt"
    names.write_text("a\nb\n")
    wrong = load_config(None, bundles=[{"path": str(digits.path), "labels": str(names)}])
    with pytest.raises(ConfigError, match="2 names"):
        Fleet(wrong)
