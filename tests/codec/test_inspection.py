"""What `isthmus inspect` says of frames of packets, against their bytes."""

from __future__ import annotations

import numpy as np
from codec_profiles import make_profile, with_packets

from isthmus.cli.inspection import inspect_frame
from isthmus.codec import encode_frame
from isthmus.errors import TruncatedError


def test_every_packet_is_explained() -> None:
    profile = with_packets(make_profile(4, (8, 4, 16)), 16, 40)
    tensor = np.random.default_rng(5).integers(-128, 128, profile.tensor.shape).astype(np.int8)
    frame = encode_frame(profile, 0, 517, tensor)
    report, error = inspect_frame(frame, profile)
    assert error is None
    values: dict[str, list[int]] = {}
    for row in report["fields"]:
        values.setdefault(row["field"], []).append(row["value"])
    count = report["slices"]
    assert count > 1
    assert f"in {count} packets" in report["summary"][0]
    # 32 units of 16 elements, each packet going on where the one before it ended
    assert sum(values["units"]) == 32
    assert values["first"] == [0, *np.cumsum(values["units"])[:-1].tolist()]
    assert values["sequence"] == [517] * count
    assert sum(values["length"]) + 12 * count == len(frame) == report["bytes"]
    assert report["header_bytes"] == 12 * count


def test_a_packet_that_ends_early_is_named() -> None:
    profile = with_packets(make_profile(4, (8, 4, 16)), 16, 40)
    tensor = np.zeros(profile.tensor.shape, dtype=np.int8)
    frame = encode_frame(profile, 0, 0, tensor)
    _, error = inspect_frame(frame[:-1], None)
    assert isinstance(error, TruncatedError)
