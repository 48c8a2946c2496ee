"""Where the precision goes: signal-to-noise of every activation, float file against int8 file; and timing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glancein.adapters.tflite_runtime import open_model
from glancein.domain.quantize import pixels_to_int8
from glancein.types import Floats, Pixels
from glancein_convert.thresholds import Doubles


def signal_to_noise(float_path: Path, int8_path: Path, pixels: Pixels) -> list[tuple[str, float]]:
    """(operator and its number, decibels) for each operator in order, over some pictures (n, h, w, 3).

    The repair only renames inputs and outputs, so operators of both files correspond by number.
    """
    runs = [_all_outputs(path) for path in (float_path, int8_path)]
    names: list[str] = []
    signal: Doubles = np.zeros(0)
    noise: Doubles = np.zeros(0)
    for picture in pixels:
        (names, exact), (_, rough) = runs[0](picture), runs[1](picture)
        signal = np.resize(signal, len(names)) + np.asarray([np.mean(e**2) for e in exact])
        errors = [np.mean((e - r) ** 2) for e, r in zip(exact, rough, strict=True)]
        noise = np.resize(noise, len(names)) + np.asarray(errors)
    decibels = 10 * np.log10(np.maximum(signal, 1e-20) / np.maximum(noise, 1e-20))
    return [(name, round(float(value), 1)) for name, value in zip(names, decibels, strict=True)]


def milliseconds(path: Path, *, threads: Sequence[int] = (1, 2), runs: int = 100) -> dict[str, float]:
    """Median and fastest milliseconds of one picture for each thread count, on this machine."""
    out = {}
    for count in threads:
        network = open_model(path, threads=count)
        picture = np.zeros(network.input.shape, np.int8)
        took = []
        for _ in range(runs):
            started = time.perf_counter()
            network.run(picture)
            took.append(1000 * (time.perf_counter() - started))
        out[f"threads_{count}_median"] = round(float(np.median(took)), 3)
        out[f"threads_{count}_fastest"] = round(float(np.min(took)), 3)
    return out


def delegate_partitions(path: Path) -> int:
    """Into how many pieces XNNPACK takes the graph: one, and nothing left outside, is what we want."""
    from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-untyped]  # noqa: PLC0415  # heavy

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    return sum(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details())  # noqa: SLF001  # no public way


def _all_outputs(path: Path) -> Any:  # the runtime is untyped
    """A function from a picture to (names, real values) of every operator's output."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType  # noqa: PLC0415  # heavy

    interpreter = Interpreter(
        model_path=str(path),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    details = {d["index"]: d for d in interpreter.get_tensor_details()}
    operators = interpreter._get_ops_details()  # noqa: SLF001  # no public way
    entry = interpreter.get_input_details()[0]

    def run(picture: Pixels) -> tuple[list[str], list[Floats]]:
        steps = pixels_to_int8(picture)[None]
        interpreter.set_tensor(
            entry["index"], steps if entry["dtype"] == np.int8 else steps / np.float32(128)
        )
        interpreter.invoke()
        names, values = [], []
        for number, operator in enumerate(operators):
            index = operator["outputs"][0]
            scale, zero_point = details[index]["quantization"]
            raw = interpreter.get_tensor(index).astype(np.float32)
            values.append((raw - zero_point) * scale if scale else raw)
            names.append(f"{number} {operator['op_name']}")
        return names, values

    return run
