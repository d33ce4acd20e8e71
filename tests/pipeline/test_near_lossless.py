"""generate --codec near-lossless: element types, ladders, slices, packets, grids by channel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from whole_path import check_whole_path

from isthmus.decoder import Decoder

SMALL = {"limit": 32, "codec": "near-lossless"}

# name -> options; all with the digits, cut at stage2 (4 x 4 x 32)
DIGITS: dict[str, dict[str, Any]] = {
    "int8": {"bounds": (0, 1, 2, 4)},
    "sliced": {"bounds": (2, 0), "slice_rows": 1},
    "packets": {"bounds": (0, 4), "mtu": 160},
    "by_rows": {"bounds": (1,), "stream_rows": True, "slice_rows": 2, "rounding": "litert"},
    "int16": {"element": "int16", "bounds": (0, 3)},
    "int16_by_channel": {"element": "int16", "bounds": (1,), "min_max": "channel"},
    "float32_by_channel": {
        "element": "float32", "bounds": (0, 2), "min_max": "channel", "slice_rows": 3,
    },
    "channel_packets": {"element": "float32", "min_max": "channel", "mtu": 200},
}  # fmt: skip


@pytest.mark.parametrize("name", DIGITS)
def test_digits(name: str, network: Any, digits_data: Any, make_bundle: Any) -> None:
    options = DIGITS[name]
    made = make_bundle(
        model=network("digits"), cut="stage2", calibration=digits_data["calibration"],
        **{**SMALL, **options},
    )  # fmt: skip
    profile = made.bundle.profile
    assert profile.codec == "near-lossless"
    assert profile.format == "1.3"
    assert [rung.bound for rung in profile.rungs] == list(options.get("bounds", (0,)))
    assert profile.tensor.dtype == options.get("element", "int8")
    channels = options.get("min_max") == "channel"
    assert all((rung.grids is not None) == channels for rung in profile.rungs)
    assert (profile.packets is not None) == ("mtu" in options)
    check_whole_path(made.bundle.path)


def test_equal_options_give_equal_bytes(network: Any, digits_data: Any, make_bundle: Any) -> None:
    options = {
        "model": network("digits"), "cut": "stage2", "calibration": digits_data["calibration"],
        "bounds": (1, 0), "element": "float32", "min_max": "channel", **SMALL,
    }  # fmt: skip
    one, two = make_bundle(**options).bundle, make_bundle(**options).bundle
    assert one.files == two.files
    assert one.profile.digest == two.profile.digest


def test_no_value_is_further_than_the_bound(
    network: Any, digits_data: Any, make_bundle: Any
) -> None:
    bounds = (0, 1, 2, 4)
    made = make_bundle(
        model=network("digits"), cut="stage2", calibration=digits_data["calibration"],
        bounds=bounds, **SMALL,
    )  # fmt: skip
    decoder = Decoder(made.bundle)
    tensor = made.bundle.profile.tensor
    rng = np.random.default_rng(5)
    for sent in (
        rng.integers(-128, 128, tensor.shape, np.int8),
        np.full(tensor.shape, tensor.zero_point, np.int8),
        np.arange(-256, 256, dtype=np.int64).reshape(tensor.shape).astype(np.int8),
    ):
        for rung, bound in enumerate(bounds):
            decoded = decoder.decode(decoder.encode(sent, rung=rung))
            got = np.round(decoded.features / tensor.scale) + tensor.zero_point
            assert np.abs(got - sent).max() <= bound
            if bound == 0:
                assert np.array_equal(got, sent)
            zero = sent == tensor.zero_point
            assert (decoded.features[zero] == 0).all()
