"""Several int8 files of one embedder, and the one whose vectors stay nearest to the float ones.

First every way of reading activation ranges, then, if asked for, what ``tuning`` makes of the best of them.
Judged on calibration crops that set no range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from glancein.adapters.tflite_runtime import open_model
from glancein.types import Floats, Pixels
from glancein_convert import tuning, vectors
from glancein_convert.errors import ConversionError
from glancein_convert.export import write_int8
from glancein_convert.ranges import Histogram, Method, collect

Improvement = Literal["equalised", "corrected", "tuned"]
IMPROVEMENTS: tuple[Improvement, ...] = ("equalised", "corrected", "tuned")
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One int8 file, the float file it was made from, and the mean cosine between their vectors."""

    name: str
    float_path: Path
    int8_path: Path
    cosine: float


@dataclass(frozen=True, slots=True)
class Material:
    """Where files go, and what they are made and judged with; pixels are uint8 (n, h, w, 3)."""

    folder: Path
    setting: Pixels  # set the ranges
    judging: Pixels
    exact: Floats  # float vectors of ``judging``
    tuning: Pixels  # of training people; may be empty if nothing is tuned


def choose(
    float_path: Path,
    material: Material,
    *,
    methods: Sequence[Method],
    improvements: Sequence[Improvement] = (),
    say: Say,
) -> tuple[Candidate, dict[str, float]]:
    """The best file, and the mean cosine of every one tried. Raises ConversionError without a method."""
    if not methods:
        raise ConversionError("no range method was given")
    histograms = collect(float_path, [material.setting])
    made = {m: _make(m, float_path, histograms, material, method=m) for m in methods}
    method = max(made, key=lambda name: made[name].cosine)
    tried: list[Candidate] = list(made.values())
    for name in improvements:
        improved = material.folder / f"{name}.float.tflite"
        improved.write_bytes(_improve(name, float_path, made[method].int8_path, material))
        again = collect(improved, [material.setting]) if name == "equalised" else histograms
        tried.append(_make(name, improved, again, material, method=method))
    for candidate in tried:
        say(f"{candidate.name}: mean cosine to float {candidate.cosine:.5f}")
    return max(tried, key=lambda c: c.cosine), {c.name: round(c.cosine, 6) for c in tried}


def _make(
    name: str, float_path: Path, histograms: dict[str, Histogram], material: Material, *, method: Method
) -> Candidate:
    path = material.folder / f"{name}.tflite"
    write_int8(float_path, histograms, path, ["embedding"], method=method)
    rough = vectors.by_int8(open_model(path), material.judging).single
    return Candidate(name, float_path, path, float(np.einsum("ij,ij->i", material.exact, rough).mean()))


def _improve(name: Improvement, float_path: Path, int8_path: Path, material: Material) -> bytes:
    exact, rough = float_path.read_bytes(), int8_path.read_bytes()
    match name:
        case "equalised":
            return tuning.equalise(exact, rough)[0]
        case "corrected":
            return tuning.correct_biases(exact, rough, material.setting)
        case "tuned":
            return tuning.fine_tune(exact, rough, material.tuning, tuning.FineTuning())
