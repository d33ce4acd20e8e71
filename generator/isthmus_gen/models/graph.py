"""A network as operators and tensors, and what a cut at each tensor would mean.

The graph is the common ground of Keras models and flatbuffers. The front half of a cut at tensor
``t`` is the set of operators that ``t`` depends on; every other operator belongs to the back half.
A cut is legal when ``t`` is the only tensor that the back half takes from the front half.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["ActivationInfo", "Cut", "Graph", "GraphOperator", "GraphTensor", "list_cuts"]

MAX_RANK = 4


@dataclass(frozen=True)
class ActivationInfo:
    """The function whose values a tensor holds.

    ``kind``: ``linear``, ``relu``, ``relu6``, ``leaky_relu``, ``clipped_relu`` (a ReLU with another
    ``maximum``) or the name of another function (``sigmoid``, ``tanh``, ``softmax``, ...).
    ``slope`` is the factor for negative inputs: 0 for ReLU, 1 for linear.
    """

    kind: str
    slope: float = 0.0
    maximum: float | None = None


LINEAR = ActivationInfo("linear", 1.0)
RELU = ActivationInfo("relu")
RELU6 = ActivationInfo("relu6", 0.0, 6.0)


@dataclass(frozen=True)
class GraphTensor:
    """A tensor that is computed. ``shape`` has no batch dimension; -1 is a dynamic dimension."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    batch: int = -1
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class GraphOperator:
    """One operator: indices of the tensors it takes and gives (no constants among them).

    ``refusal`` is empty, or says why the operator cannot be part of a front half. ``activation`` is
    None for operators that only move or select values (reshape, max pooling): their output holds
    values of their input.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    macs: int = 0
    refusal: str = ""
    activation: ActivationInfo | None = LINEAR


@dataclass(frozen=True)
class Graph:
    """A network of one input and one output. ``operators`` are in topological order."""

    tensors: dict[int, GraphTensor]
    operators: tuple[GraphOperator, ...]
    input: int
    output: int
    constants: dict[str, int] = field(default_factory=dict)

    def producer(self, tensor: int) -> int | None:
        """The position of the operator that computes ``tensor`` (None: the input)."""
        for position, operator in enumerate(self.operators):
            if tensor in operator.outputs:
                return position
        return None

    def front(self, tensor: int) -> frozenset[int]:
        """Positions of the operators that ``tensor`` depends on."""
        producers = {t: p for p, o in enumerate(self.operators) for t in o.outputs}
        found: set[int] = set()
        pending = [tensor]
        while pending:
            position = producers.get(pending.pop())
            if position is not None and position not in found:
                found.add(position)
                pending.extend(self.operators[position].inputs)
        return frozenset(found)

    def crossing(self, tensor: int) -> tuple[int, ...]:
        """The tensors the host needs from the device in a cut at ``tensor``, in index order."""
        front = self.front(tensor)
        made = {t for p in front for t in self.operators[p].outputs} | {self.input}
        needed = {self.output}
        for position in self.front(self.output) - front:
            needed.update(self.operators[position].inputs)
        return tuple(sorted((made & needed) | {tensor}))

    def activation(self, tensor: int) -> ActivationInfo:
        """The activation whose values ``tensor`` holds, seen through reshapes and max pooling."""
        position = self.producer(tensor)
        while position is not None:
            operator = self.operators[position]
            if operator.activation is not None:
                return operator.activation
            position = self.producer(operator.inputs[0])
        return LINEAR


@dataclass(frozen=True)
class Cut:
    """One place where a network might be cut. ``shape`` is without batch; ``bytes`` as int8.

    ``crossing`` counts the tensors that would have to be sent; ``reason`` is empty for a legal cut.
    ``operator`` is the kind of operator that computes the tensor.
    """

    name: str
    shape: tuple[int, ...]
    elements: int
    bytes: int
    macs_before: int
    macs_total: int
    crossing: int
    legal: bool
    reason: str
    operator: str
    index: int = field(compare=False)


def list_cuts(graph: Graph) -> list[Cut]:
    """Every tensor of the graph as a cut, in topological order, the input first."""
    total = sum(o.macs for o in graph.operators)
    used = graph.front(graph.output)
    return [_cut(graph, tensor, used, total) for tensor in _ordered(graph)]


def _ordered(graph: Graph) -> Iterator[GraphTensor]:
    yield graph.tensors[graph.input]
    for operator in graph.operators:
        for index in operator.outputs:
            yield graph.tensors[index]


def _cut(graph: Graph, tensor: GraphTensor, used: frozenset[int], total: int) -> Cut:
    position = graph.producer(tensor.index)
    front = graph.front(tensor.index)
    crossing = graph.crossing(tensor.index)
    reason = _refusal(graph, tensor, position, used, front, crossing)
    elements = 0 if -1 in tensor.shape else math.prod(tensor.shape)
    return Cut(
        name=tensor.name,
        shape=tensor.shape,
        elements=elements,
        bytes=elements,
        macs_before=sum(graph.operators[p].macs for p in front),
        macs_total=total,
        crossing=len(crossing),
        legal=not reason,
        reason=reason,
        operator="INPUT" if position is None else graph.operators[position].kind,
        index=tensor.index,
    )


def _refusal(
    graph: Graph,
    tensor: GraphTensor,
    position: int | None,
    used: frozenset[int],
    front: frozenset[int],
    crossing: tuple[int, ...],
) -> str:
    """Why a cut at ``tensor`` is not legal, or an empty string."""
    if position is None:
        return "is the model's input: nothing is left for the device"
    if tensor.index == graph.output:
        return "is the model's output: nothing is left for the host"
    if position not in used:
        return "does not lead to the model's output"
    made = [graph.input, *(t for p in sorted(front) for t in graph.operators[p].outputs)]
    for index in made:
        if -1 in graph.tensors[index].shape:
            shape = ", ".join("?" if d < 0 else str(d) for d in graph.tensors[index].shape)
            name = graph.tensors[index].name
            return f"dynamic shape: {name!r} is ({shape}); save the model with fixed sizes"
    for p in sorted(front):
        if graph.operators[p].refusal:
            return graph.operators[p].refusal
    others = [graph.tensors[i].name for i in crossing if i != tensor.index]
    if others:
        names = ", ".join(repr(n) for n in others)
        return f"{len(crossing)} live tensors cross: {names} as well (a residual or parallel edge)"
    if tensor.dtype == "uint8":
        return "uint8 values (the quantisation of before 2019): convert the model again, to int8"
    if tensor.dtype not in ("float32", "int8"):
        return f"dtype {tensor.dtype}: only float32 and int8 tensors are coded"
    if tensor.batch not in (-1, 1):
        return f"batch {tensor.batch} is built in: export the model with batch 1"
    if not 1 <= len(tensor.shape) <= MAX_RANK:
        return f"rank {len(tensor.shape)} without batch: 1 to {MAX_RANK} are coded"
    if math.prod(tensor.shape) == 0:
        return "has no elements"
    return ""
