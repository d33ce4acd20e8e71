"""The one place where inference engines are imported.

LiteRT, TensorFlow Lite, tflite-runtime, TensorFlow Lite Micro, ONNX Runtime and Keras all hide
behind :class:`InferenceModel`: named inputs and outputs and ``run`` on batches. Every engine is
imported when it is asked for, so the core of Isthmus needs none of them.

``litert_ref`` runs the reference kernels (``OpResolverType.BUILTIN_REF``) and is the only engine
whose int8 results count as golden; ``litert`` uses the optimised kernels and XNNPACK, which round
differently in a small share of int8 elements.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from isthmus.errors import (
    DataDtypeError,
    DataNotFiniteError,
    DataShapeError,
    MissingExtraError,
    ModelLoadError,
    OptionError,
)
from isthmus.optional import engine_call, one_line, quiet_import, read_model_bytes

__all__ = [
    "Engine", "InferenceModel", "KerasModel", "OnnxModel", "TensorInfo", "TfliteModel",
    "dequantize", "open_keras", "open_onnx", "open_tflite", "quantize", "tflite_schema",
]  # fmt: skip

Engine = Literal["auto", "litert", "litert_ref", "tensorflow", "tflite_runtime", "tflm"]
Array = npt.NDArray[Any]

_AUTO: tuple[Engine, ...] = ("litert", "tflite_runtime", "tensorflow", "tflm")
_BATCH = 64  # pictures per invoke: bounds the memory of a resized graph
_EXTRA = 'pip install "isthmus[backhalf]"'


@dataclass(frozen=True)
class TensorInfo:
    """An input or output: ``shape`` includes the batch dimension (-1 where it is not fixed).

    ``scale`` and ``zero_point`` are the per-tensor quantisation, real = scale * (q - zero_point);
    ``scale`` is 0.0 for a tensor that is not quantised.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float = 0.0
    zero_point: int = 0


def quantize(x: npt.ArrayLike, info: TensorInfo) -> Array:
    """Float values as the integers of ``info``: TFLite's QUANTIZE, element for element.

    Division in float32, rounding half away from zero, saturation (TFLite
    ``reference/quantize.h``). Raises DataNotFiniteError for NaN and infinity.
    """
    scaled = np.asarray(x, dtype=np.float32) / np.float32(info.scale)
    if not np.isfinite(scaled).all():
        raise DataNotFiniteError(
            info.name, "holds NaN or infinity", remedy="remove or replace those values"
        )
    size = np.abs(scaled)
    whole = np.floor(size)
    rounded = np.copysign(whole + (size - whole >= np.float32(0.5)), scaled).astype(np.float64)
    limits = np.iinfo(info.dtype)
    result: Array = np.clip(rounded + info.zero_point, limits.min, limits.max).astype(info.dtype)
    return result


def dequantize(q: npt.ArrayLike, info: TensorInfo) -> npt.NDArray[np.float32]:
    """Integers of ``info`` as float32: scale * (q - zero_point), TFLite's DEQUANTIZE."""
    centred = np.asarray(q).astype(np.int32) - np.int32(info.zero_point)
    return (centred.astype(np.float32) * np.float32(info.scale)).astype(np.float32)


