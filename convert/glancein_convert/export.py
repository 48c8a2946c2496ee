"""A PyTorch module -> channel-last float TFLite -> static int8 TFLite with per-channel weights."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]  # ships no types
from torch import nn

from glancein.types import Pixels
from glancein_convert import ranges, repair
from glancein_convert.errors import ConversionError
from glancein_convert.fold import fold_batch_norm

INPUT_SCALE = 1 / 128
INPUT_RANGE = (-1.0, 127 / 128)  # pixel - 128 in steps of 1/128: zero point 0


@dataclass(frozen=True, slots=True)
class Exported:
    """What came out: the float and the int8 file, and the range chosen for every activation."""

    float_path: Path
    int8_path: Path
    sha256: str
    ranges: dict[str, tuple[float, float]]


def export_int8(  # noqa: PLR0913  # the contract with both networks, agreed as it is
    module: nn.Module,
    sample_shape: tuple[int, int, int, int],
    calibration_batches: Iterable[Pixels],
    out_path: Path,
    output_names: Sequence[str],
    *,
    method: ranges.Method = "minmax",
) -> Exported:
    """Write ``out_path`` (int8) and, beside it, ``<stem>.float.tflite``.

    module: (1, 3, h, w) floats ``(pixel - 128) / 128`` -> a tensor or a tuple of tensors; 4-D outputs come
    out channel-last. calibration_batches: uint8 RGB (n, h, w, 3). output_names: one for each output, in the
    order in which the module returns them; the file keeps that order. Raises ConversionError.
    """
    float_path = out_path.with_suffix(".float.tflite")
    export_float(module, sample_shape, float_path)
    histograms = ranges.collect(float_path, calibration_batches)
    return write_int8(float_path, histograms, out_path, output_names, method=method)


def write_int8(
    float_path: Path,
    histograms: dict[str, ranges.Histogram],
    out_path: Path,
    output_names: Sequence[str],
    *,
    method: ranges.Method,
) -> Exported:
    """Quantise a float file with ranges by one method, repair it, and write it whole or not at all."""
    chosen = {name: ranges.choose(hist, method) for name, hist in histograms.items()}
    repaired = repair.repair(quantise(float_path, chosen), output_names)
    check_input(repaired)
    part = out_path.with_suffix(".part")
    part.write_bytes(repaired)
    part.replace(out_path)
    return Exported(float_path, out_path, hashlib.sha256(repaired).hexdigest(), chosen)


def export_float(module: nn.Module, sample_shape: tuple[int, int, int, int], path: Path) -> None:
    """Fold the batch normalisations and write the float TFLite file, input (1, h, w, 3)."""
    os.environ.setdefault("PJRT_DEVICE", "CPU")
    import litert_torch  # noqa: PLC0415  # 15 s to import

    litert_torch.config.show_progress = False
    folded = fold_batch_norm(module)
    with torch.no_grad():
        sample = folded(torch.zeros(sample_shape))
    outputs = sample if isinstance(sample, (tuple, list)) else [sample]
    pictures = [i for i, tensor in enumerate(outputs) if tensor.ndim == 4]  # (n, c, h, w)
    wrapped = litert_torch.to_channel_last_io(folded, args=[0], outputs=pictures).eval()
    n, c, h, w = sample_shape
    converted = litert_torch.convert(wrapped, (torch.zeros(n, h, w, c),))
    converted.export(str(path))


def quantise(float_path: Path, chosen: dict[str, tuple[float, float]]) -> bytes:
    """Static int8 with these activation ranges; weights symmetric per output channel."""
    from ai_edge_quantizer import quantizer, recipe  # noqa: PLC0415  # heavy

    job = quantizer.Quantizer(str(float_path), recipe.static_wi8_ai8())
    statistics = {name: _statistics(*bounds) for name, bounds in chosen.items()}
    statistics[input_name(float_path)] = _statistics(*INPUT_RANGE)
    result = job.quantize(statistics, enable_progress_report=False).quantized_model
    if result is None:
        raise ConversionError("the quantiser wrote nothing")
    return bytes(result)


def input_name(float_path: Path) -> str:
    """Name of the picture's tensor."""
    graph = repair.read(float_path.read_bytes()).subgraphs[0]
    return str(graph.tensors[graph.inputs[0]].name.decode())


def check_input(raw: bytes) -> None:
    """Raise ConversionError unless the input is int8 with scale 1/128 and zero point 0."""
    graph = repair.read(raw).subgraphs[0]
    tensor = graph.tensors[graph.inputs[0]]
    scale, zero_point = float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])
    if tensor.type != schema.TensorType.INT8 or scale != INPUT_SCALE or zero_point != 0:
        raise ConversionError(f"the input has scale {scale} and zero point {zero_point}, not 1/128 and 0")


def _statistics(low: float, high: float) -> dict[str, object]:
    return {"min": np.array([[low]], np.float32), "max": np.array([[high]], np.float32)}
