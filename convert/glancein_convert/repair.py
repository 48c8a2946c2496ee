"""Rewrite what today's quantiser writes into what the 2021 Edge TPU compiler and tflite-runtime 2.14 read.

Weights move from external buffers (bytes behind the flatbuffer) into it, operator versions become the lowest
that describe the int8 operator, outputs get their names and order, and the path of wrappers and classes in
every other name (up to 900 bytes each) becomes the module's own. No number changes: bit-identical results.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import flatbuffers  # type: ignore[import-untyped]  # ships no types
import numpy as np
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]  # ships no types

from glancein_convert.errors import ConversionError

# TensorFlow 2.5 lite/tools/versioning/op_version.cc: the version that int8 in and out asks for.
INT8_VERSIONS: dict[str, int] = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "LOGISTIC": 2,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "MUL": 2,
    "PAD": 2,
    "QUANTIZE": 1,
    "RELU": 2,
    "RELU6": 2,
    "RESHAPE": 1,
    "RESIZE_BILINEAR": 2,
    "RESIZE_NEAREST_NEIGHBOR": 2,
    "SLICE": 2,
    "STRIDED_SLICE": 2,
    "SUB": 2,
    "TRANSPOSE": 2,
}
OPERATOR_NAMES: dict[int, str] = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")
}
# Codes above this one do not fit the byte that old readers look at.
PLACEHOLDER_CODE = 127


def repair(raw: bytes, output_names: Sequence[str]) -> bytes:
    """The same network for old readers. Raises ConversionError if there are not as many names as outputs."""
    model = read(raw)
    _inline_buffers(model, raw)
    for code in model.operatorCodes:
        name = operator_name(code)
        if name in INT8_VERSIONS:
            code.version = INT8_VERSIONS[name]
        code.deprecatedBuiltinCode = min(code.builtinCode, PLACEHOLDER_CODE)
    _half_pixel_versions(model)
    _shorten_names(model)
    _name_outputs(model, output_names)
    model.description = b"glancein"
    _drop_metadata(model)
    return write(model)


def read(raw: bytes) -> Any:  # the generated schema is untyped
    """The object form of a TFLite file."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(raw, 0))


def write(model: Any) -> bytes:  # as above
    """The file form of a model object."""
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def inlined(raw: bytes) -> bytes:
    """The same file with weights inside the flatbuffer, so that a model object holds all of them."""
    model = read(raw)
    _inline_buffers(model, raw)
    return write(model)


def operator_name(code: Any) -> str:  # as above
    """Name of an operator code, such as CONV_2D."""
    return OPERATOR_NAMES.get(max(code.builtinCode, code.deprecatedBuiltinCode), "UNKNOWN")


def _inline_buffers(model: Any, raw: bytes) -> None:  # as above
    for buffer in model.buffers:
        if buffer.data is None and buffer.offset > 1 and buffer.size:
            buffer.data = np.frombuffer(raw, np.uint8, buffer.size, buffer.offset)
        buffer.offset = buffer.size = 0


def _half_pixel_versions(model: Any) -> None:  # as above
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            if "RESIZE" in operator_name(code) and getattr(
                operator.builtinOptions, "halfPixelCenters", False
            ):
                code.version = 3


def _shorten_names(model: Any) -> None:  # as above
    """Call each tensor by the path of its module, as in body/9/narrow/0/weights; no two alike."""
    taken: Counter[str] = Counter()
    for tensor in model.subgraphs[0].tensors:
        before = tensor.name.decode()
        name = short_name(before)
        if name != before and model.buffers[tensor.buffer].data is not None:
            name += "/bias" if len(tensor.shape) == 1 else "/weights"
        taken[name] += 1
        tensor.name = (name if taken[name] == 1 else f"{name}#{taken[name]}").encode()


def short_name(name: str) -> str:
    """The last module that a converter's name tells of, by its attributes alone; another name stays.

    ``Wrapper/package.Net_wrapped/torch.nn.Sequential_body/torch.nn.Conv2d_0;2`` -> ``body/0``.
    """
    for path in reversed(name.split(";")):
        match path.split("/"):
            case [_, network, *modules] if modules and network.endswith("_wrapped"):
                return "/".join(module.rsplit("_", 1)[-1] for module in modules)
    return name


def _name_outputs(model: Any, names: Sequence[str]) -> None:  # as above
    """Outputs in the order in which the network returns them, under their names."""
    graph = model.subgraphs[0]
    signature = model.signatureDefs[0]
    # The converter calls them output_0, output_1, ... and may list them in another order.
    entries = sorted(signature.outputs, key=lambda entry: int(entry.name.rsplit(b"_", 1)[1]))
    if len(entries) != len(names):
        raise ConversionError(f"the network has {len(entries)} outputs, the call {len(names)} names")
    for entry, name in zip(entries, names, strict=True):
        entry.name = name.encode()
        graph.tensors[entry.tensorIndex].name = name.encode()
    signature.outputs = entries
    graph.outputs = np.array([entry.tensorIndex for entry in entries], np.int32)
    signature.inputs[0].name = b"pixels"
    graph.tensors[signature.inputs[0].tensorIndex].name = b"pixels"


def _drop_metadata(model: Any) -> None:  # as above
    """Converter notes go, with the bytes they hold; buffer numbers stay as they are."""
    for entry in model.metadata or []:
        model.buffers[entry.buffer].data = None
    model.metadata = None
