"""The MQTT link against a real mosquitto, with aiomqtt as the device."""

from __future__ import annotations

import asyncio
import json

import numpy as np
from benchmarks.mqtt_broker import Broker
from fake_service import FakeService, expected_outputs
from mqtt_world import config, device, link_to, messages_of, run, until
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from isthmus.errors import BusyError, DrainingError, RateLimitError


def test_a_frame_is_answered_with_what_the_service_says(broker: Broker, root: str) -> None:
    service = FakeService()
    frames = [service.digits.frame(sequence, b"payload %d" % sequence) for sequence in range(5)]

    async def scenario() -> None:
        async with link_to(service, config(broker, root)) as link, device(broker) as board:
            await board.subscribe(f"{root}/digits/board-7/results", qos=1)
            for frame in frames:
                await board.publish(f"{root}/digits/board-7/frames", frame, qos=1)
            results = await messages_of(board, len(frames))
            assert [m.properties.ContentType for m in results] == ["application/json"] * 5
            found = {said["sequence"]: said for said in (json.loads(m.payload) for m in results)}
            assert sorted(found) == [0, 1, 2, 3, 4]
            for sequence, frame in enumerate(frames):
                said = found[sequence]
                values = np.array(said["outputs"]["probabilities"], np.float32)
                assert values.tobytes() == expected_outputs(frame).tobytes()
                assert (said["model"], said["device"]) == ("digits", "board-7")
            await until(lambda: link.counts.answered == 5)
            assert (link.counts.frames, link.counts.refused, link.counts.redelivered) == (5, 0, 0)

    run(scenario)
    assert {origin.link for _, origin in service.seen} == {"mqtt"}


def test_refusals_are_results_too(broker: Broker, root: str) -> None:
    service = FakeService()
    limited = service.digits.frame(77, b"limited")
    service.refuse[limited] = RateLimitError("device", "sends too much")
    broken = service.digits.frame(78, b"broken")
    service.refuse[broken] = ZeroDivisionError("a defect")

    async def scenario() -> None:
        async with link_to(service, config(broker, root)) as link, device(broker) as board:
            await board.subscribe(f"{root}/+/+/results", qos=1)
            await board.publish(f"{root}/digits/d1/frames", limited, qos=1)
            await board.publish(f"{root}/unknown/d2/frames", service.digits.frame(5), qos=1)
            await board.publish(f"{root}/digits/d3/frames", b"", qos=1)
            await board.publish(f"{root}/digits/d4/frames", b"\x77" * 40, qos=1)
            await board.publish(f"{root}/digits/d5/frames", broken, qos=1)
            said = {str(m.topic): json.loads(m.payload) for m in await messages_of(board, 5)}
            codes = {t.split("/")[-2]: (s["error"]["code"], s["sequence"]) for t, s in said.items()}
            assert codes["d1"] == (95, 77)
            assert codes["d2"] == (91, 5)
            assert codes["d3"] == (1, None)
            assert codes["d4"] == (2, None)
            assert codes["d5"] == (103, 78)
            await until(lambda: link.counts.refused == 5)

    run(scenario)


def test_response_topic_correlation_and_expiry(broker: Broker, root: str) -> None:
    service = FakeService()
    frame = service.digits.frame(9)

    async def scenario() -> None:
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = f"replies/{root}"
        properties.CorrelationData = b"\x00\xff17"
        properties.MessageExpiryInterval = 600
        foreign = Properties(PacketTypes.PUBLISH)
        foreign.ResponseTopic = f"{root}/digits/somebody/results"
        async with link_to(service, config(broker, root)), device(broker) as board:
            await board.subscribe(f"replies/{root}", qos=1)
            await board.subscribe(f"{root}/digits/+/results", qos=1)
            await board.publish(f"{root}/digits/a/frames", frame, qos=1, properties=properties)
            (answer,) = await messages_of(board, 1)
            assert str(answer.topic) == f"replies/{root}"
            assert answer.properties.CorrelationData == b"\x00\xff17"
            assert 590 <= answer.properties.MessageExpiryInterval <= 600
            assert json.loads(answer.payload)["sequence"] == 9
            await board.publish(f"{root}/digits/a/frames", frame, qos=1, properties=foreign)
            (answer,) = await messages_of(board, 1)
            assert str(answer.topic) == f"{root}/digits/a/results"
            assert not hasattr(answer.properties, "MessageExpiryInterval")

    run(scenario)


def test_the_receive_maximum_holds_the_broker_back(broker: Broker, root: str) -> None:
    service = FakeService()
    frames = [service.digits.frame(sequence) for sequence in range(20)]

    async def scenario() -> None:
        service.gate = asyncio.Event()
        settings = config(broker, root, receive_maximum=4)
        async with link_to(service, settings) as link, device(broker) as board:
            await board.subscribe(f"{root}/digits/d/results", qos=1)
            for frame in frames:  # each is acknowledged to the board: the broker has them all
                await board.publish(f"{root}/digits/d/frames", frame, qos=1)
            await until(lambda: len(service.seen) == 4)
            await asyncio.sleep(0.1)  # time to send a fifth, if it were going to
            assert len(service.seen) == link.counts.frames == 4
            service.gate.set()
            results = await messages_of(board, 20)
            assert {json.loads(m.payload)["sequence"] for m in results} == set(range(20))

    run(scenario)


