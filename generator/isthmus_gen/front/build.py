"""From the bytes of a ``.tflite`` front half to everything the renderer needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.errors import ModelOperatorError, OptionError
from isthmus_gen.front.flatbuffer import Graph, Operator, Tensor, read_graph
from isthmus_gen.front.layers import Layer
from isthmus_gen.front.operators import OPERATORS, Request
from isthmus_gen.front.plan import Arena, plan_arena

__all__ = ["ROUNDINGS", "FrontPlan", "plan_front", "unsupported_operators"]

ROUNDINGS = ("tflm", "litert")


@dataclass(frozen=True)
class FrontPlan:
    """A front half, planned.

    Shapes are without the batch axis. ``scratch`` memory is part of the arena. ``kernel_files`` are
    names in ``templates/kernels``; ``tflm_methods`` the op resolver calls TensorFlow Lite Micro
    needs for the same model, ``tflite`` the model itself.
    """

    tflite: bytes
    rounding: str
    graph: Graph
    layers: tuple[Layer, ...]
    arena: Arena
    kernel_files: tuple[str, ...]
    tflm_methods: tuple[str, ...]

    @property
    def input(self) -> Tensor:
        """The input tensor."""
        return self.graph.tensors[self.graph.inputs[0]]

    @property
    def output(self) -> Tensor:
        """The output tensor: the feature tensor."""
        return self.graph.tensors[self.graph.outputs[0]]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input without its batch axis."""
        return self.input.shape[1:]

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output without its batch axis."""
        return self.output.shape[1:]

    @property
    def input_scale(self) -> float:
        """Scale of the int8 input."""
        return float(self.input.scale)

    @property
    def input_zero_point(self) -> int:
        """Zero point of the int8 input."""
        return self.input.zero_point

    @property
    def output_scale(self) -> float:
        """Scale of the int8 output."""
        return float(self.output.scale)

    @property
    def output_zero_point(self) -> int:
        """Zero point of the int8 output."""
        return self.output.zero_point

    @property
    def input_bytes(self) -> int:
        """Bytes of the input."""
        return self.input.elements

    @property
    def output_bytes(self) -> int:
        """Bytes of the output."""
        return self.output.elements

    @property
    def arena_bytes(self) -> int:
        """RAM of the front half: the arena its caller owns."""
        return self.arena.bytes

    @property
    def arena_lower_bound(self) -> int:
        """Bytes no plan can go below."""
        return self.arena.lower_bound

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference, padded taps counted."""
        return sum(layer.macs for layer in self.layers)

    @property
    def constant_bytes(self) -> int:
        """Flash taken by weights and tables."""
        return sum(array.bytes for layer in self.layers for array in layer.arrays)


def _lower(graph: Graph, operator: Operator, rounding: str) -> tuple[Layer, ...]:
    row = OPERATORS.get(operator.name)
    if row is None:
        raise ModelOperatorError(
            operator.path,
            f"the operator {operator.name} is not supported",
            allowed=", ".join(OPERATORS),
            remedy="cut the network before this operator",
        )
    lowered = row.lower(Request(graph, operator, rounding))
    return (lowered,) if isinstance(lowered, Layer) else lowered


def unsupported_operators(tflite: bytes) -> tuple[ModelOperatorError, ...]:
    """Every operator that would be refused, in execution order, each as the error it would raise.

    Raises ModelLoadError if the bytes are not a ``.tflite`` file.
    """
    graph = read_graph(tflite)
    found: list[ModelOperatorError] = []
    for operator in graph.operators:
        try:
            _lower(graph, operator, ROUNDINGS[0])
        except ModelOperatorError as error:
            found.append(error)
    return tuple(found)


def _last_cut_before(graph: Graph, place: int) -> str:
    """Name of the last int8 tensor that alone crosses from the operators before ``place``."""
    for position in range(place, 0, -1):
        written = {t for op in graph.operators[:position] for t in op.outputs}
        written.update(graph.inputs)
        read = {t for op in graph.operators[position:] for t in op.inputs}
        crossing = written & (read | set(graph.outputs))
        if len(crossing) == 1:
            tensor = graph.tensors[crossing.pop()]
            if tensor.dtype == "INT8" and tensor.index not in graph.inputs:
                return tensor.name
    return ""


def _check_ends(graph: Graph) -> None:
    for role, indices in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        if len(indices) != 1:
            raise ModelOperatorError(
                f"model.{role}", f"{len(indices)} tensors", allowed="one", remedy="cut elsewhere"
            )
        tensor = graph.tensors[indices[0]]
        if tensor.dtype != "INT8" or tensor.scales.size != 1:
            raise ModelOperatorError(
                f"model.{role}",
                f"{tensor.name!r} is {tensor.dtype.lower()}",
                allowed="int8 with one scale",
                remedy="convert with inference_input_type and inference_output_type int8",
            )
        if len(tensor.shape) < 2 or tensor.shape[0] != 1 or any(n < 1 for n in tensor.shape):
            raise ModelOperatorError(
                f"model.{role}",
                f"{tensor.name!r} has the shape {tensor.shape}",
                allowed="a fixed shape with batch 1",
                remedy="convert with batch_shape=(1, ...)",
            )


def _check_order(graph: Graph) -> None:
    """Every tensor read must be the input, a constant, or written before."""
    known = set(graph.inputs)
    for operator in graph.operators:
        for index in operator.inputs:
            if index >= 0 and index not in known and graph.tensors[index].data is None:
                name = graph.tensors[index].name
                raise ModelOperatorError(operator.path, f"its input {name!r} is never written")
        known.update(operator.outputs)
    if graph.outputs[0] not in known:
        raise ModelOperatorError("model.outputs", "the output is never written")


def plan_front(tflite: bytes, *, rounding: str = "tflm") -> FrontPlan:
    """Plans the front half in ``tflite`` (full int8, batch 1, one input, one output).

    ``rounding`` names the rounding profile: ``tflm`` rounds twice everywhere, ``litert`` once in
    FULLY_CONNECTED. Raises ModelLoadError, ModelOperatorError (with the operator's name, its place
    and the last cut before it) or OptionError.
    """
    if rounding not in ROUNDINGS:
        raise OptionError("rounding", repr(rounding), allowed=", ".join(ROUNDINGS))
    graph = read_graph(tflite)
    layers: list[Layer] = []
    for operator in graph.operators:
        try:
            layers.extend(_lower(graph, operator, rounding))
        except ModelOperatorError as error:
            cut = _last_cut_before(graph, operator.place)
            raise ModelOperatorError(
                error.path,
                error.what,
                allowed=error.allowed,
                remedy=error.remedy + (f" (the nearest earlier cut is {cut!r})" if cut else ""),
            ) from error
    _check_ends(graph)
    _check_order(graph)
    files = sorted({name for layer in layers for name in layer.files})
    methods = {OPERATORS[op.name].resolver for op in graph.operators}
    return FrontPlan(
        tflite=bytes(tflite),
        rounding=rounding,
        graph=graph,
        layers=tuple(layers),
        arena=plan_arena(graph, layers),
        kernel_files=tuple(files),
        tflm_methods=tuple(sorted(methods)),
    )


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as reports print it.

    >>> shape_text((16, 16, 32))
    '16x16x32'
    """
    return "x".join(str(int(n)) for n in np.asarray(shape, dtype=np.int64))
