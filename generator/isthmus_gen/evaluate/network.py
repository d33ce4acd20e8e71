"""The whole network that bundles were cut from: what every path of every bundle is held against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.bundle import Bundle
from isthmus.errors import BundleMissingError, OptionError
from isthmus_gen.data import DataSet, Preprocessing
from isthmus_gen.evaluate.statistics import Tally, check_labels, top_class
from isthmus_gen.models import LoadedModel, load_model

__all__ = ["WholeNetwork", "check_one_network", "network_digest"]


class WholeNetwork:
    """The copy of the network that a bundle keeps, with its inputs' preprocessing.

    ``tally`` adds up its own answers. Raises BundleMissingError where the bundle has no copy.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.model = _load(bundle)
        self.preprocessing = Preprocessing.from_dict(
            bundle.profile.extra["input"]["preprocessing"],
            "profile.extra.input.preprocessing",
        )
        self.tally = Tally()

    @property
    def is_int8(self) -> bool:
        """Whether the network is int8 itself."""
        return self.model.kind == "tflite_int8"

    @property
    def classes(self) -> int:
        """Values of one answer."""
        return math.prod(max(1, size) for size in self.model.output_shape)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for an input."""
        return self.model.cuts()[0].macs_total

    def answers(self, x: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Answers to raw inputs [n, ...]."""
        return self.model.predict(self.preprocessing.apply(x))

    def labels(self, data: DataSet, total: int) -> npt.NDArray[np.int64] | None:
        """The first ``total`` labels where accuracy can be told from them, or None."""
        if data.y is None:
            return None
        first = next(iter(data.batches(1)))[0]
        answer = self.answers(first)
        if top_class(answer) is None:
            return None
        return check_labels(data.y[:total], math.prod(answer.shape[1:]), str(data.path))


def network_digest(bundle: Bundle) -> tuple[tuple[str, str], ...]:
    """Paths and SHA-256 of the network's files, under whatever name the bundle keeps it."""
    root = f"model/{bundle.profile.extra['model']['name']}"
    return tuple(
        (name.removeprefix(root), digest)
        for name, digest in sorted(bundle.files.items())
        if name == root or name.startswith(f"{root}/")
    )


def check_one_network(bundles: Sequence[Bundle]) -> None:
    """OptionError where bundles are not of one network with one preprocessing of its inputs."""
    first = bundles[0]
    for other in bundles[1:]:
        if network_digest(other) != network_digest(first):
            raise OptionError(
                "BUNDLE",
                f"{other.path} holds another network ({_model_name(other)}) than {first.path}"
                f" ({_model_name(first)})",
                allowed="bundles of one network",
                remedy="evaluate bundles of different networks one by one",
            )
        if _preprocessing(other) != _preprocessing(first):
            raise OptionError(
                "BUNDLE",
                f"{other.path} prepares its inputs otherwise than {first.path}",
                allowed="bundles with one --preprocess",
                remedy="generate them with the same --preprocess, or evaluate them one by one",
            )


def _model_name(bundle: Bundle) -> str:
    digest = next((digest[:12] for _, digest in network_digest(bundle)), "no copy")
    return f"{bundle.profile.extra['model']['name']}, {digest}"


def _preprocessing(bundle: Bundle) -> Any:
    return bundle.profile.extra["input"]["preprocessing"]


def _load(bundle: Bundle) -> LoadedModel:
    name = bundle.profile.extra["model"]["name"]
    path = bundle.path / "model" / name
    if not path.exists():
        raise BundleMissingError(
            str(path), "the bundle has no copy of the whole network",
            remedy="generate the bundle again with this version of Isthmus",
        )  # fmt: skip
    return load_model(path)
