"""``verify``: the emitted tree against the references, on every target asked for."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.bundle import Bundle
from isthmus.codec.reference import encode_frame, rung_of
from isthmus.errors import BundleEditedError, BundleFormatError, OptionError
from isthmus_gen.cutting import as_elements
from isthmus_gen.data import Preprocessing, load_data
from isthmus_gen.golden import run_golden
from isthmus_gen.pipeline import quantise_inputs
from isthmus_gen.progress import Progress, no_progress
from isthmus_gen.targets import TARGET_FILE, Target, load_target
from isthmus_gen.verify import TargetResult, verify_tree

__all__ = ["References", "make_references", "verify_bundle"]

_SEED = 20210521


class References:
    """Inputs and what the references make of them.

    inputs   int8 [n, *input shape] (the tensors themselves where the device runs floats)
    tensors  [n, *tensor shape] by the golden interpreter
    frames   by the normative Python codec
    """

    def __init__(
        self, inputs: npt.NDArray[Any], tensors: npt.NDArray[Any], frames: list[bytes]
    ) -> None:
        self.inputs = inputs
        self.tensors = tensors
        self.frames = frames


def verify_bundle(
    bundle: Bundle,
    targets: Sequence[str],
    *,
    data: Path | None = None,
    count: int = 8,
    rung: int = 0,
    work_dir: Path | None = None,
    progress: Progress = no_progress,
) -> list[TargetResult]:
    """Builds and runs the tree of ``bundle`` on each target; compares every tensor and byte.

    Inputs are the first ``count`` of ``data``, or else the bundle's vectors and seeded random
    inputs. BundleEditedError where the tree was edited; BuildError, EmulationError,
    ToolMissingError from the targets.
    """
    bundle.check()
    _check_sources(bundle)
    chosen = [load_target(name) for name in targets or [str(bundle.path / TARGET_FILE)]]
    references = make_references(bundle, data, count, rung, progress)
    with tempfile.TemporaryDirectory(prefix="isthmus-verify-") as name:
        work = work_dir or Path(name)
        return [_verify_one(bundle, target, references, rung, work, progress) for target in chosen]


def make_references(
    bundle: Bundle,
    data: Path | None,
    count: int,
    rung: int = 0,
    progress: Progress = no_progress,
) -> References:
    """The inputs of a verification, their golden tensors and reference frames of one rung."""
    if not 1 <= count <= 4096:
        raise OptionError("--inputs", f"is {count}", allowed="1..4096")
    profile = bundle.profile
    rung_of(profile, rung)
    inputs = _inputs(bundle, data, count)
    front = bundle.read(profile.extra["front"]["file"])
    tensors = as_elements(
        profile.tensor,
        run_golden(
            front,
            inputs,
            profile.extra["front"]["rounding"],
            lambda done, total: progress("golden front half", done, total),
        ),
    )
    frames = []
    for index, tensor in enumerate(tensors):
        frames.append(encode_frame(profile, rung, index & 0xFFFF, tensor))
        progress("reference codec", index + 1, len(tensors))
    return References(inputs, tensors, frames)


def _inputs(bundle: Bundle, data: Path | None, count: int) -> npt.NDArray[Any]:
    entry = bundle.profile.extra.get("input")
    if not isinstance(entry, dict):
        raise BundleFormatError("profile.extra.input", "is missing")
    shape = tuple(int(size) for size in entry["shape"])
    preprocessing = Preprocessing.from_dict(
        entry["preprocessing"], "profile.extra.input.preprocessing"
    )
    floats = entry["dtype"] == "float32"
    if data is not None:
        x = load_data(data, input_shape=list(shape), limit=count).x
        return (
            preprocessing.apply(x) if floats else quantise_inputs(bundle.profile, x, preprocessing)
        )
    kept = _vector_inputs(bundle, shape, np.dtype(np.float32 if floats else np.int8))[:count]
    rng = np.random.default_rng(_SEED)
    size = (count - len(kept), *shape)
    if floats:
        low, high = (float(kept.min()), float(kept.max())) if len(kept) else (0.0, 1.0)
        more: npt.NDArray[Any] = rng.uniform(low, high, size).astype(np.float32)
    else:
        more = rng.integers(-128, 128, size, dtype=np.int8)
    return np.concatenate([kept, more])


def _vector_inputs(
    bundle: Bundle, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    """The inputs of the bundle's vectors, [n, *shape]."""
    names = sorted(
        (
            name
            for name in bundle.files
            if name.startswith("vectors/") and name.endswith("_input.bin")
        ),
        key=lambda name: int(name[len("vectors/") :].split("_")[0]),
    )
    arrays = [np.frombuffer(bundle.read(name), dtype=dtype).reshape(shape) for name in names]
    return np.stack(arrays) if arrays else np.empty((0, *shape), dtype=dtype)


def _check_sources(bundle: Bundle) -> None:
    """BundleEditedError for a source that was added: the tree is compiled as a whole."""
    for file in sorted((bundle.firmware / "src").iterdir()):
        if f"firmware/src/{file.name}" not in bundle.files:
            raise BundleEditedError(
                str(file), "was added after the tree was generated", remedy="move it elsewhere"
            )


def _verify_one(
    bundle: Bundle,
    target: Target,
    references: References,
    rung: int,
    work: Path,
    progress: Progress,
) -> TargetResult:
    floats = bundle.profile.tensor.dtype != "int8"
    inputs = references.tensors if floats else references.inputs
    count = len(inputs)
    result = verify_tree(
        bundle.firmware,
        target,
        inputs.reshape(count, -1),
        references.tensors.reshape(count, -1),
        references.frames,
        work,
        progress=progress,
        rungs=rung,
    )
    layers = _streamed_layers(bundle)
    if layers and result.front_instructions is not None:
        words = "the last layer runs" if layers == 1 else f"the last {layers} layers run"
        note = f"{words} row by row: counted with the encoder, not with the front half"
        result = replace(result, notes=(*result.notes, note))
    return result


def _streamed_layers(bundle: Bundle) -> int:
    """How many of the last layers run row by row."""
    if "report.json" not in bundle.files:
        return 0
    return int(json.loads(bundle.read("report.json")).get("streamed_layers", 0))
