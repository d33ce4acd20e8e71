"""The one place where TensorFlow's converter is called.

``tf.lite`` leaves TensorFlow some day; whatever replaces it is put in here. Every file that leaves
this module is rewritten by ``write_part``: no version metadata, no names that depend on what the
process did before, so the same network gives the same bytes.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import ModelLoadError, ModelOperatorError
from isthmus.optional import one_line, quiet_import, quiet_stderr
from isthmus_gen.models.flatbuffer import operator_kind, parse, write_part

__all__ = ["int8_obstacle", "keras_to_tflite", "quantize_tflite", "saved_model_to_tflite"]

# Operators with graphs or state of their own. On these TensorFlow's calibrator does not raise an
# error but ends the process (a segmentation fault in 2.21), so they are looked for beforehand.
_NOT_CALIBRATED = {
    "WHILE", "IF", "CALL", "CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE",
    "LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM",
    "RNN", "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN", "SVDF",
}  # fmt: skip

_EXTRA = 'pip install "isthmus[generate]"'

Inputs = Sequence[npt.NDArray[np.float32]]


def int8_obstacle(content: bytes) -> str:
    """Why a float ``.tflite`` must not be given to the int8 conversion; empty where it may be."""
    model = parse(content, "model")
    found: dict[str, None] = {}
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            kind = operator_kind(model, operator)
            state = any(i >= 0 and subgraph.tensors[i].isVariable for i in operator.inputs)
            if kind in _NOT_CALIBRATED or kind.startswith("STABLEHLO_") or state:
                found[kind] = None
    if not found:
        return ""
    return f"no int8 form of the front half: the operator {', '.join(found)} cannot be quantised"


def keras_to_tflite(
    model: Any, *, input_name: str, output_name: str, representative: Inputs | None = None
) -> bytes:
    """A Keras model of one input and one output as float ``.tflite``, or full int8.

    With ``representative`` inputs [1, ...] the result takes and gives int8; the float form must
    then be free of ``int8_obstacle``. Raises ModelOperatorError.
    """
    lite = _lite()
    converter = lite.TFLiteConverter.from_keras_model(model)
    if representative is not None:
        tensorflow = quiet_import("tensorflow", _EXTRA)
        converter.optimizations = [lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([x] for x in representative)
        converter.target_spec.supported_ops = [lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tensorflow.int8
        converter.inference_output_type = tensorflow.int8
    content = _converted(converter.convert, "model")
    return _canonical(content, input_name, output_name)


def saved_model_to_tflite(path: Path) -> bytes:
    """The default signature of a SavedModel folder as float ``.tflite``. Raises ModelLoadError."""
    try:
        with _quietly():
            converter = _lite().TFLiteConverter.from_saved_model(str(path))
            content = bytes(converter.convert())
    except _converter_errors(OSError, KeyError) as error:
        raise ModelLoadError(
            str(path),
            f"cannot be converted: {one_line(error)}",
            remedy="export it again with model.export(DIR), one input, one output",
        ) from error
    subgraph = parse(content, str(path)).subgraphs[0]
    return write_part(
        content, [int(i) for i in subgraph.inputs], [int(i) for i in subgraph.outputs]
    )


def quantize_tflite(
    content: bytes, representative: Inputs, *, input_name: str, output_name: str
) -> bytes:
    """A float ``.tflite`` as full int8: TensorFlow's calibrator and quantiser on the flatbuffer.

    These are the two steps that ``TFLiteConverter`` itself takes after conversion; they need no
    Keras model. Raises ModelOperatorError where an operator has no int8 form.
    """
    obstacle = int8_obstacle(content)
    if obstacle:
        raise ModelOperatorError("model", obstacle, remedy="cut before it")
    calibrator = quiet_import("tensorflow.lite.python.optimize.calibrator", _EXTRA)
    convert = quiet_import("tensorflow.lite.python.convert", _EXTRA)
    tensorflow = quiet_import("tensorflow", _EXTRA)

    def run() -> Any:
        prepared = calibrator.add_intermediate_tensors(content)
        calibrated = calibrator.Calibrator(prepared).calibrate(
            lambda: ([x] for x in representative)
        )
        return convert.mlir_quantize(
            calibrated, input_data_type=tensorflow.int8, output_data_type=tensorflow.int8
        )

    return _canonical(_converted(run, "model"), input_name, output_name)


def _canonical(content: bytes, input_name: str, output_name: str) -> bytes:
    """The same network without metadata and with names of our own for its two ends."""
    subgraph = parse(content, "model").subgraphs[0]
    given, result = int(subgraph.inputs[0]), int(subgraph.outputs[0])
    return write_part(content, [given], [result], rename={given: input_name, result: output_name})


def _converted(step: Callable[[], Any], where: str) -> bytes:
    try:
        with _quietly():
            return bytes(step())
    except _converter_errors() as error:
        named = re.search(r"(?:Custom|TF Select|Flex) ops: ([^\n]+)", str(error))
        what = f"operator {named[1].strip()}" if named else one_line(error)
        raise ModelOperatorError(where, f"the converter refuses it: {what}") from error


def _lite() -> Any:
    return quiet_import("tensorflow", _EXTRA).lite


def _converter_errors(*more: type[Exception]) -> tuple[type[Exception], ...]:
    own: type[Exception] = quiet_import(
        "tensorflow.lite.python.convert_phase", _EXTRA
    ).ConverterError
    return (own, ValueError, RuntimeError, NotImplementedError, *more)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """The converter prints to both streams and warns of TensorFlow's own future.

    All of it is dropped: what matters of it comes again as the text of an exception.
    """
    with (
        quiet_stderr(everything=True),
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
