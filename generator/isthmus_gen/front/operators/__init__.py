"""The operator table: one line an operator.

To add one, write its kernel in ``templates/kernels``, a ``lower_*`` function that checks the
operator and fills in the kernel's parameters, and a line here.
"""

from __future__ import annotations

from isthmus_gen.front.operators.base import OperatorRow, Request
from isthmus_gen.front.operators.elementwise import (
    lower_add,
    lower_quantize,
    lower_relu,
    lower_relu6,
)
from isthmus_gen.front.operators.shape import (
    lower_average_pool,
    lower_max_pool,
    lower_mean,
    lower_pad,
    lower_reshape,
    lower_softmax,
)
from isthmus_gen.front.operators.weights import lower_conv, lower_dense, lower_depthwise

__all__ = ["OPERATORS", "OperatorRow", "Request"]

_ROWS = (
    OperatorRow("ADD", "AddAdd", lower_add),
    OperatorRow("AVERAGE_POOL_2D", "AddAveragePool2D", lower_average_pool),
    OperatorRow("CONV_2D", "AddConv2D", lower_conv),
    OperatorRow("DEPTHWISE_CONV_2D", "AddDepthwiseConv2D", lower_depthwise),
    OperatorRow("FULLY_CONNECTED", "AddFullyConnected", lower_dense),
    OperatorRow("MAX_POOL_2D", "AddMaxPool2D", lower_max_pool),
    OperatorRow("MEAN", "AddMean", lower_mean),
    OperatorRow("PAD", "AddPad", lower_pad),
    OperatorRow("QUANTIZE", "AddQuantize", lower_quantize),
    OperatorRow("RELU", "AddRelu", lower_relu),
    OperatorRow("RELU6", "AddRelu6", lower_relu6),
    OperatorRow("RESHAPE", "AddReshape", lower_reshape),
    OperatorRow("SOFTMAX", "AddSoftmax", lower_softmax),
)

OPERATORS: dict[str, OperatorRow] = {row.name: row for row in _ROWS}
