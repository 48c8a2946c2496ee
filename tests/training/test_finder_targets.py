"""What the grids are taught, and the loss."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch

from glancein.domain.detect import Level, Plane, decode, suppress
from glancein_training.finder.network import CHANNELS, FAMILY, STRIDES, Finder, count_cost
from glancein_training.finder.scenes import Scene
from glancein_training.finder.targets import Target, Weights, loss, make_target, quality_focal

WIDTH, HEIGHT = 256, 192


def scene(*boxes: tuple[float, float, float, float], weight: float = 1.0) -> Scene:
    """Faces with landmarks at fixed places of their boxes."""
    array = np.asarray(boxes, np.float32).reshape(-1, 4)
    places = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
    landmarks = array[:, None, :2] + places[None] * array[:, None, 2:]
    return Scene(
        np.zeros((HEIGHT, WIDTH, 3), np.uint8), array, landmarks, np.full(len(array), weight, np.float32)
    )


def perfect(targets: tuple[Target, ...], row: int = 0) -> list[Level]:
    """What a network says that has learnt its targets by heart."""
    return [
        Level(
            stride,
            Plane(torch.logit(target.score[row].clamp(1e-4, 1 - 1e-4))[..., None].numpy()),
            Plane(target.edges[row].permute(1, 2, 0).contiguous().numpy()),
            Plane(target.landmarks[row].permute(1, 2, 0).contiguous().numpy()),
        )
        for stride, target in zip(STRIDES, targets, strict=True)
    ]


@pytest.mark.parametrize("size", [12, 20, 31, 60, 120, 180])
def test_learnt_targets_decode_to_the_labels(size: float) -> None:
    """For every size, decoding perfect outputs gives back one face: box and landmarks exactly."""
    labelled = scene((40.5, 6.0, 0.8 * size, size))
    targets = tuple(make_target([labelled], stride) for stride in STRIDES)

    found = suppress(decode(perfect(targets), threshold=0.4))

    assert len(found) == 1
    edges = np.concatenate([labelled.boxes[:, :2], labelled.boxes[:, :2] + labelled.boxes[:, 2:]], axis=1)
    np.testing.assert_allclose(found.edges, edges, atol=1e-3)
    np.testing.assert_allclose(found.landmarks, labelled.landmarks, atol=1e-3)


def test_two_people_decode_to_two_faces() -> None:
    """Neighbours do not merge."""
    labelled = scene((20, 40, 50, 66), (85, 44, 48, 60), (180, 100, 16, 20))
    targets = tuple(make_target([labelled], stride) for stride in STRIDES)

    assert len(suppress(decode(perfect(targets), threshold=0.4))) == 3


def test_ignored_face_counts_neither_way() -> None:
    """Cells of a label of weight 0 have no weight and nothing to regress."""
    target = make_target([scene((60, 60, 64, 64), weight=0.0)], 16)

    assert target.score.max() == 0
    assert target.regress.max() == 0
    assert target.weight[0, 5, 5] == 0
    assert target.weight[0, 0, 0] == 1


def test_perfect_outputs_lose_almost_nothing() -> None:
    """The loss is smallest where the outputs are the targets, and larger where they are not."""
    targets = [make_target([scene((60, 60, 64, 64))], stride) for stride in STRIDES]
    outputs = []
    for target in targets:
        outputs += [torch.logit(target.score.clamp(1e-6, 1 - 1e-6))[:, None], target.edges, target.landmarks]

    best = loss(outputs, targets, Weights())
    worse = loss([o + 0.5 for o in outputs], targets, Weights())

    assert all(float(part) < 1e-3 for part in best)
    assert all(float(part) > float(good) for part, good in zip(worse, best, strict=True))


def test_quality_focal_is_cross_entropy_times_squared_distance() -> None:
    """Against the formula written out for one value."""
    logit, target = 0.3, 0.8
    share = 1 / (1 + np.exp(-logit))
    expected = (share - target) ** 2 * -(target * np.log(share) + (1 - target) * np.log(1 - share))

    assert float(quality_focal(torch.tensor(logit), torch.tensor(target))) == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize("name", sorted(FAMILY))
def test_network_keeps_the_budget_and_its_shapes(name: str) -> None:
    """At most 40 MMAC and 300,000 parameters; six outputs of the grids' sizes."""
    network = Finder(FAMILY[name]).eval()
    parameters, macs = count_cost(network)

    outputs = network(torch.zeros(1, 3, HEIGHT, WIDTH))

    assert parameters < 300_000
    assert macs <= 40_000_000
    assert [tuple(o.shape) for o in outputs] == [
        (1, channels, HEIGHT // stride, WIDTH // stride) for stride in STRIDES for channels in CHANNELS
    ]