def test_what_was_not_answered_comes_again_to_the_next_server(broker: Broker, root: str) -> None:
    first, second = FakeService(), FakeService()
    frames = [first.digits.frame(sequence) for sequence in range(6)]

    async def scenario() -> None:
        first.gate = asyncio.Event()
        async with device(broker) as board:
            await board.subscribe(f"{root}/digits/d/results", qos=1)
            async with link_to(first, config(broker, root)) as link:
                for frame in frames[:3]:
                    await board.publish(f"{root}/digits/d/frames", frame, qos=1)
                await until(lambda: link.counts.frames == 3)
                link._drain_s = 0.05  # and none is answered by then
            for frame in frames[3:]:  # nobody is there: the session keeps them
                await board.publish(f"{root}/digits/d/frames", frame, qos=1)
            async with link_to(second, config(broker, root)) as link:
                results = await messages_of(board, 6)
                assert {json.loads(m.payload)["sequence"] for m in results} == set(range(6))
                assert link.counts.redelivered == 3

    run(scenario)


def test_a_server_that_drains_leaves_frames_to_the_broker(broker: Broker, root: str) -> None:
    draining, fresh = FakeService(), FakeService()
    frame = draining.digits.frame(1)
    draining.refuse[frame] = DrainingError("server", "leaves")

    async def scenario() -> None:
        async with device(broker) as board:
            await board.subscribe(f"{root}/digits/d/results", qos=1)
            async with link_to(draining, config(broker, root)) as link:
                await board.publish(f"{root}/digits/d/frames", frame, qos=1)
                await until(lambda: link.counts.frames == 1)
            async with link_to(fresh, config(broker, root)):
                (answer,) = await messages_of(board, 1)
                assert json.loads(answer.payload)["sequence"] == 1

    run(scenario)


def test_frames_in_work_are_answered_before_leaving(broker: Broker, root: str) -> None:
    service = FakeService()

    async def scenario() -> None:
        service.gate = asyncio.Event()
        async with device(broker) as board:
            await board.subscribe(f"{root}/digits/d/results", qos=1)
            async with link_to(service, config(broker, root)) as link:
                await board.publish(f"{root}/digits/d/frames", service.digits.frame(3), qos=1)
                await until(lambda: len(service.seen) == 1)
                closing = asyncio.create_task(link.aclose())
                await asyncio.sleep(0.05)
                service.gate.set()
                await closing
                assert link.counts.answered == 1
            async with link_to(FakeService(), config(broker, root)) as link:
                assert link.counts.frames == 0
            assert len(await messages_of(board, 1)) == 1

    run(scenario)


def test_a_full_queue_holds_the_frame_instead_of_refusing_it(broker: Broker, root: str) -> None:
    service = FakeService()
    frame = service.digits.frame(4)
    service.refuse[frame] = BusyError("server.queue", "is full")

    async def scenario() -> None:
        async with link_to(service, config(broker, root)) as link, device(broker) as board:
            await board.subscribe(f"{root}/digits/d/results", qos=1)
            await board.publish(f"{root}/digits/d/frames", frame, qos=1)
            await until(lambda: len(service.seen) >= 3)
            del service.refuse[frame]
            (answer,) = await messages_of(board, 1)
            assert json.loads(answer.payload)["sequence"] == 4
            await until(lambda: link.counts.answered == 1)
            assert link.counts.refused == 0

    run(scenario)


def test_servers_of_a_group_share_the_frames(broker: Broker, root: str) -> None:
    services = [FakeService(), FakeService()]
    names = [f"{root.replace('/', '-')}-{i}" for i in range(2)]

    async def scenario() -> None:
        settings = [config(broker, root, group="decoders", client_id=name) for name in names]
        async with (
            link_to(services[0], settings[0]),
            link_to(services[1], settings[1]),
            device(broker) as board,
        ):
            await board.subscribe(f"{root}/digits/d/results", qos=1)
            for sequence in range(20):
                frame = services[0].digits.frame(sequence)
                await board.publish(f"{root}/digits/d/frames", frame, qos=1)
            results = await messages_of(board, 20)
            assert sorted(json.loads(m.payload)["sequence"] for m in results) == list(range(20))

    run(scenario)
    counts = [len(service.seen) for service in services]
    assert sum(counts) == 20
    assert min(counts) >= 5


def test_frames_of_quality_0_and_other_topics(broker: Broker, root: str) -> None:
    service = FakeService()

    async def scenario() -> None:
        async with link_to(service, config(broker, root)) as link, device(broker) as board:
            await board.subscribe(f"{root}/digits/d/results", qos=1)
            await board.publish(f"{root}/digits/{'x' * 200}/frames", b"frame", qos=1)
            await board.publish(f"{root}/digits/d/frames", service.digits.frame(8), qos=0)
            (answer,) = await messages_of(board, 1)
            assert json.loads(answer.payload)["sequence"] == 8
            assert link.counts.frames == 2

    run(scenario)
    assert len(service.seen) == 1


def test_a_flood_of_quality_0_is_bounded(broker: Broker, root: str) -> None:
    service = FakeService()

    async def scenario() -> None:
        service.gate = asyncio.Event()
        settings = config(broker, root, receive_maximum=4)
        async with link_to(service, settings) as link, device(broker) as board:
            for sequence in range(50):
                await board.publish(f"{root}/digits/d/frames", service.digits.frame(sequence))
            await until(lambda: link.counts.frames == 50)
            assert link.counts.dropped == 50 - 9
            service.gate.set()
            await until(lambda: link.counts.answered == 9)

    run(scenario)