class InferenceModel(ABC):
    """A network with named inputs and outputs. ``run`` may be called from several threads."""

    engine: str
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    #: What the engine raises beside RuntimeError and ValueError.
    _own_errors: tuple[type[Exception], ...] = ()

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def run(self, *arrays: Array) -> list[Array]:
        """Run a batch: one array [n, ...] for each input, one array [n, ...] for each output.

        Dtypes are the model's own. Raises DataShapeError or DataDtypeError for a wrong array, and
        RuntimeError or ValueError where the engine fails.
        """
        self._check(arrays)
        count = int(arrays[0].shape[0])
        if count == 0:
            return [np.zeros((0, *_static(o.shape[1:])), o.dtype) for o in self.outputs]
        try:
            with self._lock:
                parts = [
                    self._run_batch([a[i : i + self._step()] for a in arrays])
                    for i in range(0, count, self._step())
                ]
        except self._own_errors as error:
            raise RuntimeError(f"{self.engine}: {one_line(error)}") from error
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def run_float(self, *arrays: npt.ArrayLike) -> list[npt.NDArray[np.float32]]:
        """As ``run`` on float32 arrays: quantised inputs and outputs are converted on the way."""
        given = [
            quantize(a, i) if i.scale else np.asarray(a).astype(i.dtype, copy=False)
            for a, i in zip(arrays, self.inputs, strict=True)
        ]
        return [
            dequantize(r, o) if o.scale else r.astype(np.float32, copy=False)
            for r, o in zip(self.run(*given), self.outputs, strict=True)
        ]

    def _check(self, arrays: Sequence[Array]) -> None:
        if len(arrays) != len(self.inputs):
            raise DataShapeError("inputs", f"{len(arrays)} arrays", allowed=f"{len(self.inputs)}")
        for array, info in zip(arrays, self.inputs, strict=True):
            want = info.shape[1:]
            fits = array.ndim == len(info.shape) and all(
                w in (-1, g) for w, g in zip(want, array.shape[1:], strict=True)
            )
            if not fits or array.shape[0] != arrays[0].shape[0]:
                raise DataShapeError(
                    f"input {info.name!r}",
                    f"shape {list(array.shape)}",
                    allowed=f"[n, {', '.join(map(str, want))}]",
                )
            if array.dtype != info.dtype:
                raise DataDtypeError(
                    f"input {info.name!r}", f"dtype {array.dtype}", allowed=str(info.dtype)
                )

    def _step(self) -> int:
        """Inputs per engine call: the fixed batch of the model, or a bounded number."""
        fixed = self.inputs[0].shape[0]
        return _BATCH if fixed == -1 else fixed

    @abstractmethod
    def _run_batch(self, arrays: list[Array]) -> list[Array]:
        """One engine call on at most ``_step()`` inputs."""


def _static(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(0 if d < 0 else d for d in shape)


class TfliteModel(InferenceModel):
    """A ``.tflite`` in one engine. Made by :func:`open_tflite`."""

    def tensor(self, index: int) -> Array:
        """An inner tensor after ``run`` (needs ``preserve_tensors=True``; litert engines only).

        With in-place operators (ADD) an engine may show a stale value: compare with care.
        """
        raise OptionError("preserve_tensors", f"engine {self.engine} keeps no inner tensors")


class _LiteModel(TfliteModel):
    """LiteRT, tflite-runtime and tf.lite: one interpreter API."""

    def __init__(self, module: Any, engine: Engine, content: bytes, threads: int, keep: bool):
        super().__init__()
        self.engine = engine
        options: dict[str, Any] = {"model_content": content, "num_threads": threads}
        if keep:
            options["experimental_preserve_all_tensors"] = True
        if engine == "litert_ref":
            options["experimental_op_resolver_type"] = module.OpResolverType.BUILTIN_REF
        with engine_call(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tf.lite.Interpreter warns of its own removal
            self._interpreter = module.Interpreter(**options)
            self._interpreter.allocate_tensors()
        given = self._interpreter.get_input_details()
        free = all(_free_batch(d) for d in given)
        self._batch = 1 if free else int(given[0]["shape"][0]) if len(given[0]["shape"]) else 1
        self._resizable = free
        self.inputs = [_lite_info(d, free) for d in given]
        self.outputs = [_lite_info(d, free) for d in self._interpreter.get_output_details()]
        self._in = [int(d["index"]) for d in given]
        self._out = [int(d["index"]) for d in self._interpreter.get_output_details()]

    def tensor(self, index: int) -> Array:
        result: Array = self._interpreter.get_tensor(index)
        return result

    def _run_batch(self, arrays: list[Array]) -> list[Array]:
        count = int(arrays[0].shape[0])
        if count != self._batch and self._resizable and not self._resize(arrays, count):
            self._resizable = False
            self._resize([a[:1] for a in arrays], 1)
        if count == self._batch:
            return self._invoke(arrays)
        if self._batch != 1:
            raise DataShapeError("inputs", f"{count} inputs", allowed=f"multiples of {self._batch}")
        singles = [self._invoke([a[i : i + 1] for a in arrays]) for i in range(count)]
        return [np.concatenate(column) for column in zip(*singles, strict=True)]

    def _resize(self, arrays: list[Array], count: int) -> bool:
        """Resize the graph; False where a constant inside (a RESHAPE) does not allow it."""
        try:
            for index, array in zip(self._in, arrays, strict=True):
                self._interpreter.resize_tensor_input(index, array.shape)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError):
            return False
        self._batch = count
        return True

    def _invoke(self, arrays: list[Array]) -> list[Array]:
        for index, array in zip(self._in, arrays, strict=True):
            self._interpreter.set_tensor(index, np.ascontiguousarray(array))
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(i) for i in self._out]


_MICRO_ARENA = 16 << 20


