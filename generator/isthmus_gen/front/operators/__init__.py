"""The operator table: one line an operator.

To add one, write its kernel in ``templates/kernels``, a ``lower_*`` function that checks the
operator and fills in the kernel's parameters, and a line here.
"""

from __future__ import annotations

from isthmus_gen.front.operators.base import OperatorRow, Request
from isthmus_gen.front.operators.binary import (
    lower_add,
    lower_maximum,
    lower_minimum,
    lower_mul,
    lower_prelu,
    lower_sub,
)
from isthmus_gen.front.operators.copies import (
    lower_batches,
    lower_concatenation,
    lower_depth_to_space,
    lower_pack,
    lower_slice,
    lower_space_to_depth,
    lower_split,
    lower_split_v,
    lower_strided_slice,
    lower_tile,
    lower_transpose,
    lower_unpack,
)
from isthmus_gen.front.operators.resize import lower_resize_bilinear, lower_resize_nearest
from isthmus_gen.front.operators.shape import (
    lower_average_pool,
    lower_max_pool,
    lower_mean,
    lower_pad,
    lower_reduce_max,
    lower_reshape,
    lower_softmax,
)
from isthmus_gen.front.operators.transpose_conv import lower_transpose_conv
from isthmus_gen.front.operators.unary import (
    lower_hard_swish,
    lower_leaky_relu,
    lower_logistic,
    lower_quantize,
    lower_relu,
    lower_relu6,
    lower_relu_0_to_1,
    lower_relu_n1_to_1,
    lower_tanh,
)
from isthmus_gen.front.operators.weights import lower_conv, lower_dense, lower_depthwise

__all__ = ["OPERATORS", "OperatorRow", "Request"]

_ROWS = (
    OperatorRow("ADD", "AddAdd", lower_add),
    OperatorRow("AVERAGE_POOL_2D", "AddAveragePool2D", lower_average_pool),
    OperatorRow("BATCH_TO_SPACE_ND", "AddBatchToSpaceNd", lower_batches),
    OperatorRow("CONCATENATION", "AddConcatenation", lower_concatenation),
    OperatorRow("CONV_2D", "AddConv2D", lower_conv),
    OperatorRow("DEPTHWISE_CONV_2D", "AddDepthwiseConv2D", lower_depthwise),
    OperatorRow("DEPTH_TO_SPACE", "AddDepthToSpace", lower_depth_to_space),
    OperatorRow("EXPAND_DIMS", "AddExpandDims", lower_reshape),
    OperatorRow("FULLY_CONNECTED", "AddFullyConnected", lower_dense),
    OperatorRow("HARD_SWISH", "AddHardSwish", lower_hard_swish),
    OperatorRow("LEAKY_RELU", "AddLeakyRelu", lower_leaky_relu),
    OperatorRow("LOGISTIC", "AddLogistic", lower_logistic),
    OperatorRow("MAXIMUM", "AddMaximum", lower_maximum),
    OperatorRow("MAX_POOL_2D", "AddMaxPool2D", lower_max_pool),
    OperatorRow("MEAN", "AddMean", lower_mean),
    OperatorRow("MINIMUM", "AddMinimum", lower_minimum),
    OperatorRow("MUL", "AddMul", lower_mul),
    OperatorRow("PACK", "AddPack", lower_pack),
    OperatorRow("PAD", "AddPad", lower_pad),
    OperatorRow("PADV2", "AddPadV2", lower_pad),
    OperatorRow("PRELU", "AddPrelu", lower_prelu),
    OperatorRow("QUANTIZE", "AddQuantize", lower_quantize),
    OperatorRow("REDUCE_MAX", "AddReduceMax", lower_reduce_max),
    OperatorRow("RELU", "AddRelu", lower_relu),
    OperatorRow("RELU6", "AddRelu6", lower_relu6),
    OperatorRow("RELU_0_TO_1", "", lower_relu_0_to_1),
    OperatorRow("RELU_N1_TO_1", "", lower_relu_n1_to_1),
    OperatorRow("RESHAPE", "AddReshape", lower_reshape),
    OperatorRow("RESIZE_BILINEAR", "AddResizeBilinear", lower_resize_bilinear),
    OperatorRow("RESIZE_NEAREST_NEIGHBOR", "AddResizeNearestNeighbor", lower_resize_nearest),
    OperatorRow("SLICE", "AddSlice", lower_slice),
    OperatorRow("SOFTMAX", "AddSoftmax", lower_softmax),
    OperatorRow("SPACE_TO_BATCH_ND", "AddSpaceToBatchNd", lower_batches),
    OperatorRow("SPACE_TO_DEPTH", "AddSpaceToDepth", lower_space_to_depth),
    OperatorRow("SPLIT", "AddSplit", lower_split),
    OperatorRow("SPLIT_V", "AddSplitV", lower_split_v),
    OperatorRow("SQUEEZE", "AddSqueeze", lower_reshape),
    OperatorRow("STRIDED_SLICE", "AddStridedSlice", lower_strided_slice),
    OperatorRow("SUB", "AddSub", lower_sub),
    OperatorRow("TANH", "AddTanh", lower_tanh),
    OperatorRow("TILE", "", lower_tile),
    OperatorRow("TRANSPOSE", "AddTranspose", lower_transpose),
    OperatorRow("TRANSPOSE_CONV", "AddTransposeConv", lower_transpose_conv),
    OperatorRow("UNPACK", "AddUnpack", lower_unpack),
)

OPERATORS: dict[str, OperatorRow] = {row.name: row for row in _ROWS}
