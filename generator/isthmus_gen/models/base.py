"""What every loaded network offers, whatever file it came from."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import (
    CutIllegalError,
    CutUnknownError,
    DataEmptyError,
    DataNotFiniteError,
    DataShapeError,
)
from isthmus_gen.models.graph import ActivationInfo, Cut, Graph, list_cuts

__all__ = [
    "FLOAT_REMEDY",
    "NO_REPRESENTATIVE",
    "Floats",
    "Halves",
    "LoadedModel",
    "check_representative",
    "resolve_cut",
]

Floats = npt.NDArray[np.float32]
FLOAT_REMEDY = "or take --element float32 where the device can run a float front half"
NO_REPRESENTATIVE = "no representative inputs were given: no int8 front half"


@dataclass(frozen=True)
class Halves:
    """Both halves of a cut network, as the bytes of files.

    ``front_int8`` takes and gives int8, batch 1; None where only a float front can be made (a note
    says why). ``front_float`` is None for networks that are int8 from the start. ``back`` takes the
    cut tensor: float32, or int8 for a full-int8 network (scale and zero point are in the file).
    """

    front_int8: bytes | None
    front_float: bytes | None
    back: bytes
    back_suffix: str = ".tflite"
    notes: tuple[str, ...] = ()


class LoadedModel(ABC):
    """A trained network of one input and one output. Made by ``load_model``.

    ``input_shape`` and ``output_shape`` have no batch dimension; -1 is a dynamic dimension.
    """

    kind: str
    path: Path
    input_shape: tuple[int, ...]
    input_dtype: str
    output_shape: tuple[int, ...]
    graph: Graph

    @cached_property
    def _cuts(self) -> tuple[Cut, ...]:
        return tuple(list_cuts(self.graph))

    def cuts(self) -> list[Cut]:
        """Every tensor in topological order, with the reason where it is not a legal cut.

        The input and the output are listed and never legal: each leaves one side without work.
        """
        return list(self._cuts)

    def activation(self, cut: Cut | str) -> ActivationInfo:
        """The activation whose values the cut tensor holds (needed to model its statistics)."""
        return self.graph.activation(self._find(cut).index)

    @abstractmethod
    def predict(self, x: npt.ArrayLike) -> Floats:
        """The whole network on float inputs [n, *input_shape]: float32 [n, *output_shape]."""

    @abstractmethod
    def features(self, cut: Cut | str, x: npt.ArrayLike) -> Floats:
        """The cut tensor on float inputs: float32 [n, *cut.shape]; int8 networks dequantised."""

    @abstractmethod
    def split(
        self,
        cut: Cut | str,
        representative: Iterable[npt.NDArray[Any]] | None = None,
        *,
        int8: bool = True,
    ) -> Halves:
        """Cut the network in two.

        ``representative`` yields float32 inputs [1, *input_shape]; it sets the int8 ranges of the
        front half and is not looked at for full-int8 networks. Without it, or with ``int8`` false,
        a float network gets a float front alone. So does one whose front half has operators that
        the quantiser does not take (loops, recurrent operators); a note names them.
        Same input, same bytes.
        Raises CutUnknownError, CutIllegalError, DataEmptyError, DataShapeError,
        DataNotFiniteError, ModelOperatorError (an operator that cannot be made int8).
        """

    @abstractmethod
    def front_int8(
        self, cut: Cut | str, representative: Iterable[npt.NDArray[Any]]
    ) -> tuple[bytes | None, str]:
        """The int8 front half of ``split`` alone, or None and why there is none.

        Raises as ``split`` does, but looks for no other cut where an operator is refused.
        """

    def back_graph(self, cut: Cut | str) -> Any:
        """The back half as a ``keras.Model`` that can be differentiated, or None."""
        return None

    def _find(self, cut: Cut | str) -> Cut:
        return resolve_cut(self, cut) if isinstance(cut, str) else cut

    def _legal(self, cut: Cut | str) -> Cut:
        return resolve_cut(self, cut if isinstance(cut, str) else f"tensor:{cut.index}")

    def _inputs(self, x: npt.ArrayLike) -> npt.NDArray[Any]:
        """``x`` as the model's input dtype, its shape checked."""
        array = np.asarray(x)
        fits = array.ndim == len(self.input_shape) + 1 and all(
            w in (-1, g) for w, g in zip(self.input_shape, array.shape[1:], strict=False)
        )
        if not fits:
            want = ", ".join("?" if d < 0 else str(d) for d in self.input_shape)
            raise DataShapeError("x", f"shape {list(array.shape)}", allowed=f"[n, {want}]")
        return array