class _MicroModel(TfliteModel):
    """The tflite-micro wheel: fixed shapes, no tensor names."""

    def __init__(self, module: Any, content: bytes):
        super().__init__()
        self.engine = "tflm"
        with engine_call():
            # the wheel's own choice, ten times the file, is too little for a cut behind few weights
            room = max(10 * len(content), _MICRO_ARENA)
            self._interpreter = module.Interpreter.from_bytes(content, arena_size=room)
        given, made = _end_names(content)
        take, give = self._interpreter.get_input_details, self._interpreter.get_output_details
        self.inputs = [_lite_info({**take(i), "name": n}, False) for i, n in enumerate(given)]
        self.outputs = [_lite_info({**give(i), "name": n}, False) for i, n in enumerate(made)]

    def _run_batch(self, arrays: list[Array]) -> list[Array]:
        for i, array in enumerate(arrays):
            self._interpreter.set_input(np.ascontiguousarray(array), i)
        self._interpreter.invoke()
        return [np.array(self._interpreter.get_output(i)) for i in range(len(self.outputs))]


def _end_names(content: bytes) -> tuple[list[str], list[str]]:
    """Names of the inputs and outputs; one of each where no schema module is installed."""
    try:
        graph = tflite_schema().ModelT.InitFromPackedBuf(content, 0).subgraphs[0]
    except MissingExtraError:
        return ["input"], ["output"]
    names = [(t.name or b"").decode("utf-8", "replace") for t in graph.tensors]
    return [names[i] for i in graph.inputs], [names[i] for i in graph.outputs]


def _free_batch(details: dict[str, Any]) -> bool:
    signature = details.get("shape_signature", ())
    return len(signature) > 0 and int(signature[0]) == -1


def _lite_info(details: dict[str, Any], free: bool) -> TensorInfo:
    shape = tuple(int(d) for d in details["shape"])
    parameters = details["quantization_parameters"]
    scales = parameters["scales"]
    return TensorInfo(
        str(details["name"]),
        (-1, *shape[1:]) if free else shape,
        np.dtype(details["dtype"]),
        float(scales[0]) if len(scales) == 1 else 0.0,
        int(parameters["zero_points"][0]) if len(scales) == 1 else 0,
    )


_MODULES: dict[Engine, str] = {
    "litert": "ai_edge_litert.interpreter",
    "litert_ref": "ai_edge_litert.interpreter",
    "tensorflow": "tensorflow.lite.python.interpreter",
    "tflite_runtime": "tflite_runtime.interpreter",
    "tflm": "tflite_micro.python.tflite_micro.runtime",
}


def open_tflite(
    path_or_bytes: str | Path | bytes,
    *,
    engine: Engine = "auto",
    threads: int = 1,
    preserve_tensors: bool = False,
) -> TfliteModel:
    """Open a ``.tflite``. ``auto`` takes the first engine that is installed.

    Raises MissingExtraError (no engine), ModelFileError, ModelLoadError, OptionError.
    """
    if engine not in get_args(Engine):
        raise OptionError("engine", repr(engine), allowed=", ".join(get_args(Engine)))
    where = "model" if isinstance(path_or_bytes, bytes) else str(path_or_bytes)
    content = (
        path_or_bytes if isinstance(path_or_bytes, bytes) else read_model_bytes(Path(path_or_bytes))
    )
    if content[4:8] != b"TFL3":
        raise ModelLoadError(where, "not a .tflite file (no TFL3 identifier)")
    name, module = _first_engine(engine)
    try:
        if name == "tflm":
            return _MicroModel(module, content)
        return _LiteModel(module, name, content, threads, preserve_tensors)
    except (RuntimeError, ValueError) as error:
        raise ModelLoadError(where, f"{name} refuses it: {one_line(error)}") from error


def _first_engine(engine: Engine) -> tuple[Engine, Any]:
    if engine != "auto":
        return engine, quiet_import(_MODULES[engine], _remedy(engine))
    for name in _AUTO:
        with contextlib.suppress(MissingExtraError):
            return name, quiet_import(_MODULES[name], _EXTRA)
    raise MissingExtraError("engine", f"none of {', '.join(_AUTO)} installed", remedy=_EXTRA)


def _remedy(engine: Engine) -> str:
    extra = {"tflm": "pip install tflite-micro", "tflite_runtime": "pip install tflite-runtime"}
    return extra.get(engine, _EXTRA)


