"""Packets over MQTT, one a message: gathered, answered once, all of them acknowledged."""

from __future__ import annotations

import json
import random

import mqtt_world as world
import numpy as np
from benchmarks.mqtt_broker import Broker
from served import Served

from isthmus.conceal_slices import cut_frame
from isthmus.server.config import load_config
from isthmus.server.service import Service


def test_packets_are_answered_once_and_acknowledged(broker: Broker, digits_packets: Served) -> None:
    packets = [p for k in range(3) for p in cut_frame(digits_packets.frames[k])]
    random.Random(2).shuffle(packets)
    settings = load_config(
        None,
        bundles=[{"path": str(digits_packets.path), "name": "net"}],
        limits={"reassembly_ms": 5000},
    )

    async def test() -> None:
        service = Service(settings)
        await service.start()
        async with world.link_to(service, world.config(broker, "packets")) as link:  # type: ignore[arg-type]
            async with world.device(broker) as board:
                await board.subscribe("packets/net/cam/results", qos=1)
                for packet in packets:
                    await board.publish("packets/net/cam/frames", packet, qos=1)
                results = [json.loads(m.payload) for m in await world.messages_of(board, 3)]
                assert {r["sequence"] for r in results} == {0, 1, 2}
                for result in results:
                    assert (result["device"], result["concealed"]) == ("cam", 0)
                    (values,) = result["outputs"].values()
                    np.testing.assert_array_equal(
                        np.array(values, np.float32), digits_packets.answers[result["sequence"]]
                    )
                await world.until(lambda: link.counts.answered == 3)
            assert link.counts.frames == len(packets)
        # nothing is left with the broker: a new connection of the same session gets nothing
        async with world.link_to(service, world.config(broker, "packets")) as link:  # type: ignore[arg-type]
            async with world.device(broker) as board:
                await board.subscribe("packets/net/cam/results", qos=1)
                await board.publish("packets/net/cam/frames", digits_packets.frames[5], qos=1)
                (only,) = [json.loads(m.payload) for m in await world.messages_of(board, 1)]
                assert only["sequence"] == 5
            assert link.counts.redelivered == 0
            assert link.counts.frames == 1
        service.close()

    world.run(test)
