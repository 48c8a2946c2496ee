"""What each network costs: parameters, multiply-accumulates, int8 size and time; and what that buys."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from glancein.errors import InputError
from glancein_training.evaluate import plots
from glancein_training.networks import Embedder, count_cost, shape_named

CONVERTER = ("litert_torch", "ai_edge_quantizer", "ai_edge_litert", "glancein_convert")


@dataclass(frozen=True, slots=True)
class Cost:
    """One network. Without a measurement the size is a byte for each parameter, and there is no time."""

    name: str
    input_px: int
    embedding: int
    macs: int
    parameters: int
    int8_bytes: int
    int8_ms: float | None = None  # of one thread's own time: other work on the machine does not count


@dataclass(frozen=True, slots=True)
class Bought:
    """A finished run: what its network costs, and the last line of its curve."""

    network: str
    macs: int
    images: int
    true_accepts: float  # per cent at FAR 1e-3, on the choosing half


def costs(names: Sequence[str], *, measure: bool) -> list[Cost]:
    """The networks' costs; ``measure`` converts each with random weights and times it, ten seconds apiece.

    Raises InputError for an unknown name, or if the converter fails.
    """
    counted = {name: (shape_named(name), *count_cost(Embedder(shape_named(name)))) for name in names}
    timed = _timed(names) if measure else {}
    out = []
    for name, (shape, parameters, macs) in counted.items():
        found = timed.get(name, {})
        size = int(found.get("size_bytes", parameters))
        sizes = (shape.input_px, shape.embedding, macs, parameters, size)
        out.append(Cost(name, *sizes, found.get("ms")))
    return out


def lacking() -> list[str]:
    """What is not installed and is needed to measure milliseconds."""
    return [name for name in CONVERTER if importlib.util.find_spec(name) is None]


def bought(run: Path) -> Bought:
    """A run's network and its last true accepts. Raises InputError if the folder holds no finished run."""
    try:
        config = json.loads((run / "config.json").read_text(encoding="utf-8"))
        network = str(config["network"])
        with (run / "curve.csv").open(encoding="utf-8", newline="") as file:
            last = list(csv.DictReader(file))[-1]
        images, accepts = _images_of(last, config), float(last["tar_1e-3"])
    except (OSError, ValueError, KeyError, IndexError) as err:
        raise InputError(f"{run} holds no run with a config.json and a line in curve.csv: {err}") from err
    return Bought(network, count_cost(Embedder(shape_named(network)))[1], images, accepts)


def _images_of(line: dict[str, str], config: dict[str, Any]) -> int:
    """How many pictures a line of a curve comes after: `distill` counts them, `train` its steps."""
    if "images" in line:
        return int(line["images"])
    return int(line["step"]) * int(config["people"]) * int(config["each"]) * int(config.get("processes", 1))


def time_plot(found: Sequence[Cost]) -> Figure:
    """Int8 milliseconds over MMAC, a name at each point."""
    points = [(c.macs / 1e6, c.int8_ms, c.name) for c in found if c.int8_ms is not None]
    return plots.points_plot("MMAC", "int8 milliseconds, one thread", points)


def accuracy_plot(found: Sequence[Bought]) -> Figure:
    """True accepts over MMAC: FaceNet's figure 4 for our own runs (Schroff et al. 2015).

    Runs of one length are named by their networks alone.
    """
    alike = len({b.images for b in found}) == 1
    names = [b.network if alike else f"{b.network}, {b.images:,} images" for b in found]
    points = [(b.macs / 1e6, b.true_accepts, name) for b, name in zip(found, names, strict=True)]
    across = f"MMAC (log), {found[0].images:,} images each" if alike else "MMAC (log)"
    return plots.points_plot(across, "true accepts at FAR 1e-3, per cent", points, log_x=True)


def _timed(names: Sequence[str]) -> dict[str, dict[str, float]]:
    """What ``glancein-convert speed`` prints; another process, as the laboratory knows no converter."""
    words = [sys.executable, "-m", "glancein_convert", "speed", *names]
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603  # our own program
    if done.returncode:
        told = done.stderr.strip().splitlines()
        raise InputError(f"the converter failed: {told[-1] if told else f'exit code {done.returncode}'}")
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {row["name"]: row for row in rows}