def resolve_cut(model: LoadedModel, name: str) -> Cut:
    """The legal cut called ``name``: a tensor or layer name, an alias, or ``tensor:INDEX``.

    Raises CutUnknownError or CutIllegalError; both name the nearest legal cut.
    """
    cuts = model.cuts()
    found = [i for i, c in enumerate(cuts) if name in (c.name, f"tensor:{c.index}")]
    if not found:
        found = [i for i, c in enumerate(cuts) if name in model.graph.tensors[c.index].aliases]
    if not found:
        raise _unknown(model, name, cuts)
    if len(found) > 1:
        choices = ", ".join(f"tensor:{cuts[i].index}" for i in found)
        raise CutUnknownError("cut", f"{name!r} names {len(found)} tensors", allowed=choices)
    cut = cuts[found[0]]
    if cut.legal:
        return cut
    raise CutIllegalError(
        "cut", f"{name!r} is no legal cut: {cut.reason}", remedy=_nearest(cuts, found[0])
    )


def _unknown(
    model: LoadedModel, name: str, cuts: Sequence[Cut]
) -> CutUnknownError | CutIllegalError:
    legal = {n: c for c in cuts if c.legal for n in _names(model, c)}
    close = difflib.get_close_matches(name, legal, n=1, cutoff=0.0)
    remedy = f"nearest legal cut: {legal[close[0]].name}" if close else _nearest(cuts, 0)
    if name in model.graph.constants or name in {
        f"tensor:{i}" for i in model.graph.constants.values()
    }:
        return CutIllegalError("cut", f"{name!r} is a constant of the model", remedy=remedy)
    return CutUnknownError("cut", f"{name!r} is no tensor of {model.path.name}", remedy=remedy)


def _names(model: LoadedModel, cut: Cut) -> tuple[str, ...]:
    return (cut.name, *model.graph.tensors[cut.index].aliases)


def _nearest(cuts: Sequence[Cut], position: int) -> str:
    """The nearest legal cuts before and after a place in the list, as a remedy."""
    before = [c.name for c in cuts[:position] if c.legal]
    after = [c.name for c in cuts[position + 1 :] if c.legal]
    found = ([f"{before[-1]} (before)"] if before else []) + (
        [f"{after[0]} (after)"] if after else []
    )
    if not found:
        return "the model has no legal cut"
    return f"nearest legal cut: {' or '.join(found)}"


def check_representative(
    representative: Iterable[npt.NDArray[Any]], shape: tuple[int, ...]
) -> list[Floats]:
    """Representative inputs as a list of float32 [1, *shape].

    Raises DataEmptyError, DataShapeError, DataNotFiniteError.
    """
    inputs: list[Floats] = []
    for number, given in enumerate(representative):
        array = np.asarray(given, dtype=np.float32)
        where = f"representative[{number}]"
        if array.shape != (1, *shape):
            raise DataShapeError(where, f"shape {list(array.shape)}", allowed=f"{[1, *shape]}")
        if not np.isfinite(array).all():
            raise DataNotFiniteError(where, "holds NaN or infinity", remedy="remove that input")
        inputs.append(array)
    if not inputs:
        raise DataEmptyError(
            "representative", "no inputs", remedy="give calibration inputs; 100 or more are usual"
        )
    return inputs
