"""One network as a float and as an int8 file, written without a converter: every operator that ours have.

pixels (1, 12, 16, 3) -> convolution, ReLU -> pad -> convolution, stride 2, ReLU = a
a -> convolution, ReLU -> convolution, dilation 2 = b;  a + b, ReLU = c
c -> convolution 1 x 1 = map (1, 6, 8, 4);  c -> convolution over the whole map -> reshape = vector (1, 16)
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers  # type: ignore[import-untyped]  # ships no types
import numpy as np
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]  # as above
from numpy.typing import NDArray

from glancein_convert import ranges

INPUT_SHAPE = (1, 12, 16, 3)
Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution: from tensor to tensor, shape of the weights (out, h, w, in)."""

    before: str
    after: str
    weights: tuple[int, int, int, int]
    stride: int = 1
    dilation: int = 1
    same: bool = True
    relu: bool = True


LAYERS = (
    Layer("pixels", "first", (8, 3, 3, 3)),
    Layer("padded", "a", (8, 3, 3, 8), stride=2, same=False),
    Layer("a", "inner", (6, 3, 3, 8)),
    Layer("inner", "b", (8, 3, 3, 6), dilation=2, relu=False),
    Layer("c", "map", (4, 1, 1, 8), relu=False),
    Layer("c", "flat", (16, 6, 8, 8), same=False, relu=False),
)
SHAPES = {
    "pixels": INPUT_SHAPE,
    "first": (1, 12, 16, 8),
    "padded": (1, 14, 18, 8),
    "a": (1, 6, 8, 8),
    "inner": (1, 6, 8, 6),
    "b": (1, 6, 8, 8),
    "c": (1, 6, 8, 8),
    "map": (1, 6, 8, 4),
    "flat": (1, 1, 1, 16),
    "vector": (1, 16),
}
SAME_SCALE = {"padded": "first", "vector": "flat"}  # pad and reshape keep their input's


def make_pair(*, seed: int, cut: float = 1.0) -> tuple[bytes, bytes]:
    """The float file and the int8 file, ranges from random pictures; that of ``inner`` cut to this share."""
    float_raw = _build(seed, None)
    pictures = np.random.default_rng(seed).integers(0, 256, (4, *INPUT_SHAPE[1:])).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.tflite"
        path.write_bytes(float_raw)
        histograms = ranges.collect(path, [pictures])
    chosen = {name: ranges.choose(histogram, "minmax") for name, histogram in histograms.items()}
    chosen["inner"] = chosen["inner"][0] * cut, chosen["inner"][1] * cut
    chosen["pixels"] = (-1.0, 127 / 128)
    for name, source in SAME_SCALE.items():
        chosen[name] = chosen[source]
    return float_raw, _build(seed, chosen)


