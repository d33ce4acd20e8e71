"""A functional or sequential Keras model as a flat list of calls, and parts of it rebuilt.

Nested models are flattened: their layers appear as ``outer/inner``. Layers are shared with the
loaded model, never copied, so a part has the very weights of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.errors import ModelLoadError
from isthmus.optional import quiet_import
from isthmus_gen.models.graph import LINEAR, RELU, ActivationInfo, Graph, GraphOperator, GraphTensor
from isthmus_gen.models.keras_macs import layer_macs

__all__ = ["KerasGraph", "flatten", "rebuild"]

_MOVING = {
    "MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "GlobalMaxPooling1D", "GlobalMaxPooling2D",
    "Flatten", "Reshape", "Permute", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "Identity",
    "GaussianNoise", "GaussianDropout", "AlphaDropout", "RepeatVector",
    "Transpose", "Squeeze", "ExpandDims",
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One call of a layer or ``keras.ops`` operation, with symbolic arguments and results."""

    operation: Any
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    results: tuple[Any, ...]
    name: str


@dataclass(frozen=True)
class KerasGraph:
    """The calls of a model; ``graph`` indexes ``tensors`` (the symbolic tensors)."""

    graph: Graph
    calls: tuple[Call, ...]
    tensors: tuple[Any, ...]


def flatten(model: Any, where: str) -> KerasGraph:
    """The graph of a model. Raises ModelLoadError for subclassed models and several inputs."""
    keras = quiet_import("keras", "")
    functional = _functional(keras, model, where)
    for what, ends in (("input", functional.inputs), ("output", functional.outputs)):
        if len(ends) != 1:
            raise ModelLoadError(
                where, f"{len(ends)} {what}s", remedy=f"save the network with one {what}"
            )
    given = keras.Input(batch_shape=functional.inputs[0].shape, dtype=functional.inputs[0].dtype)
    calls: list[Call] = []
    output = keras.tree.flatten(_trace(keras, functional, given, "", calls, where))[0]
    tensors = [given, *(t for c in calls for t in c.results)]
    index = {id(t): i for i, t in enumerate(tensors)}
    operators = tuple(_operator(keras, c, index) for c in calls)
    names = _names(functional.inputs[0].name, calls)
    described = {
        i: GraphTensor(i, name, _shape(t), str(t.dtype), -1 if t.shape[0] is None else t.shape[0])
        for i, (t, name) in enumerate(zip(tensors, names, strict=True))
    }
    return KerasGraph(
        Graph(described, operators, 0, index[id(output)]), tuple(calls), tuple(tensors)
    )


def rebuild(
    whole: KerasGraph,
    start: int,
    end: int,
    batch: int | None,
    name: str,
    replace: Mapping[int, Callable[[Any], Any]] | None = None,
) -> Any:
    """The part from tensor ``start`` to tensor ``end`` as a model of that batch size.

    ``replace`` gives for a tensor (by index) what is put in its place: a function of the tensor.
    """
    keras = quiet_import("keras", "")
    first = whole.tensors[start]
    # A picture given as uint8 is cast by the first layer in any case; int8 needs a float input.
    dtype = "float32" if "int" in str(first.dtype) else first.dtype
    given = keras.Input(batch_shape=(batch, *first.shape[1:]), dtype=dtype, name="x")
    known = {id(first): given}
    changed = {id(whole.tensors[index]): change for index, change in (replace or {}).items()}
    needed = whole.graph.front(end) - whole.graph.front(start)

    def known_or_same(value: Any) -> Any:
        return known.get(id(value), value)

    for position in sorted(needed):
        call = whole.calls[position]
        arguments, keywords = keras.tree.map_structure(
            known_or_same, (call.arguments, call.keywords)
        )
        results = keras.tree.flatten(call.operation(*arguments, **keywords))
        if changed:
            results = [
                changed.get(id(old), _same)(new)
                for old, new in zip(call.results, results, strict=True)
            ]
        known.update({id(old): new for old, new in zip(call.results, results, strict=True)})
    return keras.Model(given, known[id(whole.tensors[end])], name=name)


def _same(tensor: Any) -> Any:
    return tensor


