"""The near-lossless comparison: its coders give tensors back, sizes are what other calls make."""

from __future__ import annotations

import io
import json
import lzma
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks import near_lossless
from benchmarks.codecs.base import Codec
from benchmarks.codecs.lossless import (
    PICTURE_LAYOUTS,
    HevcLossless,
    JpegLs,
    JpegXl,
    LosslessPng,
    LosslessWebP,
    Lzma,
    OnPicture,
    picture_tiling,
)
from benchmarks.codecs.packed import Layout
from benchmarks.near_lossless import Sizes, load_results, measure_rival, write_results
from benchmarks.near_lossless_ours import our_bytes, our_codecs
from benchmarks.near_lossless_rivals import Rival, rivals
from benchmarks.near_lossless_tensors import BOUNDS, TASKS, Grid, Int8Cut
from benchmarks.near_lossless_text import RIVALS, section, summary
from benchmarks.sections import read_section

from isthmus_gen.models import ActivationInfo

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "near_lossless.json"
SHAPE = (5, 6, 8)
Require = Callable[[str], None]


def features(seed: int, n: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """int8 like rectified features: a third at the zero point -128, the rest smooth in a row."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 12, (n, *shape)).cumsum(axis=2) + rng.normal(-10, 20, (n, 1, 1, shape[2]))
    return np.clip(np.rint(steps) - 128, -128, 127).astype(np.int8)


def cut(shape: tuple[int, ...] = SHAPE, n: int = 3) -> Int8Cut:
    made = (1,) * (3 - len(shape)) + shape
    return Int8Cut(
        TASKS[0], TASKS[0].cuts[0], shape, ActivationInfo("relu", 0.0, None), 0.1, -128,
        features(1, 12, made), features(2, n, made),
    )  # fmt: skip


def pictures() -> list[np.ndarray]:
    made = (features(3, 2, (40, 33, 1))[..., 0].astype(np.int64) + 128).astype(np.uint8)
    noise = np.random.default_rng(4).integers(0, 256, (40, 33)).astype(np.uint8)
    return [*made, np.zeros((40, 33), np.uint8), np.full((40, 33), 255, np.uint8), noise]


CODERS: dict[str, Callable[[], Codec]] = {
    "png": LosslessPng,
    "png without filters": lambda: LosslessPng("none"),
    "webp": LosslessWebP,
    "jpeg-ls": JpegLs,
    "jpeg xl 9": lambda: JpegXl(9),
    "jpeg xl 10": lambda: JpegXl(10),
    "hevc": lambda: HevcLossless((40, 33)),
}
NEEDS = {"jpeg": "imagecodecs", "hevc": "imageio_ffmpeg"}


@pytest.mark.parametrize("name", CODERS)
def test_pictures_come_back(name: str, require_package: Require) -> None:
    for start, package in NEEDS.items():
        if name.startswith(start):
            require_package(package)
    codec = CODERS[name]()
    given = pictures()
    codes = codec.encode_all(given)
    np.testing.assert_array_equal(codec.decode_all(codes), given)
    headers = {len(code) - codec.bare(code) for code in codes}
    assert len(headers) == 1
    assert 8 <= headers.pop() < 100


@pytest.mark.parametrize("near", [1, 2, 4])
def test_jpeg_ls_keeps_its_bound(near: int, require_package: Require) -> None:
    require_package("imagecodecs")
    codec = JpegLs(near)
    given = np.stack(pictures()).astype(np.int64)
    off = np.abs(codec.decode_all(codec.encode_all(pictures())).astype(np.int64) - given)
    assert off.max() == near


def test_small_pictures_are_padded_for_hevc(require_package: Require) -> None:
    require_package("imageio_ffmpeg")
    codec = HevcLossless((8, 5))
    given = np.arange(80, dtype=np.uint8).reshape(2, 8, 5)
    codes = codec.encode_all(given)
    np.testing.assert_array_equal(codec.decode_all(codes), given)


def test_sizes_are_those_of_other_libraries(require_package: Require) -> None:
    from PIL import Image

    one = pictures()[0]
    # PNG without filters: zlib over rows that begin with a 0; file less 57 bytes of chunks.
    rows = b"".join(b"\0" + row.tobytes() for row in one)
    plain = LosslessPng("none")
    assert plain.bare(plain.encode(one)) == len(zlib.compress(rows, 9)) - 6
    assert plain.size(one) == len(zlib.compress(rows, 9)) + 57
    out = io.BytesIO()
    Image.fromarray(one).save(out, "PNG", optimize=True)
    assert LosslessPng().size(one) == len(out.getvalue())
    filters = [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "pb": 0}]
    pressed = lzma.compress(one.tobytes(), format=lzma.FORMAT_RAW, filters=filters)
    order = Layout(planes=False, packed=False)
    assert Lzma("", 256, one.shape, order, 0).encode(one) == pressed
    require_package("imagecodecs")
    import imagecodecs

    # imagecodecs sends SPIFF's header of 34 bytes (T.87, annex F) and the end of its directory.
    code = JpegLs().encode(one)
    whole = imagecodecs.jpegls_encode(one)
    assert whole.endswith(code[2:])
    np.testing.assert_array_equal(imagecodecs.jpegls_decode(code), one)
    # SOI, frame header (13 bytes), scan header (10 bytes), EOI
    assert JpegLs().bare(code) == len(code) - 2 - 13 - 10 - 2
    webp = imagecodecs.webp_encode(np.repeat(one[..., None], 3, -1), lossless=True, method=6)
    assert LosslessWebP().size(one) <= len(webp)
    xl = imagecodecs.jpegxl_encode(one, effort=9, lossless=True, usecontainer=False)
    assert JpegXl(9).size(one) == len(xl)


@pytest.mark.parametrize("layout", PICTURE_LAYOUTS)
def test_layouts_hold_every_channel_once(layout: str) -> None:
    tensor = np.arange(np.prod(SHAPE), dtype=np.uint8).reshape(SHAPE)
    codec = OnPicture(LosslessPng(), layout, SHAPE)
    np.testing.assert_array_equal(codec.decode(codec.encode(tensor)), tensor)
    size = {"grid": (10, 24), "column": (40, 6), "row": (5, 48), "lines": (8, 30)}[layout]
    assert picture_tiling(layout, SHAPE).size == size
    wanted = {
        "grid": np.block([[tensor[..., 4 * r + c] for c in range(4)] for r in range(2)]),
        "column": np.concatenate([tensor[..., c] for c in range(8)]),
        "row": np.concatenate([tensor[..., c] for c in range(8)], axis=1),
        "lines": tensor.reshape(30, 8).T,
    }[layout]
    from PIL import Image

    found = np.asarray(Image.open(io.BytesIO(codec.encode(tensor))))
    np.testing.assert_array_equal(found, wanted)


def test_the_grid_of_a_published_bottleneck() -> None:
    # Choi and Bajic, MMSP 2018: 256 channels of 13 x 13 in 16 x 16 tiles; 32 in 8 x 4, wide first.
    assert picture_tiling("grid", (13, 13, 256)).size == (208, 208)
    assert picture_tiling("grid", (16, 16, 32)).size == (64, 128)
    assert picture_tiling("grid", (20, 20, 96)).size == (120, 320)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("zero_point", [-128, -114, -7, 0, 127])
def test_the_grid_is_the_nearest_within_the_bound(bound: int, zero_point: int) -> None:
    grid = Grid(bound, zero_point)
    every = np.arange(-128, 128).astype(np.int8)
    # by hand: of all multiples of the step about the zero point the nearest one (no ties: the
    # step is odd), counted from the lowest that is ever used
    multiples = zero_point + (2 * bound + 1) * np.arange(-300, 301)
    nearest = np.abs(every[:, None].astype(int) - multiples).argmin(axis=1)
    np.testing.assert_array_equal(grid.levels(every), nearest - nearest.min())
    assert grid.count == nearest.max() - nearest.min() + 1 <= 256
    back = grid.values(grid.levels(every))
    np.testing.assert_array_equal(back, np.clip(multiples[nearest], -128, 127))
    assert np.abs(back.astype(int) - every).max() == bound
    assert back[every == zero_point] == zero_point


@pytest.mark.parametrize("shape", [SHAPE, (64,)])
@pytest.mark.parametrize("bound", [0, 2])
def test_every_coder_on_small_tensors(
    shape: tuple[int, ...], bound: int, require_package: Require
) -> None:
    for package in ("imagecodecs", "imageio_ffmpeg", "zstandard"):
        require_package(package)
    found = near_lossless.measure_cut(cut(shape), bound)
    wanted = [name for name in RIVALS if bound or name != "JPEG-LS NEAR=D"]
    names = [one.coder for one in found]
    assert [name for name in names if name in {*RIVALS} - {"zstd -19, dictionary"}] == [
        name for name in names if not name.startswith("Isthmus") and "dictionary" not in name
    ]
    assert set(wanted) - set(names) <= {"zstd -19, dictionary"}
    for one in found:
        assert len(one.sizes) == -(-3 // one.step)
        assert all(size > one.header >= 0 for size in one.sizes), one.coder


def test_a_coder_that_gives_something_else_is_found() -> None:
    class Wrong(LosslessPng):
        def decode(self, code: bytes) -> np.ndarray:
            return super().decode(code) ^ 1

    one = cut()
    levels = Grid(0, -128).levels(one.test)
    rival = Rival("PNG", (OnPicture(Wrong(), "grid", SHAPE),))
    with pytest.raises(RuntimeError, match="PNG adaptive, grid: what comes back is 1 off"):
        measure_rival(one, 0, rival, levels, levels)
    # where a bound is kept by the coder itself, it is the bound that counts
    assert measure_rival(one, 1, replace(rival, bound=1), levels, levels).coder == "PNG"


def test_the_cheapest_layout_is_taken_on_calibration_tensors() -> None:
    levels = Grid(0, -128).levels(cut(n=12).calibration)
    (png,) = [r for r in rivals(SHAPE, 256, 0, levels, ["imagecodecs", "HEVC", "zstandard"])
              if r.name == "PNG"]  # fmt: skip
    taken = png.chosen(levels)
    few = levels[[0, 3, 7, 11]]
    total = {c.setting: sum(len(c.encode(one)) for one in few) for c in png.candidates}
    assert len(total) == 8
    assert total[taken.setting] == min(total.values())


@pytest.mark.parametrize("bound", [0, 4])
def test_our_coders_give_levels_back_at_sizes_of_their_frames(bound: int) -> None:
    one = cut()
    levels = Grid(bound, one.zero_point).levels(one.test)
    for codec in our_codecs(one, bound):
        whole, bare = our_bytes(codec, levels)
        assert whole == [len(codec.encode(tensor)) for tensor in levels]
        assert {a - b for a, b in zip(whole, bare, strict=True)} == {12}  # BITSTREAM.md, 3


def sizes(coder: str, given: tuple[int, ...], header: int = 0, step: int = 1) -> Sizes:
    return Sizes("resnet8", "activation_2", (2, 2, 2), 0, coder, "", step, header, given)


def test_ratios_by_hand_and_results_read_back(tmp_path: Path) -> None:
    ours = sizes("Isthmus lightweight paper", (90, 100, 110), 10)
    png = sizes("PNG", (100, 200, 110), 60)
    slow = sizes("WebP lossless", (50, 400), 20, step=2)
    assert [(r["rival"], r["whole"], r["whole_worst"], r["whole_not_below"])
            for r in summary([png, ours, slow])] == [
        ("PNG", round(300 / 410, 4), 1.0, 1),
        ("WebP lossless", round(200 / 450, 4), 1.8, 1),
    ]  # fmt: skip
    (row, _) = summary([png, ours, slow])
    assert (row["bare"], row["bare_worst"], row["bare_not_below"]) == (
        round(270 / 230, 4), 2.0, 2,
    )  # fmt: skip
    write_results([ours, png, slow], {"HEVC": "install it"}, tmp_path)
    file = tmp_path / "results" / "near_lossless.json"
    assert load_results(file) == ([ours, png, slow], {"HEVC": "install it"})
    assert json.loads(file.read_text(encoding="ascii"))["summary"][0]["rival"] == "PNG"
    text = read_section(tmp_path / "RESULTS.md", "near_lossless")
    assert "Absent in this run: HEVC." in text
    assert "| ResNet-8 activation_2 | 0 | 0.732 (1.000) | 0.444 (1.800) |" in text
    assert "| ResNet-8 activation_2 | 0 | 2x2x2 | 100 (90) | 137 (77) | 225 (205) |" in text


def test_a_small_run_and_a_part_of_it_again(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*more: str) -> list[dict[str, object]]:
        given = ["--quick", "--task", "kws", "--json", "--out", str(tmp_path), *more]
        assert near_lossless.main(given) == 0
        found: list[dict[str, object]] = json.loads(capsys.readouterr().out)["sizes"]
        return found

    first = run("--part", "ours")
    assert {one["bound"] for one in first} == {0, 1}
    assert {len(one["sizes"]) for one in first} == {4}  # type: ignore[arg-type]
    assert run("--part", "ours") == first


def test_the_kept_section_is_that_of_the_kept_results() -> None:
    kept = load_results(RESULTS)
    text = read_section(ROOT / "benchmarks" / "RESULTS.md", "near_lossless")
    assert text == section(*kept).strip()
    assert kept[1] == {}
    wanted = [(t.name, c, bound) for t in TASKS for c in t.cuts for bound in BOUNDS]
    assert list(dict.fromkeys(one.key for one in kept[0])) == wanted
    for key in wanted:
        names = {one.coder for one in kept[0] if one.key == key}
        missing = {*RIVALS, "Isthmus lightweight neighbour"} - names
        assert missing <= {"zstd -19, dictionary", "JPEG-LS NEAR=D"}
        assert ("JPEG-LS NEAR=D" in names) == (key[2] > 0)
    assert {len(one.sizes) * one.step for one in kept[0]} == {50}
