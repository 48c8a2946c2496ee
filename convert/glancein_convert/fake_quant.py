"""The int8 network as a PyTorch module with the kernels' own arithmetic, bit for bit, that can be trained.

Built from the converter's float file (weights) and int8 file (structure, scales): activations travel as
whole int8 steps in float tensors, weights are rounded as the quantiser rounds them, sums are exact, and
requantisation is XNNPACK's (one float32 product, rounded to even) or that of TFLite's reference kernels
(fixed point, rounded twice). Rounding passes gradients straight through (Bengio, Leonard and Courville 2013;
Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]  # ships no types
from numpy.typing import NDArray
from torch import Tensor, nn

from glancein_convert import repair
from glancein_convert.errors import ConversionError

Kernels = Literal["xnnpack", "reference"]
LOWEST, HIGHEST = -128, 127
LARGEST_WEIGHT = 127
SMALLEST_BOUND = 1e-9  # of a channel's weights, so that no scale is zero: the quantiser's own number


@dataclass(frozen=True, slots=True)
class Steps:
    """How one activation is stored: real = scale * (step - zero_point)."""

    scale: np.float32
    zero_point: int


@dataclass(frozen=True, slots=True)
class Operation:
    """One operator: which tensors it reads and writes, and what it needs to know beside weights."""

    name: str
    inputs: tuple[int, ...]
    output: int
    relu: bool = False
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    same: bool = False
    padding: tuple[int, ...] = ()  # as F.pad wants it
    shape: tuple[int, ...] = ()  # of a reshape's output, channel last


class FakeQuantised(nn.Module):
    """Pictures in int8 steps (n, 3, h, w) -> every output of the file in int8 steps, channels first.

    Knows CONV_2D, ADD, PAD and RESHAPE, all that our networks consist of. ``weights`` and ``biases`` are the
    float file's, in the order of the convolutions. Raises ConversionError for any other operator.
    """

    def __init__(self, float_raw: bytes, int8_raw: bytes, *, kernels: Kernels = "xnnpack") -> None:
        super().__init__()
        exact, rough = repair.read(repair.inlined(float_raw)), repair.read(repair.inlined(int8_raw))
        graph = rough.subgraphs[0]
        if len(graph.operators) != len(exact.subgraphs[0].operators):
            raise ConversionError("the float and the int8 file are not of one network")
        self.kernels: Kernels = kernels
        self.operations = [_operation(rough, operator) for operator in graph.operators]
        self.stored = {
            index: _steps(tensor) for index, tensor in enumerate(graph.tensors) if _is_int8(tensor)
        }
        self.entry = int(graph.inputs[0])
        self.outputs = [int(index) for index in graph.outputs]
        pairs = [constants(exact, operator) for operator in exact.subgraphs[0].operators]
        found = [pair for pair in pairs if pair is not None]
        self.weights = nn.ParameterList(torch.from_numpy(w.transpose(0, 3, 1, 2).copy()) for w, _ in found)
        self.biases = nn.ParameterList(torch.from_numpy(b.copy()) for _, b in found)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Outputs in steps; sums are exact below 2**24 in float32 and always in float64."""
        return self._run(pixels, exact=False)

    def exactly(self, pixels: Tensor) -> list[Tensor]:
        """The float network's outputs, real values, for the same steps of pixels."""
        return self._run(pixels, exact=True)

    def real(self, outputs: list[Tensor]) -> list[Tensor]:
        """Real values of outputs in steps."""
        kept = [self.stored[index] for index in self.outputs]
        return [(y - k.zero_point) * float(k.scale) for y, k in zip(outputs, kept, strict=True)]

    def sums(self, pixels: Tensor, *, exact: bool) -> list[Tensor]:
        """(channels,) mean of each convolution's sums over pictures and places, real values."""
        seen: list[Tensor] = []
        self._run(pixels, exact=exact, seen=seen)
        return seen

    def _run(self, pixels: Tensor, *, exact: bool, seen: list[Tensor] | None = None) -> list[Tensor]:
        values = {self.entry: pixels / 128 if exact else pixels}
        number = 0
        for operation in self.operations:
            taken = [values[index] for index in operation.inputs if index in values]
            match operation.name:
                case "CONV_2D":
                    act = self._convolve_exactly if exact else self._convolve
                    out, mean = act(operation, taken[0], self.weights[number], self.biases[number])
                    number += 1
                    if seen is not None:
                        seen.append(mean)
                case "ADD":
                    out = taken[0] + taken[1] if exact else self._add(operation, taken[0], taken[1])
                    out = F.relu(out) if exact and operation.relu else out
                case "PAD":
                    zero = 0 if exact else self.stored[operation.output].zero_point
                    out = F.pad(taken[0], operation.padding, value=zero)
                case _:
                    out = taken[0].permute(0, 2, 3, 1).reshape(len(pixels), *operation.shape[1:])
            values[operation.output] = out
        return [values[index] for index in self.outputs]

    def _convolve_exactly(
        self, operation: Operation, values: Tensor, weights: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        out = _convolution(operation, values, weights) + bias[:, None, None]
        return F.relu(out) if operation.relu else out, out.mean((0, 2, 3))

    def _convolve(
        self, operation: Operation, values: Tensor, weights: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        before, after = self.stored[operation.inputs[0]], self.stored[operation.output]
        scales = weight_scales(weights)
        # The quantiser divides in float32, whatever the parameters' type.
        steps = _rounded(weights / scales[:, None, None, None].to(weights.dtype))
        steps = steps.clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT)
        sum_scales = scales * torch.tensor(before.scale)
        offsets = _rounded(bias / sum_scales.to(bias.dtype))
        sums = _convolution(operation, values - before.zero_point, steps) + offsets[:, None, None]
        factors = sum_scales / torch.tensor(after.scale)
        smooth = sums * factors[:, None, None].to(sums.dtype)
        with torch.no_grad():
            exact = _requantised(sums, factors, (before.scale, scales, after.scale), self.kernels)
        out = _straight_through(smooth, exact) + after.zero_point
        mean = (sums * sum_scales[:, None, None].to(sums.dtype)).mean((0, 2, 3))
        return out.clamp(after.zero_point if operation.relu else LOWEST, HIGHEST), mean

    def _add(self, operation: Operation, left: Tensor, right: Tensor) -> Tensor:
        one, two = (self.stored[index] for index in operation.inputs[:2])
        after = self.stored[operation.output]
        smooth = (left - one.zero_point) * float(one.scale / after.scale)
        smooth = smooth + (right - two.zero_point) * float(two.scale / after.scale)
        with torch.no_grad():
            added = _added_by_xnnpack if self.kernels == "xnnpack" else _added_by_reference
            exact = added(left.long(), right.long(), one, two, after).to(smooth.dtype)
        out = _straight_through(smooth, exact) + after.zero_point
        return out.clamp(after.zero_point if operation.relu else LOWEST, HIGHEST)


def weight_scales(weights: Tensor) -> Tensor:
    """(channels,) float32: the largest weight of each output channel becomes 127 steps. No gradient."""
    largest = weights.detach().float().abs().amax((1, 2, 3))
    return largest.clamp(min=SMALLEST_BOUND) / LARGEST_WEIGHT


def constants(model: Any, operator: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Weights (out, h, w, in) and bias of a float convolution; None for other operators. Generated schema."""
    if repair.operator_name(model.operatorCodes[operator.opcodeIndex]) != "CONV_2D":
        return None
    tensors = [model.subgraphs[0].tensors[index] for index in operator.inputs[1:3]]
    weights, bias = (
        np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32).reshape(tensor.shape)
        for tensor in tensors
    )
    return weights, bias


def with_parameters(float_raw: bytes, module: FakeQuantised) -> bytes:
    """The float file with the module's weights and biases in place of its own."""
    model = repair.read(repair.inlined(float_raw))
    graph = model.subgraphs[0]
    names = (repair.operator_name(model.operatorCodes[o.opcodeIndex]) for o in graph.operators)
    convolutions = [o for name, o in zip(names, graph.operators, strict=True) if name == "CONV_2D"]
    for operator, weights, bias in zip(convolutions, module.weights, module.biases, strict=True):
        for index, values in ((1, weights.permute(0, 2, 3, 1)), (2, bias)):
            tensor = graph.tensors[operator.inputs[index]]
            content = values.detach().float().contiguous().numpy().tobytes()
            model.buffers[tensor.buffer].data = np.frombuffer(content, np.uint8)
    return repair.write(model)


def _convolution(operation: Operation, values: Tensor, weights: Tensor) -> Tensor:
    if operation.same:
        values = F.pad(values, _same_padding(operation, values, weights))
    return F.conv2d(values, weights, stride=operation.stride, dilation=operation.dilation)


def _same_padding(operation: Operation, values: Tensor, weights: Tensor) -> tuple[int, int, int, int]:
    sides = []
    for axis in (1, 0):  # F.pad begins with the last axis
        size, kernel = values.shape[2 + axis], weights.shape[2 + axis]
        stride, dilation = operation.stride[axis], operation.dilation[axis]
        missing = max(0, (math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
        sides += [missing // 2, missing - missing // 2]
    return sides[0], sides[1], sides[2], sides[3]


def _rounded(values: Tensor) -> Tensor:
    """To the nearest whole number, halves to even; the gradient passes straight through."""
    return _straight_through(values, values.detach().float().round().to(values.dtype))


def _straight_through(smooth: Tensor, exact: Tensor) -> Tensor:
    """The value of ``exact``, to the bit, with the gradient of ``smooth``."""
    return exact + (smooth - smooth.detach())


def _requantised(
    sums: Tensor, factors: Tensor, scales: tuple[np.float32, Tensor, np.float32], kernels: Kernels
) -> Tensor:
    """Sums times factors, rounded as the kernels round."""
    if kernels == "xnnpack":
        return (sums.float() * factors[:, None, None]).round().to(sums.dtype)
    before, weights, after = scales
    ratios = [float(before) * float(w) / float(after) for w in weights]
    fixed = torch.tensor([fixed_point(ratio) for ratio in ratios], dtype=torch.int64)
    multipliers, shifts = fixed[:, 0, None, None], fixed[:, 1, None, None]
    return multiply_fixed(sums.long(), multipliers, shifts).to(sums.dtype)


def fixed_point(ratio: float) -> tuple[int, int]:
    """(multiplier, shift): ratio = multiplier * 2 ** (shift - 31), multiplier of 31 bits."""
    fraction, exponent = math.frexp(ratio)
    multiplier = round(fraction * (1 << 31))  # halves cannot occur: 53 bits of a double, 31 wanted
    if multiplier == 1 << 31:
        multiplier, exponent = multiplier // 2, exponent + 1
    return (0, 0) if exponent < -31 else (multiplier, exponent)


def multiply_fixed(values: Tensor, multipliers: Tensor, shifts: Tensor) -> Tensor:
    """TFLite's MultiplyByQuantizedMultiplier: high product, then shift, each rounded, halves away from 0."""
    left, right = shifts.clamp(min=0), (-shifts).clamp(min=0)
    products = (values << left) * multipliers
    nudge = torch.where(products >= 0, 1 << 30, 1 - (1 << 30))
    high = torch.div(products + nudge, 1 << 31, rounding_mode="trunc")
    mask = (1 << right) - 1
    over = (high & mask) > (mask >> 1) + (high < 0).long()
    return (high >> right) + over.long()


def _added_by_xnnpack(left: Tensor, right: Tensor, one: Steps, two: Steps, after: Steps) -> Tensor:
    """XNNPACK's qs8-vadd, without the output's zero point: both inputs times 20-bit factors, one shift."""
    a, b = np.float32(one.scale / after.scale), np.float32(two.scale / after.scale)
    exponent = math.frexp(float(max(a, b)))[1] - 1
    shift = 20 - exponent
    first, second = (int(np.rint(ratio * np.float32(2.0**shift))) for ratio in (a, b))
    offset = (1 << (shift - 1)) - first * one.zero_point - second * two.zero_point
    return (offset + left * first + right * second) >> shift


def _added_by_reference(left: Tensor, right: Tensor, one: Steps, two: Steps, after: Steps) -> Tensor:
    """TFLite's reference int8 ADD, without the output's zero point: inputs on a common scale of 2**20."""
    twice = 2 * max(float(one.scale), float(two.scale))

    def scaled(values: Tensor, ratio: float) -> Tensor:
        multiplier, shift = fixed_point(ratio)
        return multiply_fixed(values, torch.tensor(multiplier), torch.tensor(shift))

    total = scaled((left - one.zero_point) << 20, float(one.scale) / twice)
    total = total + scaled((right - two.zero_point) << 20, float(two.scale) / twice)
    return scaled(total, twice / ((1 << 20) * float(after.scale)))


def _operation(model: Any, operator: Any) -> Operation:  # generated schema
    name = repair.operator_name(model.operatorCodes[operator.opcodeIndex])
    graph, options = model.subgraphs[0], operator.builtinOptions
    inputs, output = tuple(int(i) for i in operator.inputs), int(operator.outputs[0])
    fused = getattr(options, "fusedActivationFunction", schema.ActivationFunctionType.NONE)
    if fused not in {schema.ActivationFunctionType.NONE, schema.ActivationFunctionType.RELU}:
        raise ConversionError(f"{name} with an activation other than ReLU cannot be fake-quantised")
    relu = fused == schema.ActivationFunctionType.RELU
    match name:
        case "CONV_2D":
            return Operation(
                name, inputs, output, relu=relu,
                stride=(options.strideH, options.strideW),
                dilation=(options.dilationHFactor, options.dilationWFactor),
                same=options.padding == schema.Padding.SAME,
            )  # fmt: skip
        case "ADD":
            return Operation(name, inputs, output, relu=relu)
        case "PAD":
            return Operation(name, inputs, output, padding=_paddings(model, graph.tensors[inputs[1]]))
        case "RESHAPE":
            return Operation(name, inputs, output, shape=tuple(int(n) for n in graph.tensors[output].shape))
        case _:
            raise ConversionError(f"{name} cannot be fake-quantised: CONV_2D, ADD, PAD and RESHAPE can")


def _paddings(model: Any, tensor: Any) -> tuple[int, ...]:  # generated schema
    kind = np.int64 if tensor.type == schema.TensorType.INT64 else np.int32
    rows = np.frombuffer(bytes(model.buffers[tensor.buffer].data), kind).reshape(4, 2)
    return tuple(int(n) for row in (rows[2], rows[1]) for n in row)  # width, then height


def _is_int8(tensor: Any) -> bool:  # generated schema
    return bool(tensor.type == schema.TensorType.INT8 and len(tensor.quantization.scale) == 1)


def _steps(tensor: Any) -> Steps:  # generated schema
    return Steps(np.float32(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0]))
