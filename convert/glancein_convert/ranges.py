"""What values each activation takes on the calibration pictures, and which part of them int8 should cover."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from glancein.types import Floats, Pixels

Method = Literal["minmax", "p99.99", "p99.999", "mse"]
METHODS: tuple[Method, ...] = ("minmax", "p99.999", "p99.99", "mse")
BINS = 2048


@dataclass(slots=True)
class Histogram:
    """Counts of one tensor's values between its own extremes."""

    low: float
    high: float
    counts: NDArray[np.int64]

    def centres(self) -> NDArray[np.float64]:
        """(bins,) middle of each bin."""
        edges = np.linspace(self.low, self.high, len(self.counts) + 1)
        return np.asarray((edges[:-1] + edges[1:]) / 2)


def collect(float_model: Path, batches: Iterable[Pixels]) -> dict[str, Histogram]:
    """Histogram of every float tensor of the graph over all pictures, in two passes over them."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType  # type: ignore[import-untyped]  # noqa: PLC0415  # heavy

    pictures = [(picture.astype(np.float32) - 128) / 128 for batch in batches for picture in batch]
    interpreter = Interpreter(
        model_path=str(float_model),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    tensors = _activations(interpreter)
    extremes: dict[str, tuple[float, float]] = {}
    for values in _passes(interpreter, tensors, pictures):
        for name, array in values.items():
            low, high = extremes.get(name, (np.inf, -np.inf))
            extremes[name] = min(low, float(array.min())), max(high, float(array.max()))
    out = {name: Histogram(low, high, np.zeros(BINS, np.int64)) for name, (low, high) in extremes.items()}
    for values in _passes(interpreter, tensors, pictures):
        for name, array in values.items():
            hist = out[name]
            per_unit = np.float32((BINS - 1e-3) / max(hist.high - hist.low, 1e-9))
            bins = ((array.ravel() - np.float32(hist.low)) * per_unit).astype(np.int32)
            hist.counts += np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS)
    return out


def choose(hist: Histogram, method: Method) -> tuple[float, float]:
    """Lowest and highest value that int8 shall represent; zero is always inside."""
    low, high = min(hist.low, 0.0), max(hist.high, 0.0)
    match method:
        case "minmax":
            return low, high
        case "mse":
            return _least_error(hist, low, high)
        case _:
            outside = (1 - float(method.removeprefix("p")) / 100) / (2 if low < 0 else 1)
            share = np.cumsum(hist.counts) / max(1, hist.counts.sum())
            centres = hist.centres()
            top = centres[min(int(np.searchsorted(share, 1 - outside)), BINS - 1)]
            bottom = centres[min(int(np.searchsorted(share, outside)), BINS - 1)] if low < 0 else 0.0
            return min(0.0, float(bottom)), max(0.0, float(top))


def _least_error(hist: Histogram, low: float, high: float) -> tuple[float, float]:
    """The range, shrunk towards zero in steps, with the least squared rounding and clipping error."""
    centres = hist.centres()
    best = (np.inf, low, high)
    for share in np.linspace(0.4, 1.0, 61):
        bottom, top = low * share, high * share
        step = max(top - bottom, 1e-12) / 255
        error = np.where(
            (centres < bottom) | (centres > top),
            np.minimum(np.abs(centres - bottom), np.abs(centres - top)) ** 2,
            step**2 / 12,
        )
        best = min(best, (float((error * hist.counts).sum()), bottom, top))
    return best[1], best[2]


def _activations(interpreter: object) -> dict[str, int]:
    details = interpreter.get_tensor_details()  # type: ignore[attr-defined]  # the runtime is untyped
    constants = _constant_indices(interpreter)
    return {
        d["name"]: d["index"]
        for d in details
        if d["dtype"] == np.float32 and d["name"] and d["index"] not in constants
    }


def _constant_indices(interpreter: object) -> set[int]:
    """Tensors that no operator writes and that are not inputs."""
    written = {int(i) for op in interpreter._get_ops_details() for i in op["outputs"]}  # type: ignore[attr-defined]  # noqa: SLF001  # the runtime offers no other way
    inputs = {int(d["index"]) for d in interpreter.get_input_details()}  # type: ignore[attr-defined]  # as above
    everything = {int(d["index"]) for d in interpreter.get_tensor_details()}  # type: ignore[attr-defined]  # as above
    return everything - written - inputs


def _passes(
    interpreter: object, tensors: dict[str, int], pictures: Sequence[Floats]
) -> Iterable[dict[str, Floats]]:
    index = interpreter.get_input_details()[0]["index"]  # type: ignore[attr-defined]  # as above
    for picture in pictures:
        interpreter.set_tensor(index, picture[None])  # type: ignore[attr-defined]  # as above
        interpreter.invoke()  # type: ignore[attr-defined]  # as above
        yield {name: interpreter.get_tensor(i) for name, i in tensors.items()}  # type: ignore[attr-defined]  # as above
