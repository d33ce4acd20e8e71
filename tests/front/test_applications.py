"""Networks of keras.applications, random weights, int8: the generated C equals both engines.

Weights alone at random would let the activations die out or explode; so batch normalisation takes
the statistics of random pictures, and its scales and shifts are random. Constants of up to 24 MB
would take gcc a minute as C text: here they are read from the generated text and linked as binary
data, everything else is compiled as it was generated. ResNet-50 alone is 24 MB.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.interpreters import TensorInfo, quantize
from isthmus.optional import quiet_import
from isthmus_gen.front import plan_front, render_front
from isthmus_gen.models import load_model
from isthmus_gen.models.convert import keras_to_tflite
from isthmus_gen.resources import kernel_root

Run = Callable[..., np.ndarray]
CLASSES = 10
SEEN, TRIED = 8, 3
_ARRAY = re.compile(
    rb"^const int8_t (\w+)\[(\d+)\] ISTH_K_ALIGNED\(16\) = \{\n(.*?)\};\n", re.M | re.S
)


@dataclass(frozen=True)
class Network:
    """One network: input size, further arguments, and whether pictures go in as 0..255."""

    name: str
    size: int
    arguments: dict[str, Any]
    bytes_in: bool = False


NETWORKS = (
    Network("MobileNet", 64, {"alpha": 0.25, "classifier_activation": "softmax"}),
    Network("MobileNetV2", 64, {"alpha": 0.35}),
    Network("MobileNetV3Small", 64, {"alpha": 0.5}, bytes_in=True),
    Network("EfficientNetV2B0", 48, {}, bytes_in=True),
    Network("DenseNet121", 48, {}),
    Network("ResNet50", 48, {}),
)


def _pictures(network: Network, count: int, seed: int) -> np.ndarray:
    """Random pictures with structure at two scales, as the network takes them."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, network.size // 8, network.size // 8, 3))
    fine = rng.integers(-64, 65, (count, network.size, network.size, 3))
    x = np.clip(coarse.repeat(8, axis=1).repeat(8, axis=2) + fine, 0, 255).astype(np.float32)
    return x if network.bytes_in else x / np.float32(127.5) - 1


def _convert(network: Network) -> bytes:
    keras = quiet_import("keras", "")
    keras.utils.set_random_seed(3)
    arguments = {"classifier_activation": None, **network.arguments}
    model = getattr(keras.applications, network.name)(
        input_shape=(network.size, network.size, 3), weights=None, classes=CLASSES, **arguments
    )
    rng = np.random.default_rng(4)
    pictures = _pictures(network, SEEN, 5)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # one pass sets the statistics
            layer.gamma.assign(rng.uniform(0.6, 1.2, layer.gamma.shape))
            layer.beta.assign(rng.normal(0, 0.3, layer.beta.shape))
    model(pictures, training=True)
    given = keras.Input(batch_shape=(1, *pictures.shape[1:]))
    return keras_to_tflite(
        keras.Model(given, model(given)),
        input_name="picture",
        output_name="answer",
        representative=[p[None] for p in pictures],
    )


@pytest.fixture(scope="module")
def plain_kernels(
    tmp_path_factory: pytest.TempPathFactory, require_tool: Callable[[str], str]
) -> tuple[str, list[str]]:
    """The compiler and every kernel, once, without sanitizers."""
    compiler = require_tool("gcc")
    folder = tmp_path_factory.mktemp("plain")
    made = []
    for source in sorted(kernel_root().glob("*.c")):
        made.append(str(folder / f"{source.stem}.o"))
        subprocess.run([compiler, "-std=c99", "-O1", "-c", source, "-o", made[-1]], check=True)
    return compiler, made


def _as_binary(text: bytes, folder: Path) -> tuple[bytes, str]:
    """The constants' C text without its int8 arrays, and assembly that includes those as files."""
    lines = ['.section .rodata,"a"\n']

    def take(found: re.Match[bytes]) -> bytes:
        name = found[1].decode()
        values = np.fromstring(found[3].strip(b" ,\n"), dtype=np.int8, sep=",")
        assert values.size == int(found[2])
        values.tofile(folder / f"{name}.bin")
        lines.append(f'.balign 16\n.global {name}\n{name}:\n.incbin "{folder / name}.bin"\n')
        return b""

    rest = _ARRAY.sub(take, text)
    return rest, "".join(lines) + '.section .note.GNU-stack,"",%progbits\n'


@pytest.fixture
def run_large(
    plain_kernels: tuple[str, list[str]], tmp_path: Path, harness: str
) -> Callable[..., np.ndarray]:
    """As ``run_c``: ``run_large(tflite, x, rounding)`` -> int8 [n, elements]."""
    compiler, objects = plain_kernels

    def run(tflite: bytes, x: np.ndarray, rounding: str) -> np.ndarray:
        plan = plan_front(tflite, rounding=rounding)
        files = render_front(replace(plan, tflite=b""))  # its text for TensorFlow Lite Micro
        text, assembly = _as_binary(files["isth_front_weights.c"], tmp_path)
        written = {**files, "isth_front_weights.c": text, "main.c": harness.encode()}
        for name, content in written.items():
            if not name.startswith("tflm/"):
                (tmp_path / name).write_bytes(content)
        (tmp_path / "constants.s").write_text(assembly)
        names = ("main.c", "isth_front.c", "isth_front_weights.c", "constants.s")
        program = tmp_path / "program"
        sources = [str(tmp_path / name) for name in names]
        subprocess.run(
            [compiler, "-std=c99", "-Werror", "-O0", *sources, *objects, "-o", program], check=True
        )
        done = subprocess.run([program], input=x.tobytes(), capture_output=True, check=True)
        return np.frombuffer(done.stdout, dtype=np.int8).reshape(len(x), -1)

    return run


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning")
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_whole_and_cut_at_three_places(
    network: Network, tmp_path: Path, run_large: Run, run_tflm: Run, run_litert: Run
) -> None:
    path = tmp_path / "network.tflite"
    path.write_bytes(_convert(network))
    model = load_model(path)
    plan = plan_front(path.read_bytes())
    entry = TensorInfo("x", (1,), np.dtype(np.int8), plan.input_scale, plan.input_zero_point)
    x = quantize(_pictures(network, TRIED, 6), entry)
    legal = [cut for cut in model.cuts() if cut.legal]
    places = [legal[len(legal) * quarter // 4] for quarter in (1, 2, 3)]
    assert len({cut.index for cut in places}) == 3
    fronts = {cut.name: model.split(cut).front_int8 for cut in places}
    for where, front in {**fronts, "whole": path.read_bytes()}.items():
        assert front is not None
        found = run_large(front, x, "tflm")
        np.testing.assert_array_equal(found, run_tflm(front, x), err_msg=where)
        if where == "whole":  # the profiles differ in FULLY_CONNECTED, so only here
            found = run_large(front, x, "litert")
        np.testing.assert_array_equal(found, run_litert(front, x), err_msg=where)
        assert len(np.unique(found)) >= (6 if where == "whole" else 30), where
        assert len({row.tobytes() for row in found}) == TRIED, where