class OnnxModel(InferenceModel):
    """An ``.onnx`` in ONNX Runtime. Made by :func:`open_onnx`."""

    engine = "onnxruntime"

    def __init__(self, session: Any, own_errors: tuple[type[Exception], ...] = ()):
        super().__init__()
        self._own_errors = own_errors
        self._session = session
        self.inputs = [_onnx_info(i) for i in session.get_inputs()]
        self.outputs = [_onnx_info(o) for o in session.get_outputs()]

    def _run_batch(self, arrays: list[Array]) -> list[Array]:
        feed = {i.name: a for i, a in zip(self.inputs, arrays, strict=True)}
        return [np.asarray(r) for r in self._session.run(None, feed)]


def _onnx_info(value: Any) -> TensorInfo:
    types = {"float": "float32", "double": "float64"}
    inner = value.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(d if isinstance(d, int) else -1 for d in value.shape)
    return TensorInfo(value.name, shape, np.dtype(types.get(inner, inner)))


def open_onnx(path_or_bytes: str | Path | bytes, *, threads: int = 1) -> OnnxModel:
    """Open an ``.onnx`` (float). Raises MissingExtraError, ModelFileError, ModelLoadError."""
    where = "model" if isinstance(path_or_bytes, bytes) else str(path_or_bytes)
    content = (
        path_or_bytes if isinstance(path_or_bytes, bytes) else read_model_bytes(Path(path_or_bytes))
    )
    ort = quiet_import("onnxruntime", "pip install onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what fails is raised
    own_errors = _onnx_errors(ort)
    try:
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except own_errors as error:
        raise ModelLoadError(where, f"onnxruntime refuses it: {one_line(error)}") from error
    return OnnxModel(session, own_errors)


def _onnx_errors(ort: Any) -> tuple[type[Exception], ...]:
    """ONNX Runtime's own exceptions, which derive from Exception alone, and the plain ones."""
    state = ort.capi.onnxruntime_pybind11_state
    names = (
        "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "NoModel",
        "NoSuchFile", "RuntimeException",
    )  # fmt: skip
    own = [getattr(state, n) for n in names if hasattr(state, n)]
    return (RuntimeError, ValueError, *own)


class KerasModel(InferenceModel):
    """A Keras model of one input and one output. Made by :func:`open_keras`."""

    engine = "keras"

    def __init__(self, model: Any):
        super().__init__()
        tensorflow = sys.modules.get("tensorflow")  # there where it is Keras's backend
        if tensorflow is not None:
            self._own_errors = (tensorflow.errors.OpError,)
        self._model = model
        self.inputs = [_keras_info(t) for t in model.inputs]
        self.outputs = [_keras_info(t) for t in model.outputs]

    def _run_batch(self, arrays: list[Array]) -> list[Array]:
        tensors = {id(t): a for t, a in zip(self._model.inputs, arrays, strict=True)}
        given = _like(self._model.input, tensors)
        result = self._model(given, training=False)
        parts = result if isinstance(result, list | tuple) else [result]
        return [np.asarray(p) for p in parts]


def _like(structure: Any, tensors: dict[int, Array]) -> Any:
    """The arrays in the structure (tensor, list or dict) in which the model names its inputs."""
    if isinstance(structure, list | tuple):
        return [_like(s, tensors) for s in structure]
    if isinstance(structure, dict):
        return {key: _like(s, tensors) for key, s in structure.items()}
    return tensors[id(structure)]


def _keras_info(tensor: Any) -> TensorInfo:
    shape = tuple(-1 if d is None else int(d) for d in tensor.shape)
    return TensorInfo(str(tensor.name), shape, np.dtype(tensor.dtype))


def open_keras(path: str | Path) -> KerasModel:
    """Open a ``.keras`` or ``.h5`` without running code kept in it (``safe_mode`` stays on).

    Raises MissingExtraError, ModelFileError, ModelLoadError.
    """
    read_model_bytes(Path(path), 1)
    keras = quiet_import("keras", 'pip install "isthmus[generate]"')
    try:
        model = keras.models.load_model(str(path), compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError, OSError) as error:
        raise ModelLoadError(str(path), f"Keras refuses it: {one_line(error)}") from error
    return KerasModel(model)


def tflite_schema() -> Any:
    """The generated flatbuffer schema module (``ModelT`` and the enumerations)."""
    for package in ("ai_edge_litert", "tensorflow.lite.python"):
        with contextlib.suppress(MissingExtraError):
            return quiet_import(f"{package}.schema_py_generated", _EXTRA)
    raise MissingExtraError("tflite schema", "ai-edge-litert not installed", remedy=_EXTRA)
