"""Bring-up vectors of a bundle: input, tensor, levels, bytes and the coder's final state.

A mismatch on a board shows its stage: the front half (tensor), the quantiser (levels), the coder
(final state), or the frame (bytes).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.codec import reference
from isthmus.codec.quantise import levels_of
from isthmus.codec.reference import encode_levels
from isthmus.profile import Profile

__all__ = ["final_states", "make_vectors"]


def make_vectors(
    profile: Profile, inputs: npt.NDArray[Any], tensors: npt.NDArray[Any]
) -> dict[str, bytes]:
    """Files under ``vectors/`` for ``inputs`` [n, ...] and ``tensors`` [n, *shape].

    Per vector the raw input, tensor and, for every rung, levels and frame; ``vectors.json`` lists
    them with SHA-256 and the final state of each slice's coder.
    """
    files: dict[str, bytes] = {}
    index: list[dict[str, Any]] = []
    for number, (given, tensor) in enumerate(zip(inputs, tensors, strict=True)):
        entry: dict[str, Any] = {
            "input": _keep(files, f"{number}_input.bin", given.tobytes()),
            "tensor": _keep(files, f"{number}_tensor.bin", tensor.tobytes()),
            "rungs": [],
        }
        for rung_index, rung in enumerate(profile.rungs):
            levels = levels_of(profile, rung, tensor)
            frame = encode_levels(profile, rung_index, number, levels)
            name = f"{number}_rung{rung_index}"
            entry["rungs"].append(
                {
                    "sequence": number,
                    "levels": _keep(files, f"{name}_levels.bin", levels.tobytes()),
                    "frame": _keep(files, f"{name}_frame.bin", frame),
                    "final": final_states(profile, rung_index, levels),
                }
            )
        index.append(entry)
    text = json.dumps({"format": "1.0", "vectors": index}, indent=1, sort_keys=True) + "\n"
    files["vectors/vectors.json"] = text.encode("ascii")
    return files


def _keep(files: dict[str, bytes], name: str, data: bytes) -> dict[str, Any]:
    files[f"vectors/{name}"] = data
    return {"file": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def final_states(
    profile: Profile, rung: int, levels: npt.NDArray[np.uint8]
) -> list[dict[str, int]]:
    """The coder's state before the flush, for every slice or packet; ``levels`` is flat."""
    frame = encode_levels(profile, rung, 0, levels)
    return [
        {"low": state.low, "range": state.range, "shifts": state.shifts}
        for state in reference.final_states(profile, frame)
    ]
