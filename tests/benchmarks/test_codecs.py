"""The rivals' codecs: what comes back, and sizes that are known from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from benchmarks.codecs import hevc, packed, rangecoder
from benchmarks.codecs.base import Codec, cheapest
from benchmarks.codecs.pictures import Jpeg, LevelsPng, Png, WebP
from benchmarks.codecs.runlength import RunLength
from benchmarks.codecs.tiles import EightBit, Tiling

SHAPE = (4, 6, 8)


def levels(count: int, seed: int, n: int = 3) -> np.ndarray:
    """Levels like those of features: mostly 0."""
    drawn = np.random.default_rng(seed).exponential(0.9, (n, *SHAPE))
    return np.minimum(drawn, count - 1).astype(np.uint8)


LOSSLESS: dict[str, Callable[[int], Codec]] = {
    **{
        f"run-length {bits} {planes}": lambda n, b=bits, p=planes: RunLength(
            "", n, SHAPE, bits=b, planes=p
        )
        for bits in (1, 3, 8)
        for planes in (False, True)
    },
    **{f"zstd {form}": lambda n, f=form: packed.Zstd("", n, SHAPE, f) for form in packed.LAYOUTS},
    **{f"lz4 {form}": lambda n, f=form: packed.Lz4("", n, SHAPE, f) for form in packed.LAYOUTS},
    "zstd dictionary": lambda n: packed.ZstdDictionary(
        "", n, SHAPE, packed.LAYOUTS[0], levels(n, 9, 800)
    ),
    "range coder": lambda n: rangecoder.RangeCoder("", n, SHAPE, levels(n, 9, 50), 64),
}
NEEDS = {"zstd": "zstandard", "lz4": "lz4", "range": "constriction"}


Require = Callable[[str], object]


def made(name: str, count: int, require: Require) -> Codec:
    """The codec, once its package is there."""
    package = NEEDS.get(name.split(maxsplit=1)[0])
    if package is not None:
        require(package)
    return LOSSLESS[name](count)


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("count", [2, 3, 4, 5, 8])
def test_levels_come_back(name: str, count: int, require_package: Require) -> None:
    codec = made(name, count, require_package)
    given = np.concatenate(
        [levels(count, 1), np.zeros((1, *SHAPE), np.uint8), np.full((1, *SHAPE), count - 1, "u1")]
    )
    codes = codec.encode_all(given)
    np.testing.assert_array_equal(codec.decode_all(codes), given)
    assert [codec.size(one) for one in given] == [len(code) for code in codes]


def test_packing_is_a_number_in_base_n() -> None:
    # 5 digits of base 3 fit a byte: 2,1,0,0,1 is 2*81 + 27 + 1 = 190; then 2 alone, padded: 162.
    given = np.array([2, 1, 0, 0, 1, 2], dtype=np.uint8).reshape(1, 1, 6)
    form = packed.Layout(planes=False, packed=True)
    assert form.pack(given, 3) == bytes([190, 162])
    np.testing.assert_array_equal(form.unpack(bytes([190, 162]), 3, (1, 1, 6)), given)


def test_planes_are_packed_channel_by_channel() -> None:
    given = np.arange(6, dtype=np.uint8).reshape(1, 3, 2)
    form = packed.Layout(planes=True, packed=False)
    assert form.pack(given, 8) == bytes([0, 2, 4, 1, 3, 5])


def test_run_length_by_hand() -> None:
    # N = 4 (2 bits a level), runs of 2 bits. 0 0 3 | 0 0 0 0 1 | 2 | 0 ... : pairs (2,3), then
    # 4 zeros = (3,0) and (1,1), then (0,2); zeros at the end need nothing. 16 bits.
    given = np.array([0, 0, 3, 0, 0, 0, 0, 1, 2, 0, 0], dtype=np.uint8).reshape(1, 11, 1)
    codec = RunLength("", 4, (1, 11, 1), bits=2, planes=False)
    assert codec.encode(given) == bytes([0b10_11_11_00, 0b01_01_00_10])


def test_the_range_coder_needs_what_its_counts_say(require_package: Require) -> None:
    codec = made("range coder", 4, require_package)
    given = levels(4, 5, 1)[0].reshape(-1)
    start = np.bincount(levels(4, 9, 50).reshape(-1), minlength=4) / (50 * given.size)
    counts = start * 64 + 1 / 32
    ideal = 0.0
    for level in given:
        ideal -= math.log2(counts[level] / counts.sum())
        counts[level] += 1
    size = 8 * len(codec.encode(given.reshape(SHAPE)))
    assert ideal - 8 < size < ideal + 64  # words of 32 bits


@pytest.mark.parametrize("count", [2, 3, 4, 8, 16])
def test_png_of_levels_comes_back_at_its_depth(count: int) -> None:
    tile = np.random.default_rng(count).integers(0, count, (9, 21)).astype(np.uint8)
    depth = next(bits for bits in (1, 2, 4) if count <= 1 << bits)
    for bits in (depth, 8):
        codec = LevelsPng("", "", count, bits)
        code = codec.encode(tile)
        np.testing.assert_array_equal(codec.decode(code), tile)
        assert code[24] == bits  # IHDR's bit depth (PNG specification, 11.2.2)


def test_png_of_eight_bits_comes_back() -> None:
    tile = np.random.default_rng(2).integers(0, 256, (9, 21)).astype(np.uint8)
    codec = Png("", "")
    np.testing.assert_array_equal(codec.decode(codec.encode(tile)), tile)


@pytest.mark.parametrize("kind", [Jpeg, WebP])
@pytest.mark.parametrize("colour", [False, True])
def test_lossy_pictures_come_near_at_high_quality(kind: type, colour: bool) -> None:
    y, x = np.mgrid[0:32, 0:48]
    plane = (x * 3 + y * 2).astype(np.uint8)
    picture = np.stack([plane, plane[::-1], plane // 2 + 60], axis=-1) if colour else plane
    near, far = kind("", 95, colour=colour), kind("", 5, colour=colour)
    code = near.encode(picture)
    back = near.decode(code)
    assert back.shape == picture.shape
    assert np.abs(back.astype(int) - picture).mean() < 3
    assert len(far.encode(picture)) < len(code)
    assert near.bare(code) <= len(code)


def test_the_nearest_to_a_square_of_whole_rows() -> None:
    assert Tiling.near_square((16, 16, 32)).size == (64, 128)  # 2^3 wide, 2^2 high
    assert Tiling.near_square((32, 32, 16)).size == (128, 128)
    assert Tiling.near_square((25, 5, 64)).size == (100, 80)
    assert Tiling.near_square((1, 1, 7)).size in ((1, 7), (7, 1))
    with pytest.raises(ValueError, match="not tiled"):
        Tiling.near_square((64,))


def test_channel_c_lies_at_its_place_in_the_tile() -> None:
    tiling = Tiling.near_square((2, 3, 4))
    given = np.zeros((1, 2, 3, 4), dtype=np.uint8)
    given[0, 1, 2, 3] = 7
    picture = tiling.tile(given)[0]
    row, column = divmod(3, tiling.columns)
    assert picture[row * 2 + 1, column * 3 + 2] == 7
    assert picture.sum() == 7
    np.testing.assert_array_equal(tiling.untile(picture[np.newaxis]), given)


def test_eight_bits_clip_and_round_to_the_nearest_step() -> None:
    eight = EightBit(-1.0, 254.0)  # a step is one
    given = np.array([-9, -1, 0, 0.6, 254, 300], dtype=np.float32)
    assert eight.forward(given).tolist() == [0, 0, 1, 2, 255, 255]
    assert eight.back(np.array([0, 255], dtype=np.uint8)).tolist() == [-1.0, 254.0]


def test_cheapest_takes_the_fewest_bytes() -> None:
    sample = [np.zeros(SHAPE, dtype=np.uint8)]
    forms = [RunLength("", 4, SHAPE, bits=bits, planes=False) for bits in (1, 8)]
    few = [np.ones(SHAPE, dtype=np.uint8)]  # no runs at all: the short field is the better one
    assert cheapest(forms, few) is forms[0]
    assert cheapest(forms, sample) is forms[0]  # both need nothing: the first


def stream(*kinds: int) -> bytes:
    """NAL units of these types (H.265, 7.3.1.2) with a payload of two bytes each."""
    return b"".join(b"\0\0\0\1" + bytes([kind << 1, 1, 0xAA, 0xBB]) for kind in kinds)


def test_a_stream_is_parted_before_each_vps() -> None:
    whole = stream(32, 33, 34, 19) + stream(32, 33, 34, 39, 19)
    units = hevc.access_units(whole)
    assert [len(unit) for unit in units] == [32, 40]
    assert b"".join(units) == whole
    assert hevc.parameter_bytes(units[1]) == 24


def test_start_codes_of_three_bytes_are_found_too() -> None:
    whole = stream(32) + stream(19)[1:]
    assert [len(unit) for unit in hevc.nal_units(whole)] == [8, 7]


def test_hevc_pictures_stand_alone(require_package: Require) -> None:
    require_package("imageio_ffmpeg")
    assert hevc.absent() is None
    y, x = np.mgrid[0:40, 0:56]
    given = np.stack([(x * k + y).astype(np.uint8) for k in (1, 2, 3)])
    codec = hevc.Hevc(20, (40, 56))
    codes = codec.encode_all(given)
    together = codec.decode_all(codes)
    np.testing.assert_array_equal(codec.decode(codes[1]), together[1])
    assert np.abs(together.astype(int) - given).mean() < 4
    assert 0 < codec.bare(codes[0]) < len(codes[0])
    assert len(hevc.Hevc(40, (40, 56)).encode(given[2])) < len(codes[2])
