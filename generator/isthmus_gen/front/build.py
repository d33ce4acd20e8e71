"""From the bytes of a ``.tflite`` front half to everything the renderer needs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np

from isthmus.errors import ModelError, ModelOperatorError, OptionError
from isthmus_gen.front.dilation import fold_dilation
from isthmus_gen.front.ends import absorb_ends, check_ends, check_order
from isthmus_gen.front.flatbuffer import Graph, Operator, Tensor, read_graph
from isthmus_gen.front.layers import Layer
from isthmus_gen.front.operators import OPERATORS, Request
from isthmus_gen.front.operators.tables import live_layers
from isthmus_gen.front.plan import Arena, plan_arena
from isthmus_gen.front.rows import Stream, stream_rows
from isthmus_gen.front.shapes import fold_shapes
from isthmus_gen.models.flatbuffer import parse
from isthmus_gen.models.flatbuffer import read_graph as read_network
from isthmus_gen.models.graph import list_cuts

__all__ = ["ROUNDINGS", "FrontPlan", "plan_front", "unsupported_operators"]

ROUNDINGS = ("tflm", "litert")


@dataclass(frozen=True)
class FrontPlan:
    """A front half, planned.

    Shapes are without the batch axis. ``scratch`` memory is part of the arena. ``kernel_files`` are
    names in ``templates/kernels``; ``tflm_methods`` the op resolver calls TensorFlow Lite Micro
    needs for the same model (none where it lacks an operator), ``tflite`` the model itself.
    ``stream`` is set where the last layers run row by row; the arena then never holds the whole
    output.
    """

    tflite: bytes
    rounding: str
    graph: Graph
    layers: tuple[Layer, ...]
    arena: Arena
    kernel_files: tuple[str, ...]
    tflm_methods: tuple[str, ...]
    stream: Stream | None = None

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
        # a converter joins the names of what it fused by ';'
        names = [graph.tensors[i].name.split(";")[0] for i in operator.outputs[:1]]
        made = "".join(f" (it computes {name!r})" for name in names)
        raise ModelOperatorError(
            operator.path,
            f"the operator {operator.name} is not supported{made}",
            allowed="the operators of docs/operators.md",
            remedy="cut the network before this operator",
        )
    lowered = row.lower(Request(graph, operator, rounding))
    return (lowered,) if isinstance(lowered, Layer) else lowered


_Refused = list[tuple[Operator, ModelOperatorError]]


def _lower_all(graph: Graph, rounding: str) -> tuple[list[Layer], _Refused]:
    layers: list[Layer] = []
    refused: _Refused = []
    for operator in graph.operators:
        try:
            layers.extend(_lower(graph, operator, rounding))
        except ModelOperatorError as error:
            refused.append((operator, error))
    return layers, refused


def _told(graph: Graph, refused: _Refused) -> list[ModelOperatorError]:
    """The refusals that say something: not those around what a converter left in float.

    An operator without an int8 form stands between a DEQUANTIZE and a QUANTIZE of the converter's;
    one that folds the table of an operator before it fails with that operator's error.
    """
    read = {index for operator in graph.operators for index in operator.inputs}
    written = {index for operator in graph.operators for index in operator.outputs}

    def around(operator: Operator) -> bool:
        if operator.name == "DEQUANTIZE":
            return not read.isdisjoint(operator.outputs)
        return (
            operator.name == "QUANTIZE"
            and graph.tensors[operator.inputs[0]].dtype == "FLOAT32"
            and not written.isdisjoint(operator.inputs)
        )

    told = [e for operator, e in refused if e.path == operator.path and not around(operator)]
    return told or [error for _, error in refused]


def unsupported_operators(tflite: bytes) -> tuple[ModelOperatorError, ...]:
    """Every operator that would be refused, in execution order, each as the error it would raise.

    Raises ModelLoadError if the bytes are not a ``.tflite`` file.
    """
    graph = fold_dilation(absorb_ends(fold_shapes(read_graph(tflite))))
    _, refused = _lower_all(graph, ROUNDINGS[0])
    return tuple(_told(graph, refused))


def _last_cut_before(tflite: bytes, graph: Graph, place: int) -> str:
    """Name of the last legal cut whose front half has operators before ``place`` alone.

    It is the name that ``isthmus cuts`` prints; empty where there is none.
    """
    with contextlib.suppress(ModelError):
        network = read_network(parse(tflite, "model"), "model")
        places = {t: op.place for op in graph.operators for t in op.outputs}
        for cut in reversed(list_cuts(network)):
            made = [t for p in network.front(cut.index) for t in network.operators[p].outputs]
            if cut.legal and cut.index in places and all(places.get(t, 0) < place for t in made):
                return cut.name
    return ""


def _refusal(tflite: bytes, graph: Graph, refused: _Refused) -> ModelOperatorError:
    """The first refusal, with the last cut before all of them."""
    error = _told(graph, refused)[0]
    cut = _last_cut_before(tflite, graph, min(operator.place for operator, _ in refused))
    return ModelOperatorError(
        error.path,
        error.what,
        allowed=error.allowed,
        remedy=error.remedy + (f" (the nearest legal cut is {cut!r})" if cut else ""),
    )


def plan_front(tflite: bytes, *, rounding: str = "tflm", by_rows: bool = False) -> FrontPlan:
    """Plans the front half in ``tflite`` (full int8, batch 1, one input, one output).

    A QUANTIZE of a float32 or uint8 input and a DEQUANTIZE of the output are left to the caller:
    the planned front half takes and gives the int8 tensors inside of them.
    ``rounding`` names the rounding profile: ``tflm`` rounds twice everywhere, ``litert`` once in
    FULLY_CONNECTED. With ``by_rows`` the last layers run row by row. Raises ModelLoadError,
    ModelOperatorError (with the operator's name, its place and the last cut before it) or
    OptionError.
    """
    if rounding not in ROUNDINGS:
        raise OptionError("rounding", repr(rounding), allowed=", ".join(ROUNDINGS))
    whole = read_graph(tflite)
    graph = fold_dilation(absorb_ends(fold_shapes(whole)))
    layers, refused = _lower_all(graph, rounding)
    if refused:
        raise _refusal(tflite, graph, refused)
    check_ends(graph)
    check_order(graph)
    layers = live_layers(graph, layers)
    files = sorted({name for layer in layers for name in layer.files})
    # TensorFlow Lite Micro runs the file as it is, its converting ends included.
    methods = {
        OPERATORS[op.name].resolver if op.name in OPERATORS else f"Add{op.name.title()}"
        for op in whole.operators
    }
    arena, stream = plan_arena(graph, layers), None
    if by_rows:
        stream, arena = stream_rows(graph, layers, arena)
    return FrontPlan(
        tflite=bytes(tflite),
        rounding=rounding,
        graph=graph,
        layers=tuple(layers),
        arena=arena,
        kernel_files=tuple(files),
        tflm_methods=() if "" in methods else tuple(sorted(methods)),
        stream=stream,
    )


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as reports print it.

    >>> shape_text((16, 16, 32))
    '16x16x32'
    """
    return "x".join(str(int(n)) for n in np.asarray(shape, dtype=np.int64))
