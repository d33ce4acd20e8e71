"""Input to answer, computed a second time from the bundle's files with none of its classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus import BackHalf, Decoder
from isthmus.bundle import Bundle
from isthmus_gen.verification import make_references, verify_bundle


def raw_run(tflite: bytes, x: npt.NDArray[Any], *, reference: bool) -> npt.NDArray[Any]:
    """A .tflite's first output for one input, by LiteRT's own interpreter."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
    interpreter = Interpreter(model_content=tflite, experimental_op_resolver_type=kind)
    given = interpreter.get_input_details()[0]
    interpreter.resize_tensor_input(given["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], x)
    interpreter.invoke()
    return np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def check_whole_path(root: Path, *, exact_front: bool = True) -> None:
    """Asserts that every stage of the bundle is what an independent computation gives.

    Firmware (built for this machine) = references; frames decode to the levels of thresholds in
    real numbers; features are the levels' values; the back half gives what LiteRT gives.
    """
    bundle = Bundle.open(root, check=True)
    profile = bundle.profile
    raw = json.loads((root / "profile.json").read_text())
    decoder, reference = Decoder(bundle), Decoder(bundle, backend="reference")
    back = BackHalf(bundle)
    for number, rung in enumerate(raw["rungs"]):
        work = root.parent / "build"  # objects are built once for all rungs
        (row,) = verify_bundle(bundle, ["host"], count=3, rung=number, work_dir=work)
        assert (row.mismatches_front, row.mismatches_bytes, row.inputs) == (0, 0, 3), row.notes
        references = make_references(bundle, None, 2, number)
        for index in range(2):
            tensor = references.tensors[index]
            if exact_front and raw["tensor"]["dtype"] == "int8":
                front = (root / raw["extra"]["front"]["file"]).read_bytes()
                again = raw_run(front, references.inputs[index : index + 1], reference=True)
                assert np.array_equal(again[0], tensor)
            levels = _levels(raw["tensor"], rung, tensor)
            frame = references.frames[index]
            decoded = decoder.decode(frame)
            assert np.array_equal(decoded.levels, levels)
            assert np.array_equal(reference.decode(frame).levels, levels)
            features = _features(rung, levels)
            assert decoded.features.dtype == np.float32
            assert np.array_equal(decoded.features, features)
            assert decoded.features.shape == profile.tensor.shape
            _check_answer(root, raw, back, features)


def _levels(tensor: dict[str, Any], rung: dict[str, Any], values: npt.NDArray[Any]) -> Any:
    """The number of thresholds that a value reaches, in real numbers."""
    if tensor["dtype"] == "float32":
        real = values.astype(np.float64)
    else:
        real = (values.astype(np.float64) - tensor["zero_point"]) * tensor["scale"]
    if "grids" in rung:  # thresholds count in steps of the channel
        real = (real - rung["grids"]["origins"]) / rung["grids"]["scales"]
    steps = np.asarray(rung["thresholds"], dtype=np.float64)
    return (real[..., np.newaxis] >= steps).sum(axis=-1).astype(np.uint8)


def _features(rung: dict[str, Any], levels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The values of levels, in steps of the channel where each has its own."""
    values = np.asarray(rung["values"], dtype=np.float64)[levels]
    if "grids" in rung:
        values = rung["grids"]["origins"] + np.asarray(rung["grids"]["scales"]) * values
    return np.asarray(values, dtype=np.float32)


def _check_answer(
    root: Path, raw: dict[str, Any], back: BackHalf, features: npt.NDArray[np.float32]
) -> None:
    file = root / raw["extra"]["back"]["file"]
    answer = back(features)
    assert np.isfinite(answer).all()
    if file.suffix != ".tflite":
        return
    content = file.read_bytes()
    given = features[np.newaxis]
    from ai_edge_litert.interpreter import Interpreter

    info = Interpreter(model_content=content).get_input_details()[0]
    if info["dtype"] == np.int8:
        scale, zero = info["quantization"]
        steps = np.round(given / np.float32(scale)) + zero
        given = np.clip(steps, -128, 127).astype(np.int8)
    out = raw_run(content, given, reference=False)
    if out.dtype == np.int8:
        scale, zero = _output_scale(content)
        out = ((out.astype(np.float32) - zero) * np.float32(scale)).astype(np.float32)
    assert np.array_equal(answer, out[0])


def _output_scale(content: bytes) -> tuple[float, int]:
    from ai_edge_litert.interpreter import Interpreter

    scale, zero = Interpreter(model_content=content).get_output_details()[0]["quantization"]
    return float(scale), int(zero)
