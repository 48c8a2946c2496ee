"""Would the Edge TPU compiler map every operator? Read from the file: the compiler runs on few machines.

Rules: coral.ai "TensorFlow models on the Edge TPU" (operator table of compiler 16), and what the 2021
compiler can parse. A clean answer is a necessary condition, not a proof: not tried on hardware.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]  # ships no types

from glancein_convert import repair
from glancein_convert.errors import ConversionError

EDGE_TPU_OPERATORS = frozenset(
    {
        "ADD",
        "AVERAGE_POOL_2D",
        "CONCATENATION",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "EXPAND_DIMS",
        "FULLY_CONNECTED",
        "L2_NORMALIZATION",
        "LOGISTIC",
        "LSTM",
        "MAXIMUM",
        "MAX_POOL_2D",
        "MEAN",
        "MINIMUM",
        "MUL",
        "PACK",
        "PAD",
        "PRELU",
        "QUANTIZE",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "RELU",
        "RELU6",
        "RELU_N1_TO_1",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "RSQRT",
        "SLICE",
        "SOFTMAX",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SQUARED_DIFFERENCE",
        "SQUEEZE",
        "STRIDED_SLICE",
        "SUB",
        "SUM",
        "TANH",
        "TRANSPOSE",
        "TRANSPOSE_CONV",
    }
)
IDENTIFIER = b"TFL3"
SRAM_BYTES = 8 << 20
WIDE_DIMENSIONS = 3
PER_CHANNEL = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
# These must not change the quantisation between input and output.
PASS_THROUGH = frozenset({"PAD", "RESHAPE", "MAX_POOL_2D", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "SQUEEZE"})


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of the graph and why it could not be mapped; no reasons means it could."""

    index: int
    name: str
    version: int
    output_shape: tuple[int, ...]
    macs: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preflight:
    """The verdict on a file."""

    operators: tuple[Operator, ...]
    parameter_bytes: int
    problems: tuple[str, ...] = field(default=())

    @property
    def maps_everything(self) -> bool:
        """True if nothing was found that keeps an operator off the Edge TPU."""
        return not self.problems and all(not operator.reasons for operator in self.operators)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one picture."""
        return sum(operator.macs for operator in self.operators)


def check(path: Path) -> Preflight:
    """Check an int8 file operator by operator. Raises ConversionError if it is no TFLite file."""
    try:
        raw = path.read_bytes()
    except OSError as err:
        raise ConversionError(f"cannot read {path}: {err.strerror}") from err
    if raw[4:8] != IDENTIFIER:
        raise ConversionError(f"{path} is no TFLite file")
    try:
        model = repair.read(raw)
    except (struct.error, ValueError, IndexError, TypeError, AttributeError) as err:
        raise ConversionError(f"{path} is a damaged TFLite file: convert it again") from err
    graph = model.subgraphs[0]
    problems = []
    if len(model.subgraphs) != 1:
        problems.append(f"{len(model.subgraphs)} subgraphs, the compiler takes one")
    if any(buffer.size for buffer in model.buffers):
        problems.append("weights in external buffers, unknown to the compiler: repair the file")
    parameters = sum(0 if buffer.data is None else len(buffer.data) for buffer in model.buffers)
    if parameters > SRAM_BYTES:
        problems.append(f"{parameters} bytes of parameters do not fit the 8 MiB on the chip")
    operators = tuple(_check_operator(model, graph, i, op) for i, op in enumerate(graph.operators))
    return Preflight(operators, parameters, tuple(problems))


def _check_operator(model: Any, graph: Any, index: int, operator: Any) -> Operator:  # generated schema
    code = model.operatorCodes[operator.opcodeIndex]
    name = repair.operator_name(code)
    inputs = [graph.tensors[i] for i in operator.inputs if i >= 0]
    outputs = [graph.tensors[i] for i in operator.outputs]
    reasons = [
        *_operator_reasons(name, code),
        *(reason for tensor in (*inputs[:1], *outputs) for reason in _activation_reasons(tensor)),
        *_weight_reasons(name, inputs),
        *_scale_reasons(name, inputs, outputs),
    ]
    shape = tuple(int(n) for n in outputs[0].shape)
    return Operator(
        index, name, int(code.version), shape, _macs(name, inputs, shape), tuple(dict.fromkeys(reasons))
    )


def _operator_reasons(name: str, code: Any) -> list[str]:  # generated schema
    if name not in EDGE_TPU_OPERATORS:
        return [f"{name} is not in the Edge TPU's operator table"]
    reasons = []
    known = repair.INT8_VERSIONS.get(name)
    if known is not None and code.version > max(known, 3 if "RESIZE" in name else known):
        reasons.append(f"version {code.version} is newer than {known}")
    if code.deprecatedBuiltinCode not in {code.builtinCode, repair.PLACEHOLDER_CODE}:
        reasons.append("the old operator code is missing")
    return reasons


def _activation_reasons(tensor: Any) -> list[str]:  # generated schema
    reasons = []
    if tensor.type not in {schema.TensorType.INT8, schema.TensorType.UINT8}:
        reasons.append("not int8")
    if tensor.shapeSignature is not None and any(n < 0 for n in tensor.shapeSignature):
        reasons.append("dynamic shape")
    if sum(n > 1 for n in tensor.shape) > WIDE_DIMENSIONS:
        reasons.append("more than three dimensions above 1")
    quantisation = tensor.quantization
    if quantisation is None or quantisation.scale is None or len(quantisation.scale) != 1:
        reasons.append("not quantised per tensor")
    return reasons


def _weight_reasons(name: str, inputs: list[Any]) -> list[str]:
    if name not in PER_CHANNEL | {"FULLY_CONNECTED"}:
        return []
    weights, bias = inputs[1], inputs[2] if len(inputs) > 2 else None  # picture, weights, bias
    quantisation = weights.quantization
    if weights.type != schema.TensorType.INT8 or quantisation is None or quantisation.scale is None:
        return ["weights are not int8"]
    reasons = []
    if np.any(np.asarray(quantisation.zeroPoint) != 0):
        reasons.append("weights are not symmetric")
    if name == "FULLY_CONNECTED" and len(quantisation.scale) > 1:
        reasons.append("per-channel FULLY_CONNECTED weights are newer than the compiler")
    if bias is None:
        reasons.append("no bias")
    elif bias.type != schema.TensorType.INT32:
        reasons.append("bias is not int32")
    return reasons


def _scale_reasons(name: str, inputs: list[Any], outputs: list[Any]) -> list[str]:
    if name not in PASS_THROUGH:
        return []
    before, after = inputs[0].quantization, outputs[0].quantization
    if before is None or after is None or before.scale is None or after.scale is None:
        return []
    same = before.scale[0] == after.scale[0] and before.zeroPoint[0] == after.zeroPoint[0]
    return [] if same else [f"{name} changes the quantisation"]


def _macs(name: str, inputs: list[Any], shape: tuple[int, ...]) -> int:
    if name not in PER_CHANNEL | {"FULLY_CONNECTED"}:
        return 0
    weights = [int(n) for n in inputs[1].shape]
    return int(np.prod(shape[:-1])) * int(np.prod(weights))  # weights hold the output channels too
