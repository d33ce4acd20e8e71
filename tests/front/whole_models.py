"""The networks of MLPerf Tiny, whole and cut at three places by the generator's own split."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from isthmus.interpreters import TensorInfo, open_tflite, quantize
from isthmus_gen.models import load_model

NETWORKS = ("resnet8", "vww_96", "kws", "ad01")
WHOLE = "whole"


@cache
def fronts_of(data_dir: Path, name: str) -> dict[str, bytes]:
    """The front halves at the quarters of the legal cuts, by the cut's name; and the whole."""
    path = data_dir / "models" / "mlperf_tiny" / f"{name}_int8.tflite"
    model = load_model(path)
    legal = [cut for cut in model.cuts() if cut.legal]
    made: dict[str, bytes] = {}
    for quarter in (1, 2, 3):
        cut = legal[len(legal) * quarter // 4]
        front = model.split(cut).front_int8
        assert front is not None
        made[cut.name] = front
    assert len(made) == 3
    return {**made, WHOLE: path.read_bytes()}


def inputs_of(data_dir: Path, name: str, count: int) -> np.ndarray:
    """Real inputs as int8; noise for the autoencoder, of which there is no data here."""
    if name == "resnet8":
        x = _load(data_dir / "cifar10" / "test_lossless_500.npz", count)
    elif name == "vww_96":
        x = _load(data_dir / "vww" / "eval_400.npz", count) / np.float32(255)
    elif name == "kws":
        x = _load(data_dir / "kws" / "test_994_mfcc.npz", count)
    else:
        x = np.random.default_rng(5).normal(0, 8, (count, 640)).astype(np.float32)
    return quantize(x, _input(data_dir, name)).astype(np.int8)


def _load(path: Path, count: int) -> np.ndarray:
    with np.load(path) as archive:
        step = len(archive["x"]) // count  # spread over the set, so that classes differ
        return archive["x"][::step][:count].astype(np.float32)


def _input(data_dir: Path, name: str) -> TensorInfo:
    path = data_dir / "models" / "mlperf_tiny" / f"{name}_int8.tflite"
    return open_tflite(path, engine="litert_ref").inputs[0]