def _build(seed: int, chosen: dict[str, Range] | None) -> bytes:
    rng = np.random.default_rng(seed)
    book = _Book(chosen)
    for name in SHAPES:
        book.activation(name)
    pads = book.constant("pads", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    shape = book.constant("shape", np.array(SHAPES["vector"], np.int32))
    placed = {layer.after: book.convolution(layer, rng) for layer in LAYERS}
    order = [
        placed["first"],
        book.operator(
            "PAD", ["first"], [pads], "padded", schema.BuiltinOptions.PadOptions, schema.PadOptionsT()
        ),
        placed["a"],
        placed["inner"],
        placed["b"],
        book.operator("ADD", ["a", "b"], [], "c", schema.BuiltinOptions.AddOptions, _add()),
        placed["map"],
        placed["flat"],
        book.operator(
            "RESHAPE", ["flat"], [shape], "vector", schema.BuiltinOptions.ReshapeOptions, _reshape()
        ),
    ]
    return book.file(order)


class _Book:
    """Tensors and buffers as they are added. The generated schema is untyped, hence Any."""

    def __init__(self, chosen: dict[str, Range] | None) -> None:
        self._chosen = chosen
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [_buffer(None)]
        self._index: dict[str, int] = {}
        self._codes: list[Any] = []

    def activation(self, name: str) -> None:
        """A tensor without content."""
        kind = schema.TensorType.FLOAT32 if self._chosen is None else schema.TensorType.INT8
        tensor = self._tensor(name, SHAPES[name], kind, 0)
        if self._chosen is not None:
            scale, zero_point = self._steps(name)
            _quantise(tensor, np.array([scale]), zero_point)

    def constant(self, name: str, values: NDArray[Any], scales: NDArray[np.float32] | None = None) -> int:
        """A tensor with content; its index."""
        self._buffers.append(_buffer(values))
        kinds = {"float32": "FLOAT32", "int8": "INT8", "int32": "INT32"}
        kind = getattr(schema.TensorType, kinds[values.dtype.name])
        tensor = self._tensor(name, values.shape, kind, len(self._buffers) - 1)
        if scales is not None:
            _quantise(tensor, scales, 0)
        return self._index[name]

    def convolution(self, layer: Layer, rng: np.random.Generator) -> Any:
        """Random weights of unlike channels, in float or rounded as the quantiser rounds them."""
        spread = rng.uniform(0.3, 1.5, layer.weights[0]) / np.sqrt(np.prod(layer.weights[1:]))
        weights = (rng.normal(size=layer.weights) * spread[:, None, None, None]).astype(np.float32)
        bias = rng.normal(0, 0.1, layer.weights[0]).astype(np.float32)
        if self._chosen is None:
            constants = [self.constant(f"{layer.after}.w", weights), self.constant(f"{layer.after}.b", bias)]
        else:
            scales = np.abs(weights).max((1, 2, 3)) / np.float32(127)
            sums = scales * self._steps(layer.before)[0]
            rounded = np.rint(weights / scales[:, None, None, None]).astype(np.int8)
            offsets = np.rint(bias / sums).astype(np.int32)
            constants = [
                self.constant(f"{layer.after}.w", rounded, scales),
                self.constant(f"{layer.after}.b", offsets, sums),
            ]
        options = schema.Conv2DOptionsT()
        options.padding = schema.Padding.SAME if layer.same else schema.Padding.VALID
        options.strideH = options.strideW = layer.stride
        options.dilationHFactor = options.dilationWFactor = layer.dilation
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU if layer.relu else 0
        kind = schema.BuiltinOptions.Conv2DOptions
        return self.operator("CONV_2D", [layer.before], constants, layer.after, kind, options)

    def operator(  # noqa: PLR0917  # an operator has that many parts
        self, name: str, before: list[str], constants: list[int], after: str, kind: int, options: Any
    ) -> Any:
        """One operator between named tensors."""
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        code.version = 1 if self._chosen is None else {"CONV_2D": 3, "RESHAPE": 1}.get(name, 2)
        self._codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self._codes) - 1
        operator.inputs = [self._index[n] for n in before] + constants
        operator.outputs = [self._index[after]]
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        return operator

    def file(self, operators: list[Any]) -> bytes:
        """The whole file."""
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self._tensors, operators
        graph.inputs, graph.outputs = [self._index["pixels"]], [self._index["map"], self._index["vector"]]
        model = schema.ModelT()
        model.version, model.buffers = 3, self._buffers
        model.operatorCodes, model.subgraphs = self._codes, [graph]
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _steps(self, name: str) -> tuple[np.float32, int]:
        low, high = (self._chosen or {})[name]
        scale = np.float32((high - low) / 255)
        return scale, round(-128 - low / float(scale))

    def _tensor(self, name: str, shape: tuple[int, ...], kind: int, buffer: int) -> Any:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), list(shape), kind, buffer
        self._index[name] = len(self._tensors)
        self._tensors.append(tensor)
        return tensor


def _quantise(tensor: Any, scales: NDArray[np.float32], zero_point: int) -> None:
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = scales.astype(np.float32)
    tensor.quantization.zeroPoint = np.full(len(scales), zero_point, np.int64)


def _buffer(values: NDArray[Any] | None) -> Any:
    buffer = schema.BufferT()
    buffer.data = None if values is None else np.frombuffer(values.tobytes(), np.uint8)
    return buffer


def _add() -> Any:
    options = schema.AddOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    return options


def _reshape() -> Any:
    options = schema.ReshapeOptionsT()
    options.newShape = list(SHAPES["vector"])
    return options
