"""Bad input to `cuts` and `generate`: data, options, networks, targets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import Case, check_refused, damaged, folder, npz, pictures, text, truncated, with_nan


def _calibration(
    name: str, make: Callable[[Path], Path], code: int, error: str, *words: str
) -> Case:
    def arguments(digits: Any, tmp: Path) -> list[Any]:
        return digits.generate(tmp / "out", calibration=make(tmp))

    return Case(name, arguments, code, error, words)


def _option(name: str, code: int, error: str, *words: str, **options: object) -> Case:
    def arguments(digits: Any, tmp: Path) -> list[Any]:
        return digits.generate(tmp / "out", **options)

    return Case(name, arguments, code, error, words)


CALIBRATION = [
    _calibration("missing", lambda t: t / "none.npz", 3, "data_file", "no such file"),
    _calibration("directory", folder, 3, "data_file", "give an .npz"),
    _calibration("text", lambda t: text(t / "a.npz", "x"), 3, "data_file", "not an .npz"),
    _calibration("truncated", truncated, 3, "data_file"),
    _calibration("damaged", damaged, 3, "data_file", "write it again"),
    _calibration("no_x", lambda t: npz(t / "a.npz", z=pictures()), 3, "data_file", "which holds z"),
    _calibration("nan", lambda t: npz(t / "a.npz", x=with_nan()), 3, "data_not_finite", "x[2]"),
    _calibration(
        "infinity", lambda t: npz(t / "a.npz", x=pictures(np.inf)), 3, "data_not_finite", "repair"
    ),
    _calibration(
        "shape", lambda t: npz(t / "a.npz", x=pictures(shape=(4, 9, 8, 1))), 3, "data_shape",
        "9x8x1", "8x8x1",
    ),
    _calibration(
        "rank", lambda t: npz(t / "a.npz", x=pictures(shape=(4, 64))), 3, "data_shape", "8x8x1"
    ),
    _calibration(
        "empty", lambda t: npz(t / "a.npz", x=pictures(shape=(0, 8, 8, 1))), 3, "data_empty",
        "at least one",
    ),
    _calibration(
        "text_dtype", lambda t: npz(t / "a.npz", x=np.full((4, 8, 8, 1), "a")), 3, "data_dtype",
        "integers or real floats",
    ),
    _calibration(
        "complex", lambda t: npz(t / "a.npz", x=pictures().astype(np.complex64)), 3,
        "data_dtype", "astype",
    ),
    _calibration(
        "objects", lambda t: npz(t / "a.npz", x=np.array([[{}]], dtype=object)), 3, "data_dtype"
    ),
    _calibration(
        "labels", lambda t: npz(t / "a.npz", x=pictures(), y=np.zeros(3)), 3, "data_shape", "4"
    ),
]  # fmt: skip

OPTIONS = [
    _option("cut_unknown", 3, "cut_unknown", "nearest legal cut: stage2", cut="stage2_"),
    _option("cut_inside_residual", 3, "cut_illegal", "stage1 (before)", cut="stage2_conv1"),
    _option("cut_at_input", 3, "cut_illegal", "nearest legal cut", cut="picture"),
    _option("cut_at_output", 3, "cut_illegal", "nearest legal cut", cut="digit"),
    _option("target_unknown", 3, "target_unknown", "did you mean cortex-m4f?", target="cortex-m4"),
    _option("target_missing_file", 3, "target_unknown", "no such file", target="none.toml"),
    _option("levels_1", 2, "option", "--levels", "2 to 256", levels="1"),
    _option("levels_300", 2, "option", "--levels", "2 to 256", levels="300"),
    _option("levels_word", 2, "option", "--levels", "2..256", levels="four"),
    _option("levels_empty", 2, "option", "--levels", levels=""),
    _option("levels_nine_rungs", 2, "option", "1 to 8 rungs", levels="2,3,4,5,6,7,8,9,10"),
    _option("clip_word", 2, "option", "--clip", "aciq", clip="best"),
    _option("clip_backwards", 2, "option", "--clip", "below", clip="3:1"),
    _option("clip_nan", 2, "option", "--clip", clip="nan"),
    _option("quantizer", 2, "option", "--quantizer", "ecsq", quantizer="best"),
    _option("lambda_negative", 2, "option", "--lambda", quantizer="ecsq", **{"lambda": -1}),
    _option("lambda_nan", 2, "option", "--lambda", quantizer="ecsq", **{"lambda": "nan"}),
    _option("lambda_word", 2, "option", "--lambda", **{"lambda": "much"}),
    _option("c_min", 2, "option", "--c-min", "zero", "free", c_min="one"),
    _option("rate_term", 2, "option", "--rate-term", "entropy", rate_term="none"),
    _option("values", 2, "option", "--values", "centroid", values="best"),
    _option("preprocess", 2, "option", "--preprocess", "unit", preprocess="best"),
    _option("slice_rows_many", 2, "option", "--slice-rows", "0..4", slice_rows=5),
    _option("slice_rows_negative", 2, "option", "--slice-rows", slice_rows=-1),
    _option("rows_of_one", 2, "option", "--stream-rows", "two rows", cut="pool", stream_rows=True),
    _option("rows_of_floats", 2, "option", "in float", element="float32", stream_rows=True),
    _option("rounding", 2, "option", "--rounding", "tflm", rounding="up"),
    _option("limit", 2, "option", "--limit", limit=-1),
    _option("vectors", 2, "option", "--vectors", vectors=0),
    _option("unknown_option", 2, "option", "--speed", "--help", speed=1),
]


def _model(name: str, make: Callable[[Path], Path], error: str, *words: str) -> list[Case]:
    def of_generate(digits: Any, tmp: Path) -> list[Any]:
        return digits.generate(tmp / "out", model=make(tmp))

    def of_cuts(digits: Any, tmp: Path) -> list[Any]:
        return ["cuts", make(tmp)]

    return [
        Case(f"generate_model_{name}", of_generate, 3, error, words),
        Case(f"cuts_model_{name}", of_cuts, 3, error, words),
    ]


def _cut_short(digits_model: str) -> Callable[[Path], Path]:
    def make(tmp: Path) -> Path:
        from isthmus_gen.digits import digits_model_path

        return text(tmp / f"short{digits_model}", digits_model_path().read_bytes()[:5000])

    return make


MODELS = [
    *_model("missing", lambda t: t / "none.keras", "model_file"),
    *_model("folder", folder, "model_file"),
    *_model("suffix", lambda t: text(t / "net.txt", "x"), "model_load", ".keras", ".tflite"),
    *_model("broken_keras", _cut_short(".keras"), "model_load"),
    *_model("broken_tflite", lambda t: text(t / "net.tflite", b"TFL3" * 50), "model_load"),
    *_model("broken_h5", lambda t: text(t / "net.h5", b"x" * 100), "model_load"),
]

_BOARD = """
name = "tiny"
title = "A board with little memory"
core = "cortex-m4"
platform = "cortex-m"

