"""Keras files as loaded networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import ModelOperatorError
from isthmus_gen.models.base import (
    FLOAT_REMEDY,
    NO_REPRESENTATIVE,
    Floats,
    Halves,
    LoadedModel,
    check_representative,
)
from isthmus_gen.models.convert import int8_obstacle, keras_to_tflite
from isthmus_gen.models.graph import Cut, Graph
from isthmus_gen.models.keras_file import keras_bytes, load_keras
from isthmus_gen.models.keras_graph import flatten, rebuild
from isthmus_gen.models.onnx_file import load_onnx

__all__ = ["KerasFileModel"]

_BATCH = 128


class KerasFileModel(LoadedModel):
    """A ``.keras`` or ``.h5`` model, functional or sequential, or an ``.onnx`` file read as one.

    Its halves are Keras models of shared layers until they are converted. The converter folds
    batch normalisation into the weights, so converted halves equal the Keras model within float
    rounding (about 1e-5 of the largest value), not bit by bit.
    """

    kind = "keras"

    def __init__(self, path: Path) -> None:
        names: Mapping[str, str] = {}
        if path.suffix.lower() == ".onnx":
            self.kind = "onnx"
            model, names = load_onnx(path)
        else:
            model = load_keras(path)
        self.path = path
        self._whole = flatten(model, str(path))
        self.graph = _with_aliases(self._whole.graph, names)
        given = self.graph.tensors[self.graph.input]
        self.input_shape = given.shape
        self.input_dtype = given.dtype
        self.output_shape = self.graph.tensors[self.graph.output].shape
        self._parts: dict[tuple[int, int], Any] = {}

    def part(self, start: int, end: int, batch: int | None = None, name: str = "part") -> Any:
        """The layers between two tensors (by index) as a ``keras.Model`` with the same weights."""
        return rebuild(self._whole, start, end, batch, name)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The names of the network's layers, those of nested models as ``outer/inner``."""
        return tuple(call.name for call in self._whole.calls)

    def with_inserted(self, cut: Cut | str, through: Callable[[Any], Any], name: str) -> Any:
        """The whole network as a ``keras.Model`` in which ``through(tensor)`` takes the place of
        the cut tensor; its layers are shared.
        """
        places = {self._legal(cut).index: through}
        return rebuild(self._whole, self.graph.input, self.graph.output, None, name, places)

    def predict(self, x: npt.ArrayLike) -> Floats:
        return self._run(self.graph.input, self.graph.output, self._inputs(x))

    def features(self, cut: Cut | str, x: npt.ArrayLike) -> Floats:
        return self._run(self.graph.input, self._legal(cut).index, self._inputs(x))

    def back(self, cut: Cut | str, features: npt.ArrayLike) -> Floats:
        """The host half in Keras itself, on float features [n, *cut.shape]."""
        return self._run(self._legal(cut).index, self.graph.output, np.asarray(features))

    def back_graph(self, cut: Cut | str) -> Any:
        return self.part(self._legal(cut).index, self.graph.output, None, "back")

    def _run(self, start: int, end: int, x: npt.NDArray[Any]) -> Floats:
        if (start, end) not in self._parts:
            self._parts[start, end] = self.part(start, end)
        model = self._parts[start, end]
        array = x.astype(self.graph.tensors[start].dtype)
        pieces = [
            np.asarray(model(array[i : i + _BATCH], training=False), dtype=np.float32)
            for i in range(0, max(len(array), 1), _BATCH)
        ]
        return np.concatenate(pieces)

    def split(
        self,
        cut: Cut | str,
        representative: Iterable[npt.NDArray[Any]] | None = None,
        *,
        int8: bool = True,
    ) -> Halves:
        place = self._legal(cut)
        inputs = None
        notes: tuple[str, ...] = (NO_REPRESENTATIVE,) if int8 else ()
        if int8 and representative is not None:
            inputs, notes = check_representative(representative, self.input_shape), ()
        front_float = front_int8 = None
        try:
            front_float = self._front(place, None)
            if inputs:
                front_int8, obstacle = self._quantised(place, front_float, inputs)
                notes += (obstacle,) if obstacle else ()
        except ModelOperatorError as error:
            remedy = self._earlier(place, inputs)
            if front_float is not None:
                remedy += f"; {FLOAT_REMEDY}"
            raise ModelOperatorError(
                "cut", f"{place.name!r}: {error.what}", remedy=remedy
            ) from error
        back = self.part(place.index, self.graph.output, None, "back")
        result = self.graph.tensors[self.graph.output].name
        try:
            content = keras_to_tflite(back, input_name=place.name, output_name=result)
        except ModelOperatorError as error:
            notes += (f"the back half stays a Keras model: {error.what}",)
            return Halves(front_int8, front_float, keras_bytes(back), ".keras", notes)
        return Halves(front_int8, front_float, content, notes=notes)

    def front_int8(
        self, cut: Cut | str, representative: Iterable[npt.NDArray[Any]]
    ) -> tuple[bytes | None, str]:
        place = self._legal(cut)
        inputs = check_representative(representative, self.input_shape)
        return self._quantised(place, self._front(place, None), inputs)

    def _front(self, cut: Cut, inputs: list[Floats] | None) -> bytes:
        return keras_to_tflite(
            self.part(self.graph.input, cut.index, 1, "front"),
            input_name=self.graph.tensors[self.graph.input].name,
            output_name=cut.name,
            representative=inputs,
        )

    def _quantised(self, cut: Cut, front: bytes, inputs: list[Floats]) -> tuple[bytes | None, str]:
        """The int8 form of a float front half, or None and why there is none."""
        obstacle = int8_obstacle(front)
        return (None, obstacle) if obstacle else (self._front(cut, inputs), "")

    def _earlier(self, cut: Cut, inputs: list[Floats] | None) -> str:
        """The last legal cut before ``cut`` whose front half the converter takes, as a remedy.

        Fronts grow from cut to cut, so once one is refused all later ones are: bisection.
        """
        before = [c for c in self.cuts() if c.legal and c.index < cut.index]
        works, fails = 0, len(before)  # before[:works] convert, before[fails:] do not
        while works < fails:
            middle = (works + fails) // 2
            try:
                front = self._front(before[middle], None)
                if inputs:
                    self._quantised(before[middle], front, inputs)
                works = middle + 1
            except ModelOperatorError:
                fails = middle
        if works == 0:
            return "no earlier cut works; replace that operator"
        return f"nearest legal cut: {before[works - 1].name} (before)"


def _with_aliases(graph: Graph, names: Mapping[str, str]) -> Graph:
    """``graph`` whose tensors also go by other names: those of the file a model was read from."""
    tensors = {
        index: replace(tensor, aliases=(names[tensor.name],))
        if names.get(tensor.name, tensor.name) != tensor.name
        else tensor
        for index, tensor in graph.tensors.items()
    }
    return replace(graph, tensors=tensors)