def _functional(keras: Any, model: Any, where: str) -> Any:
    if isinstance(model, keras.Sequential):
        if not model.built or not model.inputs:
            raise ModelLoadError(
                where, "a Sequential model without input shape", remedy="add keras.Input and save"
            )
        return keras.Model(model.inputs, model.outputs)
    if not hasattr(model, "inputs") or not hasattr(model, "operations") or not model.inputs:
        raise ModelLoadError(
            where,
            f"the subclassed model {type(model).__name__!r} has no graph of layers",
            remedy="export it (model.export(DIR)) and give that folder",
        )
    return model


def _trace(keras: Any, model: Any, given: Any, prefix: str, calls: list[Call], where: str) -> Any:
    """Replay a functional model on ``given``, noting each call; nested models are entered."""

    def call(operation: Any, *arguments: Any, **keywords: Any) -> Any:
        name = f"{prefix}{operation.name}"
        if isinstance(operation, keras.Sequential) or hasattr(operation, "operations"):
            inner = _functional(keras, operation, where)
            return _trace(keras, inner, arguments[0], f"{name}/", calls, where)
        result = operation(*arguments, **keywords)
        results = tuple(keras.tree.flatten(result))
        calls.append(Call(operation, arguments, keywords, results, name))
        return result

    # keras.models.clone_model offers this walk in public, but it builds a model of the result, and
    # for a nested model that starts at an inner tensor this makes other symbolic tensors.
    return model._run_through_graph(
        keras.tree.flatten(given), operation_fn=lambda layer: layer, call_fn=call
    )


def _names(first: str, calls: Iterable[Call]) -> list[str]:
    """The input's name and one for each result: the layer's, numbered where it is used again."""
    names = [first]
    seen: dict[str, int] = {}
    for call in calls:
        for _ in call.results:
            count = seen.get(call.name, 0)
            seen[call.name] = count + 1
            names.append(f"{call.name}:{count}" if count else call.name)
    return names


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(-1 if d is None else int(d) for d in tensor.shape[1:])


def _operator(keras: Any, call: Call, index: dict[int, int]) -> GraphOperator:
    flat = keras.tree.flatten((call.arguments, call.keywords))
    taken = tuple(dict.fromkeys(index[id(t)] for t in flat if id(t) in index))
    made = tuple(index[id(t)] for t in call.results)
    taken_shapes = [_shape(t) for t in flat if id(t) in index]
    return GraphOperator(
        type(call.operation).__name__,
        taken,
        made,
        layer_macs(call.operation, taken_shapes, _shape(call.results[0])),
        "",
        _activation(call.operation),
    )


def _activation(operation: Any) -> ActivationInfo | None:
    kind = type(operation).__name__
    if kind in _MOVING:
        return None
    if kind == "LeakyReLU" or kind == "LeakyRelu":
        return ActivationInfo("leaky_relu", float(operation.negative_slope))
    if kind == "ReLU":
        return _relu(operation)
    if kind in ("Relu", "Relu6", "Sigmoid", "Tanh", "Softmax", "Gelu", "Silu", "Elu", "PReLU"):
        return _named(kind.lower())
    function = getattr(operation, "activation", None)
    if function is None:
        return LINEAR
    if not hasattr(function, "__name__"):  # an activation given as a layer
        return _activation(function)
    if function.__name__ == "leaky_relu":
        return ActivationInfo("leaky_relu", 0.2)  # the default of keras.activations.leaky_relu
    return _named(str(function.__name__))


def _named(name: str) -> ActivationInfo:
    known = {"linear": LINEAR, "relu": RELU, "relu6": ActivationInfo("relu6", 0.0, 6.0)}
    return known.get(name, ActivationInfo(name))


def _relu(layer: Any) -> ActivationInfo:
    slope = float(layer.negative_slope or 0.0)
    if layer.max_value is not None:
        maximum = float(layer.max_value)
        kind = "relu6" if maximum == 6.0 and slope == 0.0 else "clipped_relu"
        return ActivationInfo(kind, slope, maximum)
    return ActivationInfo("leaky_relu", slope) if slope else RELU
