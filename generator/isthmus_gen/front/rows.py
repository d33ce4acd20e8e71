"""The end of the front half row by row, so that the feature tensor never exists whole.

The last layer computes one row of its output at a time, into memory of one row, and the coder takes
it from there. Layers before it may join as long as a row of theirs is all that their reader needs
for a row of its own: then theirs are never whole either. Of the ends that are possible that with
the least memory is taken. What an end reads from outside is whole and stays until the last row.
Where no end takes less than the whole tensor does (it may lie over its dying input), the layers run
whole, and a row is a part of the tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from isthmus.errors import OptionError
from isthmus_gen.front.depthwise import plane_bytes
from isthmus_gen.front.flatbuffer import Graph
from isthmus_gen.front.layers import Layer, Struct, Value
from isthmus_gen.front.plan import Arena, plan_arena

__all__ = ["RowCall", "Stream", "row_call", "stream_rows"]

OPTION = "--stream-rows"


@dataclass(frozen=True)
class RowCall:
    """How a layer computes one row of its output.

    Where ``params`` is None ``kernel`` is a function that takes the whole layer, the whole inputs
    and the number of the row; else it is the layer's own kernel over a struct of these parameters
    that describes one row, and input i moves on by ``steps[i]`` bytes from row to row.
    ``scratch_bytes`` is the working memory of one row.
    """

    kernel: str
    params: tuple[tuple[str, Value], ...] | None
    steps: tuple[int, ...]
    scratch_bytes: int = 0


@dataclass(frozen=True)
class Stream:
    """What runs by rows: ``calls`` are those of the layers from ``first`` on; none may pay.

    ``whole_bytes`` is the arena that the same front half takes with its output whole.
    """

    first: int
    calls: tuple[RowCall, ...]
    rows: int
    row_bytes: int
    whole_bytes: int


Form = Callable[[Layer, int], RowCall | None]


def _numbered(layer: Layer, rows: int) -> RowCall | None:
    """Kernels with a window, which have a function for rows by number."""
    if dict(layer.params).get("out_h") != rows:
        return None
    return RowCall(f"{layer.kernel}_rows", None, (0,) * len(layer.inputs), layer.scratch_bytes)


def _planes(layer: Layer, rows: int) -> RowCall | None:
    """DEPTHWISE_CONV_2D, whose scratch need not hold a whole plane then: isth_k_depthwise.h."""
    turned = _number(layer, "turned")
    if _number(layer, "out_w" if turned else "out_h") != rows:
        return None
    steps = (0,) * len(layer.inputs)
    call = RowCall(f"{layer.kernel}_rows", None, steps, layer.scratch_bytes)
    if turned:  # a row of the picture needs the whole length of the plane
        return call
    reach = (_number(layer, "kernel_h") - 1) * _number(layer, "dilation_h") + 1
    plane = reach * _number(layer, "plane_w")
    scratch = plane_bytes(plane, _number(layer, "sums"), _number(layer, "stride_w"))
    return replace(call, scratch_bytes=min(scratch, layer.scratch_bytes))


def _changed(layer: Layer, steps: Sequence[int], **params: Value) -> RowCall:
    changed = tuple((name, params.get(name, value)) for name, value in layer.params)
    return RowCall(layer.kernel, changed, tuple(steps), layer.scratch_bytes)


def _number(layer: Layer, name: str) -> int:
    value = dict(layer.params)[name]
    assert isinstance(value, int)
    return value


def _positions(layer: Layer, rows: int) -> RowCall | None:
    """Rows of columns, or all positions as one row."""
    lines, columns = _number(layer, "rows"), _number(layer, "columns")
    if lines == rows:
        return _changed(layer, [_number(layer, "x_row")], rows=1)
    if lines == 1 and columns % rows == 0:
        columns //= rows
        return _changed(layer, [columns * _number(layer, "x_column")], columns=columns)
    return None


def _elements(layer: Layer, rows: int) -> RowCall | None:
    """Element by element: a row is a part of the length."""
    length = _number(layer, "length")
    return _changed(layer, [length // rows], length=length // rows) if length % rows == 0 else None


def _vectors(layer: Layer, rows: int) -> RowCall | None:
    """SOFTMAX, whose own rows are vectors along the last axis."""
    count = _number(layer, "rows")
    if count % rows:
        return None
    count //= rows
    return _changed(layer, [count * _number(layer, "depth")], rows=count)


def _broadcast(layer: Layer, rows: int) -> RowCall | None:
    """Operands that stretch: a row is a part of the only run, or some runs of the only loop."""
    runs, length, single, inner, middle = _numbers(layer, "shape")
    if runs == 1 and length % rows == 0:
        step = length // rows
        shape = Struct((1, step, single, inner, middle))
        return _changed(layer, [step, 0 if single else step], shape=shape)
    if runs == inner and runs % rows == 0:
        count = runs // rows
        moves = [_numbers(layer, name)[0] for name, _ in layer.params if name.endswith("_steps")]
        shape = Struct((count, length, single, count, middle))
        return _changed(layer, [count * move for move in moves], shape=shape)
    return None


def _numbers(layer: Layer, name: str) -> list[int]:
    value = dict(layer.params)[name]
    assert isinstance(value, Struct)
    return [number for number in value.values if isinstance(number, int)]


_FORMS: dict[str, Form] = {
    "isth_k_average_pool": _numbered,
    "isth_k_conv_1x1": _positions,
    "isth_k_conv_2d": _numbered,
    "isth_k_depthwise": _planes,
    "isth_k_extremum": _broadcast,
    "isth_k_lut": _elements,
    "isth_k_max_pool": _numbered,
    "isth_k_mul": _broadcast,
    "isth_k_prelu": _broadcast,
    "isth_k_softmax": _vectors,
    "isth_k_sum": _broadcast,
}


def row_call(layer: Layer, graph: Graph, rows: int) -> RowCall | None:
    """How ``layer`` computes one of ``rows`` rows of its output; None where it cannot."""
    form = _FORMS.get(layer.kernel)
    shape = graph.tensors[layer.output].shape
    if form is None or layer.view or len(shape) < 3 or shape[1] != rows:
        return None
    return form(layer, rows)


def stream_rows(graph: Graph, layers: Sequence[Layer], whole: Arena) -> tuple[Stream, Arena]:
    """The end that runs by rows, and the plan of the arena with it; ``whole`` is that without.

    Raises OptionError where the last layer cannot run by rows.
    """
    output = graph.tensors[graph.outputs[0]]
    rows = output.shape[1] if len(output.shape) >= 3 else 1
    if rows < 2:
        raise OptionError(
            OPTION,
            f"the feature tensor {output.name!r} has one row",
            allowed="at least two rows on its first axis",
            remedy="leave the option out",
        )
    best: tuple[Stream, Arena] | None = None
    for first, calls in _ends(graph, layers, rows):
        made = {layer.output for layer in layers[first:]}
        last = (
            replace(layer, overlap=(), scratch_bytes=call.scratch_bytes)
            for layer, call in zip(layers[first:], calls, strict=True)
        )
        arena = plan_arena(
            graph,
            [*layers[:first], *last],
            sizes={t: graph.tensors[t].elements // rows for t in made},
            kept={t for layer in layers[first:] for t in layer.tensor_inputs if t not in made},
        )
        if best is None or arena.bytes < best[1].bytes:
            row_bytes = output.elements // rows
            best = Stream(first, calls, rows, row_bytes, whole.bytes), arena
    if best is None:
        name = f"model.operators[{layers[-1].place}] {layers[-1].operator}" if layers else "none"
        raise OptionError(
            OPTION,
            f"the last layer, {name}, cannot run row by row",
            allowed="convolutions, pools, and operators that go element by element",
            remedy="leave the option out, or cut the network behind such a layer",
        )
    if best[1].bytes >= whole.bytes:
        return replace(best[0], first=len(layers), calls=()), whole
    return best


def _ends(
    graph: Graph, layers: Sequence[Layer], rows: int
) -> Iterator[tuple[int, tuple[RowCall, ...]]]:
    """Each number of last layers that can run by rows: where they begin, and their calls."""
    calls: tuple[RowCall, ...] = ()
    wanted = graph.outputs[0]
    for first in range(len(layers) - 1, -1, -1):
        layer = layers[first]
        call = row_call(layer, graph, rows)
        written = sum(other.output == layer.output for other in layers)
        if call is None or written != 1 or (first == len(layers) - 1 and layer.output != wanted):
            return
        row_bytes = graph.tensors[layer.output].elements // rows
        for reader, its in zip(layers[first + 1 :], calls, strict=True):
            for tensor, step in zip(reader.inputs, its.steps, strict=True):
                if tensor == layer.output and step != row_bytes:
                    return  # the reader needs more of it than one row
        calls = (call, *calls)
        yield first, calls
