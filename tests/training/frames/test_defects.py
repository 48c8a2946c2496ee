"""What is wrong with a frame: labels, limits and figures against slow plain versions."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch

from glancein.domain import quality
from glancein_training.frames import defects
from glancein_training.frames.label_decision import CountDecision, ThresholdDecision, fit
from glancein_training.frames.plain_measures import MEASURES
from glancein_training.frames.spoil import DEFECTS, Defect
from glancein_training.frames.visits import Visits

GOOD = {
    "eye_distance_px": 60,
    "blur_px": 0.5,
    "light": 0.7,
    "mean_light": 0.5,
    "black_share": 0,
    "burnt_share": 0,
    "contrast": 0.1,
    "nose_offset": 0,
    "nose_height": 0.5,
    "face_aspect": 1.1,
    "mouth_detail": 0.8,
    "eye_light": 0.8,
    "outside_share": 0,
}


def test_labels_without_a_defect_say_nothing_wrong(graded_visits: Visits) -> None:
    """Every frame has a label to rank, and unknown heads are left out."""
    frames = defects.frames_of(graded_visits)

    labels = frames.labels().numpy()

    assert len(labels) == graded_visits.known.sum()
    assert labels.any(axis=1).all()
    for row, wrong in zip(labels, frames.wrong, strict=True):
        assert row[-1] == (not any(wrong))


@pytest.mark.parametrize(
    ("measure", "value", "defect"),
    [
        ("blur_px", 5.0, Defect.BLURRED),
        ("light", 0.1, Defect.DARK),
        ("burnt_share", 0.5, Defect.BURNT_OUT),
        ("eye_distance_px", 6.0, Defect.LOW_RESOLUTION),
        ("nose_offset", 0.6, Defect.TURNED_AWAY),
        ("mouth_detail", 0.1, Defect.COVERED),
        ("outside_share", 0.3, Defect.CUT_OFF),
    ],
)
def test_plain_measures_say_their_defect(measure: str, value: float, defect: Defect) -> None:
    """A measure beyond its limit is that finding alone, and its score rises above a good frame's."""
    rows = np.array(
        [[values[name] for name in MEASURES] for values in (GOOD, {**GOOD, measure: value})], np.float32
    )

    findings = defects.plain_findings(rows, quality.PHOTO_LIMITS)
    scores = defects.plain_scores(rows)

    assert not findings[0].any()
    assert [DEFECTS[k] for k in np.flatnonzero(findings[1])] == [defect]
    assert scores[1, DEFECTS.index(defect)] > scores[0, DEFECTS.index(defect)]


def test_best_limits_have_the_highest_f1_of_all() -> None:
    """Trying every limit finds no better one."""
    rng = np.random.default_rng(0)
    wrong = rng.random((40, 3)) < 0.3
    scores = (wrong + rng.normal(size=wrong.shape)).astype(np.float32)

    limits = defects.best_limits(scores, wrong)

    for k in range(3):
        tried = [defects.f1(scores[:, k] > limit, wrong[:, k]) for limit in [*scores[:, k], -np.inf]]
        assert defects.f1(scores[:, k] > limits[k], wrong[:, k]) == pytest.approx(max(tried))


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_best_limits_part_no_equal_scores(share: float) -> None:
    """Few levels, as a burnt share has, or nothing but wrong frames: no other limit is better."""
    rng = np.random.default_rng(1)
    wrong = rng.random((40, 8)) < share
    scores = rng.integers(0, 4, wrong.shape).astype(np.float32)

    limits = defects.best_limits(scores, wrong)

    for k in range(8):
        tried = [defects.f1(scores[:, k] > limit, wrong[:, k]) for limit in (-1, 0, 1, 2)]
        assert defects.f1(scores[:, k] > limits[k], wrong[:, k]) == pytest.approx(max(tried))


def test_average_precision_of_equal_scores_does_not_hang_on_their_order() -> None:
    """Each level's precision, weighted by the hits that it adds; the same whatever frame comes first."""
    rng = np.random.default_rng(0)
    scores, wrong = rng.integers(0, 3, 40).astype(np.float32), rng.random(40) < 0.3
    added = [(wrong[scores == level].sum(), wrong[scores >= level].mean()) for level in (2, 1, 0)]
    plain = sum(count * precision for count, precision in added) / wrong.sum()

    for order in (np.argsort(wrong, kind="stable"), np.argsort(~wrong, kind="stable")):
        assert defects.average_precision(scores[order], wrong[order]) == pytest.approx(plain)


def test_average_precision_is_the_mean_precision_at_the_hits() -> None:
    """Counted one frame at a time."""
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5], np.float32)
    wrong = np.array([True, False, True, False, True])

    assert defects.average_precision(scores, wrong) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)


def test_train_learns_a_label_that_can_be_seen(graded_visits: Visits) -> None:
    """The first label stands in the shade of the picture."""
    frames = defects.frames_of(graded_visits)

    network = defects.train(frames, defects.ranking, defects.Learning(epochs=7, batch=16, rate=5e-3))

    with torch.no_grad():
        scores = network(frames.pixels).numpy()
    assert defects.average_precision(scores[:, 0], frames.wrong[:, 0]) > 0.8


@pytest.mark.parametrize("kind", [CountDecision, ThresholdDecision])
def test_decision_learns_how_many_labels_to_say(kind: type[CountDecision | ThresholdDecision]) -> None:
    """Features that tell the count, and scores that tell only the order, give the labels."""
    rng = torch.Generator().manual_seed(0)
    count = torch.randint(1, 4, (200,), generator=rng)
    order = torch.rand(200, 4, generator=rng)
    applies = order.argsort(dim=1, descending=True).argsort(dim=1) < count[:, None]
    limit = torch.stack([row.sort(descending=True).values[c] for row, c in zip(order, count, strict=True)])
    features = torch.stack([count.float(), 4 * limit], dim=1)
    torch.manual_seed(0)
    decision = kind(2, 4)

    fit(decision, features, 10 * order, applies, steps=250)

    assert (decision.decide(features, 10 * order) == applies).float().mean() > 0.9


def test_count_decision_says_that_many_of_the_best() -> None:
    """A count of two is the two highest scores, whatever their values."""
    decision = CountDecision(1, 3)
    for parameter in decision.parameters():
        parameter.data.zero_()
    last = decision.count[2]
    assert isinstance(last, torch.nn.Linear)
    last.bias.data = torch.tensor([0.0, 1.0, 0.0])

    told = decision.decide(torch.zeros(1, 1), torch.tensor([[-5.0, 3.0, -7.0, -4.0]]))

    assert told.tolist() == [[False, True, False, True]]