[memory]
flash_origin = 0x08000000
flash_bytes = {flash}
ram_origin = 0x20000000
ram_bytes = {ram}
stack_bytes = {stack}

[[compilers]]
kind = "gcc"
prefix = "arm-none-eabi-"
flags = ["-mcpu=cortex-m4", "-mthumb"]
package = "gcc-arm-none-eabi (apt)"

[[compilers]]
kind = "zig"
target = "thumb-freestanding-eabihf"
mcpu = "cortex_m4"

[[emulators]]
kind = "unicorn"
cpu = "cortex-m4"
"""


def _board(name: str, error: str, *words: str, extra: str = "", **sizes: int) -> Case:
    def arguments(digits: Any, tmp: Path) -> list[Any]:
        values = {"flash": 1 << 20, "ram": 1 << 17, "stack": 4096, **sizes}
        board = text(tmp / "tiny.toml", _BOARD.format(**values) + extra)
        return digits.generate(tmp / "out", target=board)

    return Case(name, arguments, 3, error, words)


TARGETS = [
    _board("flash", "budget", "flash", "allowed: 8192 bytes", "earlier cut", flash=8192),
    _board("ram", "budget", "RAM", "allowed: 4096 bytes", "cut where", ram=4096, stack=2048),
    _board("field", "target_definition", "speed", extra="speed = 3\n"),
    _board("toml", "target_definition", "not valid TOML", extra="= broken\n"),
]


USAGE = [
    Case("no_model", lambda d, t: ["generate"], 2, "option", ("model", "--help")),
    Case("no_cut", lambda d, t: ["generate", d.model], 2, "option", ("--cut",)),
    Case("unknown_command", lambda d, t: ["compress"], 2, "option", ("compress",)),
    Case("no_frame", lambda d, t: ["decode", d.bundle, "--out", "x"], 2, "option", ("frames",)),
    Case("no_data", lambda d, t: ["evaluate", d.bundle], 2, "option", ("--data",)),
]

CASES = [*CALIBRATION, *OPTIONS, *MODELS, *TARGETS, *USAGE]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(case: Case, digits: Any, isth: Any, tmp_path: Path) -> None:
    manifest = (digits.bundle / "manifest.json").read_bytes()
    check_refused(case, isth(*case.make(digits, tmp_path), "--json"))
    assert not (tmp_path / "out").exists()
    assert (digits.bundle / "manifest.json").read_bytes() == manifest


def test_error_without_json_leaves_standard_output_empty(
    digits: Any, isth: Any, tmp_path: Path
) -> None:
    ran = isth(*digits.generate(tmp_path / "out", cut="nowhere"))
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith("error: cut: 'nowhere' is no tensor of digits.keras; nearest legal")


@pytest.mark.parametrize("name", ["cut", "nan", "h5"])
def test_a_process_prints_one_line_and_nothing_else(
    name: str, digits: Any, isth_process: Any, tmp_path: Path
) -> None:
    """What libraries write past Python's streams would be seen here alone."""
    words = {
        "cut": lambda: digits.generate(tmp_path / "out", cut="nowhere"),
        "nan": lambda: digits.generate(
            tmp_path / "out", calibration=npz(tmp_path / "a.npz", x=with_nan())
        ),
        "h5": lambda: ["cuts", text(tmp_path / "net.h5", b"x" * 100)],
    }[name]()
    ran = isth_process(*words)
    assert ran.code == 3
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert len(ran.err.splitlines()) == 1, ran.err
