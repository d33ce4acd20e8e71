"""What the server promises of bad and slow devices: others do not notice, and all is counted."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import httpx
from live_server import FRAMES, Live, run
from served import Served


def test_a_bad_device_does_not_slow_a_good_one(digits: Served) -> None:
    """Damaged frames and bodies of 4 MiB as fast as they go: the good one is answered, all of it.

    The bad one is shut out after 20 of them, and from then on its long bodies are not even read.
    """
    bad = digits.frames[0][:-1] + bytes([digits.frames[0][-1] ^ 1])
    large = bytes(4 << 20)

    async def body(live: Live) -> None:
        stop = asyncio.Event()
        said: Counter[str] = Counter()

        async def flood(data: bytes) -> None:
            url = f"http://127.0.0.1:{live.server.port}"
            async with httpx.AsyncClient(base_url=url) as client:
                while not stop.is_set():
                    try:
                        answer = await client.post(
                            FRAMES, content=data, headers={"x-isthmus-device": "bad"}
                        )
                    except httpx.TransportError:
                        said["cut off"] += 1
                        continue
                    said[answer.json()["error"]["name"]] += 1
                    await asyncio.sleep(0.005)

        floods = [asyncio.create_task(flood(bad)) for _ in range(3)]
        floods += [asyncio.create_task(flood(large)) for _ in range(3)]
        begin = time.monotonic()
        calls = []
        for k in range(60):
            await asyncio.sleep(max(0.0, begin + k / 40 - time.monotonic()))
            calls.append(asyncio.create_task(live.post(digits.frames[k % 32], device="good")))
        answers = await asyncio.gather(*calls)
        took = time.monotonic() - begin
        stop.set()
        await asyncio.gather(*floods)
        assert [one.status_code for one in answers] == [200] * 60
        assert took < 6.0
        assert live.service.admission.shut_out(time.perf_counter()) == ["http 127.0.0.1 bad"]
        assert 20 <= said["checksum"] + said["version"] + said["digest_unknown"] <= 26
        assert said["quarantine"] + said["cut off"] > 20
        state = live.service.monitor.state()
        assert state["frames"] == 60
        read = [a.json()["timings_ms"]["total"] for a in answers]
        assert sorted(read)[54] < 1000

    run(digits, body, quarantine={"failures": 20, "window_s": 10, "seconds": 30})


def test_what_never_reaches_the_service_is_counted_too(digits: Served) -> None:
    """Bodies and requests that the link refuses: in the counts, and on the way to quarantine."""

    async def body(live: Live) -> None:
        long = await live.post(bytes(2000), device="long")
        assert long.json()["error"]["name"] == "body_too_large"
        squeezed = await live.post(b"no zlib", device="long", content_encoding="gzip")
        assert squeezed.status_code == 400
        wrong = await live.client.post("/v2/models/digits/infer", content=b"{}")
        assert wrong.status_code == 400
        state = live.service.monitor.state()
        assert (state["frames"], state["refused"]) == (0, 3)
        third = await live.post(bytes(2000), device="long")
        fourth = await live.post(digits.frames[0], device="long")
        assert third.json()["error"]["name"] == "body_too_large"
        assert fourth.json()["error"]["name"] == "quarantine"
        assert live.service.monitor.state()["refused"] == 5

    run(digits, body, limits={"body_bytes": 1500}, quarantine={"failures": 3})


def test_slow_bodies_hold_nobody(digits: Served) -> None:
    """Forty bodies that trickle: no frame of others waits, and each is refused in its time."""

    async def body(live: Live) -> None:
        slow = []
        for _ in range(40):
            reader, writer = await asyncio.open_connection("127.0.0.1", live.server.port)
            writer.write(
                b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 90\r\n\r\n" % FRAMES.encode()
            )
            slow.append((reader, writer))

        async def trickle() -> None:
            for _ in range(30):
                await asyncio.sleep(0.1)
                for _, writer in slow:
                    writer.write(b"x")

        task = asyncio.create_task(trickle())
        begin = time.monotonic()
        for k in range(30):
            assert (await live.post(digits.frames[k], device="good")).status_code == 200
        assert time.monotonic() - begin < 5
        for reader, _ in slow:
            assert b"400" in await asyncio.wait_for(reader.readline(), 10)
        assert live.service.waiting == 0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for _, writer in slow:
            writer.close()

    run(digits, body, limits={"request_s": 0.6})
