"""What int8 cost the finder: both forms of both networks on the held-back pictures, by the same measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from glancein.adapters.tflite_runtime import Network
from glancein.domain.quantize import to_float
from glancein.types import Floats, Pixels
from glancein_training.finder import landmarks as second_look
from glancein_training.finder import measures, predict
from glancein_training.finder.data import Picture
from glancein_training.finder.looks import sources_of
from glancein_training.finder.network import Finder
from glancein_training.networks import to_network_floats


@dataclass(frozen=True, slots=True)
class FinderGate:
    """The least that int8 must reach; losses in percentage points."""

    mean_cosine: float = 0.995
    low_cosine: float = 0.98
    recall_loss_points: float = 0.2  # at 0.1 false faces a picture
    landmark_error_points: float = 0.2  # of the eye distance, the median


@dataclass(frozen=True, slots=True)
class FinderParity:
    """Figures as JSON values, and what the gate says."""

    figures: dict[str, Any]  # any JSON
    failures: tuple[str, ...]


class Int8Module(nn.Module):
    """An int8 file behind the face of a PyTorch network: floats in, real values out, channels first."""

    def __init__(self, network: Network, shape: Any = None) -> None:  # shape: the float network's own
        super().__init__()
        self.network = network
        self.shape = shape

    def forward(self, inputs: Tensor) -> Any:
        """What the float network returns: a tensor, or a tuple of them."""
        steps = (inputs * 128).round().permute(0, 2, 3, 1).to(torch.int8).numpy()
        runs = [self.network.run(np.ascontiguousarray(picture[None])) for picture in steps]
        outputs = [np.concatenate(rows) for rows in zip(*runs, strict=True)]
        real = tuple(
            torch.from_numpy(to_float(output, scale=spec.scale, zero_point=spec.zero_point)).permute(
                0, 3, 1, 2
            )
            for output, spec in zip(outputs, self.network.outputs, strict=True)
        )
        return real if len(real) > 1 else real[0]


def compare(
    exact: tuple[Finder, nn.Module],
    rough: tuple[Network, Network],
    pictures: Sequence[Picture],
    *,
    gate: FinderGate | None = None,
) -> FinderParity:
    """Finder and landmark network in float (``exact``) and in int8 on labelled pictures."""
    finders: dict[str, Any] = {"float": exact[0], "int8": Int8Module(rough[0], exact[0].shape)}
    points: dict[str, Any] = {"float": exact[1], "int8": Int8Module(rough[1])}
    labels = [picture.labels for picture in pictures]
    faces = sources_of(pictures)
    figures: dict[str, Any] = {"pictures": len(pictures), "faces": len(faces)}
    for name, finder in finders.items():
        found = measures.measure(predict.find_all(finder, pictures), labels)
        errors = second_look.measure(points[name], faces)
        figures[name] = {
            "recall_percent_at_0.1_false_faces": round(100 * found.recall[0.1], 2),
            "recall_percent_at_0.01_false_faces": round(100 * found.recall[0.01], 2),
            "average_precision_percent": round(100 * found.average_precision, 2),
            "refined_landmark_error_percent_median": round(100 * float(np.median(errors)), 2),
            "refined_landmark_error_percent_p95": round(100 * float(np.percentile(errors, 95)), 2),
        }
    cosines = output_cosines(finders["float"], finders["int8"], _letterboxed(pictures, exact[0]))
    figures["cosine_float_int8"] = {
        "mean": round(float(cosines.mean()), 4),
        "first_percentile": round(float(np.percentile(cosines, 1)), 4),
        "least": round(float(cosines.min()), 4),
    }
    return FinderParity(figures, _judge(figures, gate or FinderGate()))


@torch.no_grad()
def output_cosines(exact: nn.Module, rough: nn.Module, pixels: Pixels) -> NDArray[np.float32]:
    """(n,) cosine between all outputs of both forms; each output first brought to its own size."""
    first, second = (_outputs(module, pixels) for module in (exact, rough))
    sizes = [float(np.sqrt(np.mean(np.square(output)))) for output in first]
    one, two = (
        np.concatenate([o / size for o, size in zip(outputs, sizes, strict=True)], axis=1)
        for outputs in (first, second)
    )
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return np.asarray(np.einsum("ij,ij->i", one, two) / lengths, np.float32)


def _outputs(module: nn.Module, pixels: Pixels) -> list[Floats]:
    """Each output of all pictures as rows (n, values)."""
    rows = []
    for picture in pixels:
        inputs = to_network_floats(torch.from_numpy(picture[None]).permute(0, 3, 1, 2))
        rows.append([output.reshape(1, -1).numpy() for output in module(inputs)])
    return [np.concatenate(output) for output in zip(*rows, strict=True)]


def _letterboxed(pictures: Sequence[Picture], finder: Finder) -> Pixels:
    width, height = finder.shape.width_px, finder.shape.height_px
    return np.stack([predict.letterbox(picture.pixels, width, height)[0] for picture in pictures])


def _judge(figures: dict[str, Any], gate: FinderGate) -> tuple[str, ...]:
    cosine, before, after = figures["cosine_float_int8"], figures["float"], figures["int8"]
    recall = "recall_percent_at_0.1_false_faces"
    lost = before[recall] - after[recall]
    error = "refined_landmark_error_percent_median"
    moved = after[error] - before[error]
    # Asked for what must hold: a figure that is no number holds nothing.
    checks = [
        (cosine["mean"] >= gate.mean_cosine, f"mean cosine {cosine['mean']} is under {gate.mean_cosine}"),
        (
            cosine["first_percentile"] >= gate.low_cosine,
            f"the worst per cent has cosine {cosine['first_percentile']}, under {gate.low_cosine}",
        ),
        (lost <= gate.recall_loss_points, f"{lost:.2f} points of recall lost"),
        (moved <= gate.landmark_error_points, f"landmarks {moved:.2f} points of the eye distance worse"),
    ]
    return tuple(sentence for holds, sentence in checks if not holds)
