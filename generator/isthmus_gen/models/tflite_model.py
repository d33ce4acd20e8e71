"""Flatbuffers (and SavedModels by way of one) as loaded networks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import CutIllegalError, ModelError, ModelOperatorError
from isthmus.interpreters import Engine, TfliteModel, open_tflite
from isthmus_gen.models.base import (
    FLOAT_REMEDY,
    NO_REPRESENTATIVE,
    Floats,
    Halves,
    LoadedModel,
    check_representative,
)
from isthmus_gen.models.convert import int8_obstacle, quantize_tflite
from isthmus_gen.models.flatbuffer import (
    full_shape,
    operator_kind,
    parse,
    read_graph,
    tensor_dtype,
    write_part,
)
from isthmus_gen.models.graph import Cut

__all__ = ["FlatbufferModel"]


class FlatbufferModel(LoadedModel):
    """A ``.tflite``: ``tflite_float``, ``tflite_int8``, or ``savedmodel`` after conversion.

    Old uint8 networks and int16 ones load as ``tflite_uint8`` and ``tflite_int16``: they run, but
    no cut is legal in them. ``engine`` runs ``predict`` and ``features``; by default the reference
    kernels for int8 (the golden model) and the fastest engine for float.
    """

    def __init__(
        self, path: Path, content: bytes, *, kind: str = "", engine: Engine = "auto"
    ) -> None:
        self.path = path
        self._model = parse(content, str(path))
        self.graph = read_graph(self._model, str(path))
        self.content = content
        self.kind = kind or _kind(self._model)
        int8 = self.kind == "tflite_int8"
        self.engine: Engine = "litert_ref" if int8 and engine == "auto" else engine
        given = self.graph.tensors[self.graph.input]
        self.input_shape = given.shape
        self.input_dtype = given.dtype
        self.output_shape = self.graph.tensors[self.graph.output].shape
        self._runners: dict[int, TfliteModel] = {}

    def predict(self, x: npt.ArrayLike) -> Floats:
        return self._run(self.graph.output, x)

    def features(self, cut: Cut | str, x: npt.ArrayLike) -> Floats:
        return self._run(self._legal(cut).index, x)

    def _run(self, index: int, x: npt.ArrayLike) -> Floats:
        array = self._inputs(x)
        if index not in self._runners:
            part = self.content
            if index != self.graph.output:
                part = write_part(self.content, [self.graph.input], [index])
            try:
                self._runners[index] = open_tflite(part, engine=self.engine)
            except ModelError as error:
                raise ModelOperatorError(str(self.path), error.what) from error
        return self._runners[index].run_float(array)[0]

    def split(
        self,
        cut: Cut | str,
        representative: Iterable[npt.NDArray[Any]] | None = None,
        *,
        int8: bool = True,
    ) -> Halves:
        place = self._legal(cut)
        back = write_part(self.content, [place.index], [self.graph.output])
        if self.kind == "tflite_int8":
            front, notes = self._int8_part(place)
            return Halves(front, None, back, notes=notes)
        floats = self._float_part(place)
        if not int8:
            note = self._hybrid_weights()
            return Halves(None, floats, back, notes=(note,) if note else ())
        made, note = self._quantised(place, floats, representative)
        return Halves(made, floats, back, notes=(note,) if note else ())

    def front_int8(
        self, cut: Cut | str, representative: Iterable[npt.NDArray[Any]]
    ) -> tuple[bytes | None, str]:
        place = self._legal(cut)
        if self.kind == "tflite_int8":
            return self._int8_part(place)[0], ""
        return self._quantised(place, self._float_part(place), representative)

    def _int8_part(self, cut: Cut) -> tuple[bytes, tuple[str, ...]]:
        start, notes = self._int8_input(cut)
        return write_part(self.content, [start], [cut.index], fix_batch=True), notes

    def _float_part(self, cut: Cut) -> bytes:
        return write_part(self.content, [self.graph.input], [cut.index], fix_batch=True)

    def _quantised(
        self, cut: Cut, front: bytes, representative: Iterable[npt.NDArray[Any]] | None
    ) -> tuple[bytes | None, str]:
        """The int8 form of a float front half, or None and why there is none."""
        hybrid = self._hybrid_weights()
        if hybrid or representative is None:
            return None, hybrid or NO_REPRESENTATIVE
        inputs = check_representative(representative, self.input_shape)
        obstacle = int8_obstacle(front)
        if obstacle:
            return None, obstacle
        start = self.graph.tensors[self.graph.input].name
        try:
            return quantize_tflite(front, inputs, input_name=start, output_name=cut.name), ""
        except ModelOperatorError as error:
            raise ModelOperatorError(
                "cut", f"{cut.name!r}: {error.what}", remedy=f"cut earlier, {FLOAT_REMEDY}"
            ) from error

    def _int8_input(self, cut: Cut) -> tuple[int, tuple[str, ...]]:
        """The tensor at which the int8 front starts: the input, or what a QUANTIZE makes of it."""
        given = self.graph.tensors[self.graph.input]
        if given.dtype == "int8":
            return given.index, ()
        takers = [o for o in self.graph.operators if given.index in o.inputs]
        if len(takers) == 1 and takers[0].kind == "QUANTIZE":
            start = takers[0].outputs[0]
            if start != cut.index and self.graph.tensors[start].dtype == "int8":
                note = (
                    f"the network's own QUANTIZE of its {given.dtype} input is left to the caller"
                )
                return start, (note,)
        raise CutIllegalError(
            "cut",
            f"{cut.name!r} leaves no int8 front: the network's input is {given.dtype}",
            remedy="convert it with inference_input_type int8",
        )

    def _hybrid_weights(self) -> str:
        """A note if the weights are int8 while the values are float (dynamic range)."""
        tensors = self._model.subgraphs[0].tensors
        for operator in self._model.subgraphs[0].operators:
            kinds = {tensor_dtype(tensors[i]) for i in operator.inputs if i >= 0}
            kind = operator_kind(self._model, operator)
            if "float32" in kinds and "int8" in kinds and kind not in ("QUANTIZE", "DEQUANTIZE"):
                return (
                    f"dynamic-range quantisation ({kind} on float values, int8 weights): no int8 "
                    "front half; convert the network to float or to full int8"
                )
        return ""


def _kind(model: Any) -> str:
    """The kind by the dtype of most values that the network computes."""
    subgraph = model.subgraphs[0]
    count: dict[str, int] = {}
    for operator in subgraph.operators:
        for index in operator.outputs:
            tensor = subgraph.tensors[index]
            elements = int(np.prod(np.abs(full_shape(tensor)))) or 1
            count[tensor_dtype(tensor)] = count.get(tensor_dtype(tensor), 0) + elements
    for dtype in ("int8", "uint8", "int16"):
        if count.get(dtype, 0) > count.get("float32", 0):
            return f"tflite_{dtype}"
    return "tflite_float"
