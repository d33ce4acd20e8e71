"""A small case for the restorer: the packaged digits network, cut, quantised and coded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.bundle import MANIFEST, PROFILE, Bundle, make_manifest
from isthmus.codec import payload_max
from isthmus.profile import Profile, Rung, TensorSpec
from isthmus_gen.digits import DIGITS_PREPROCESSING, digits_model_path, write_digits_npz

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """Features and outputs of the digits network at one cut, and a profile that codes them."""

    profile: Profile
    features: Any
    back: Any
    unseen: Floats
    unseen_outputs: Floats


def uniform_profile(
    shape: tuple[int, ...], top: float, levels: int, extra: dict[str, Any] | None = None
) -> Profile:
    """A profile of one uniform rung over 0..top for float32 tensors."""
    step = top / (levels - 1)
    thresholds = tuple(float(np.float32((n + 0.5) * step)) for n in range(levels - 1))
    # keys of positive floats: the bits with the sign set (BITSTREAM.md, 4)
    keys = tuple(int(np.float32(t).view(np.uint32)) | 0x80000000 for t in thresholds)
    elements = int(np.prod(shape))
    rung = Rung(
        levels=levels,
        clip=(0.0, top),
        quantizer="uniform",
        thresholds=thresholds,
        values=tuple(n * step for n in range(levels)),
        rate=5,
        initial=(32768,) * (levels - 1),
        table_i8=None,
        thresholds_i16=None,
        thresholds_f32=keys,
        payload_max=payload_max(levels, 5, elements),
    )
    rows = shape[0] if len(shape) > 1 else 1
    return Profile(TensorSpec("t", shape, "float32", 1.0, 0), (rung,), rows, extra=extra or {})


def digits_case(root: Path, cut: str, levels: int, inputs: int = 360) -> Case:
    """The case at ``cut`` with ``inputs`` training pictures; 300 others are ``unseen``."""
    from isthmus_gen.data import Preprocessing, load_data
    from isthmus_gen.models import Halves, load_model, resolve_cut
    from isthmus_gen.restoration import collect_features, open_back

    files = write_digits_npz(root)
    model = load_model(digits_model_path())
    found = resolve_cut(model, cut)
    preprocessing = Preprocessing.parse(DIGITS_PREPROCESSING)
    back = open_back(model, found, Halves(None, None, b""), own=False)
    train = collect_features(
        model, found, load_data(files["train"], limit=inputs), preprocessing, back.run
    )
    x = next(iter(load_data(files["test"]).batches(300)))[0]
    unseen = model.features(found, preprocessing.apply(x))
    top = float(np.quantile(train.features, 0.97))
    return Case(uniform_profile(found.shape, top, levels), train, back, unseen, back.run(unseen))


def write_bundle(root: Path, profile: Profile, files: dict[str, bytes]) -> Bundle:
    """The least that a bundle can be: profile, manifest and the files given."""
    root.mkdir()
    content = {PROFILE: profile.canonical(), **files}
    for name, data in content.items():
        (root / name).write_bytes(data)
    (root / MANIFEST).write_bytes(make_manifest(profile, content))
    return Bundle.open(root, check=True)
