"""A 30 kB int8 network and its bundle, written without a converter: pooling, one convolution, a reshape."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import flatbuffers  # type: ignore[import-untyped]  # ships no types
import numpy as np
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]  # as above
from numpy.typing import NDArray

from glancein.adapters.tflite_runtime import Int8s, open_model
from glancein.model_card import (
    GOLDEN_FILE,
    InputSpec,
    Matching,
    ModelCard,
    OutputSpec,
    ThresholdPoint,
    write_card,
)

OUTPUT_SCALE, OUTPUT_ZERO_POINT = 0.02, 3
POOL_PX = 14
POINTS = (
    ThresholdPoint(1e-2, 0.2, 0.19, 0.21, extrapolated=False),
    ThresholdPoint(1e-6, 0.5, 0.44, 0.58, extrapolated=True),
)


def write_bundle(folder: Path, *, seed: int = 0, name: str = "tiny") -> ModelCard:
    """A whole embedder bundle: model, golden vectors, cohort, card."""
    folder.mkdir(parents=True, exist_ok=True)
    model = make_model(seed=seed)
    (folder / "model.tflite").write_bytes(model)
    files = {GOLDEN_FILE: _golden(folder / "model.tflite"), "cohort.npz": b"cohort"}
    for file, content in files.items():
        (folder / file).write_bytes(content)
    card = ModelCard(
        kind="embedder",
        name=name,
        file="model.tflite",
        sha256=hashlib.sha256(model).hexdigest(),
        size_bytes=len(model),
        input=InputSpec(112, 112, 1 / 128, 0),
        outputs=(OutputSpec("embedding", (1, 128), OUTPUT_SCALE, OUTPUT_ZERO_POINT),),
        licence="made in a test",
        data_note="random weights",
        training_command="",
        git_commit="",
        files={file: hashlib.sha256(content).hexdigest() for file, content in files.items()},
        embedding_dimension=128,
        matching=Matching(POINTS, "cohort.npz", 0.05),
    )
    write_card(folder, card)
    return card


def make_model(*, seed: int = 0, side_px: int = 112) -> bytes:
    """Input (1, side, side, 3), output ``embedding`` (1, 128)."""
    rng = np.random.default_rng(seed)
    grid = side_px // POOL_PX
    weights = rng.integers(-127, 128, (128, grid, grid, 3)).astype(np.int8)
    bias = rng.integers(-500, 500, 128).astype(np.int32)
    model = schema.ModelT()
    model.version = 3
    model.buffers = [_buffer(None), _buffer(weights), _buffer(bias), _buffer(np.array([1, 128], np.int32))]
    model.operatorCodes = [_code("AVERAGE_POOL_2D", 2), _code("CONV_2D", 3), _code("RESHAPE", 1)]
    types = schema.TensorType
    graph = schema.SubGraphT()
    graph.tensors = [
        _tensor("pixels", (1, side_px, side_px, 3), types.INT8, [1 / 128]),
        _tensor("pooled", (1, grid, grid, 3), types.INT8, [1 / 128]),
        _tensor("weights", weights.shape, types.INT8, [0.001] * 128, buffer=1),
        _tensor("bias", (128,), types.INT32, [0.001 / 128] * 128, buffer=2),
        _tensor("map", (1, 1, 1, 128), types.INT8, [OUTPUT_SCALE], zero_point=OUTPUT_ZERO_POINT),
        _tensor("shape", (2,), types.INT32, [], buffer=3),
        _tensor("embedding", (1, 128), types.INT8, [OUTPUT_SCALE], zero_point=OUTPUT_ZERO_POINT),
    ]
    graph.inputs, graph.outputs = [0], [6]
    graph.operators = [
        _operator(0, [0], [1], schema.BuiltinOptions.Pool2DOptions, _pool()),
        _operator(1, [1, 2, 3], [4], schema.BuiltinOptions.Conv2DOptions, _convolution()),
        _operator(2, [4, 5], [6], schema.BuiltinOptions.ReshapeOptions, _reshape()),
    ]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _golden(model: Path) -> bytes:
    inputs: Int8s = np.random.default_rng(9).integers(-128, 128, (4, 112, 112, 3)).astype(np.int8)
    network = open_model(model)
    outputs = np.concatenate([network.run(picture[None])[0] for picture in inputs])
    file = io.BytesIO()
    np.savez_compressed(file, inputs=inputs, output_0=outputs)
    return file.getvalue()


# The generated schema is untyped, hence Any below.


def _buffer(array: NDArray[Any] | None) -> Any:
    buffer = schema.BufferT()
    buffer.data = None if array is None else np.frombuffer(array.tobytes(), np.uint8)
    return buffer


def _code(name: str, version: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
    code.version = version
    return code


def _tensor(
    name: str, shape: tuple[int, ...], kind: int, scales: list[float], *, zero_point: int = 0, buffer: int = 0
) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), list(shape), kind, buffer
    if scales:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = scales
        tensor.quantization.zeroPoint = [zero_point] * len(scales)
    return tensor


def _operator(code: int, inputs: list[int], outputs: list[int], kind: int, options: Any) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, outputs
    operator.builtinOptionsType, operator.builtinOptions = kind, options
    return operator


def _pool() -> Any:
    options = schema.Pool2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideH = options.strideW = options.filterHeight = options.filterWidth = POOL_PX
    return options


def _convolution() -> Any:
    options = schema.Conv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    return options


def _reshape() -> Any:
    options = schema.ReshapeOptionsT()
    options.newShape = [1, 128]
    return options
