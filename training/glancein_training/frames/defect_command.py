"""Who tells best what is wrong with a frame: ranking, cross-entropy, or the device's plain measures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from glancein.domain import quality
from glancein_training.configuration import at_least
from glancein_training.evaluate.bootstrap import Estimate, estimate, person_weights
from glancein_training.frames import defects
from glancein_training.frames.label_decision import CountDecision, Decision, ThresholdDecision, fit
from glancein_training.frames.rank import PixelScorer
from glancein_training.frames.spoil import DEFECTS, Bools, Floats
from glancein_training.frames.visits import Ints, Progress, Study, simulate

NAMES = tuple(map(str, DEFECTS))
MOST_LABELS = 4  # frames with five defects at once are too rare to learn the number five


@dataclass(frozen=True, slots=True)
class Looks:
    """What is known of the frames that are reported on."""

    wrong: Bools  # (n, 7)
    person: Ints  # (n,)
    resamples: int


@dataclass(frozen=True, slots=True)
class Row:
    """One way to tell, on people never seen before."""

    name: str
    f1: Estimate  # over all labels together
    exact: float  # share of frames of which everything said is right
    f1_each: dict[str, float]
    precision_each: dict[str, float] | None  # average precision; None where labels are said without a score


def measure(study: Study, learning: defects.Learning, *, progress: Progress | None = None) -> list[Row]:
    """Train, set every limit on people kept out of training, report on others.

    Writes ``defects.json`` and the network, ``defects.pt``. Raises InputError for impossible settings, or if
    the pack is too small.
    """
    at_least(learning, defects.LEAST)
    visits = simulate(study, progress)
    fitted, chosen, report = (defects.frames_of(visits[name]) for name in ("fit", "choose", "report"))
    person = np.repeat(visits["report"].person[:, None], study.plan.frames, axis=1)[visits["report"].known]
    told: dict[str, tuple[Bools, Floats | None]] = {}
    for name, limits in (("kiosk's limits", quality.PROBE_LIMITS), ("photo limits", quality.PHOTO_LIMITS)):
        told[f"plain measures, {name}"] = (defects.plain_findings(report.measures, limits), None)
    scores = {
        "plain measures, limits set anew": (
            defects.plain_scores(chosen.measures),
            defects.plain_scores(report.measures),
        ),
        "all measures, linear": _linear(fitted, chosen, report, learning),
    }
    entropy = defects.train(fitted, defects.binary_cross_entropy, learning)
    scores["network, cross-entropy"] = (_scores(entropy, chosen), _scores(entropy, report))
    ranker = defects.train(fitted, defects.ranking, learning)
    scores["network, ranking, one limit a label"] = (_scores(ranker, chosen), _scores(ranker, report))
    for name, (choosing, reporting) in scores.items():
        told[name] = (reporting > defects.best_limits(choosing, chosen.wrong), reporting)
    for name, decision in _decisions().items():
        told[name] = (
            _decided(ranker, decision, fitted, report),
            scores["network, ranking, one limit a label"][1],
        )
    looks = Looks(report.wrong, person, study.resamples)
    rows = [_row(name, said, ranked, looks) for name, (said, ranked) in told.items()]
    study.write("defects", learning=asdict(learning), labels=NAMES, rows=[asdict(row) for row in rows])
    if study.out is not None:
        _keep(ranker, study.out / "defects.pt")
    return rows


def _linear(
    fitted: defects.Frames, chosen: defects.Frames, report: defects.Frames, learning: defects.Learning
) -> tuple[Floats, Floats]:
    network = defects.train_linear(fitted, learning)
    with torch.no_grad():
        first, second = (network(torch.from_numpy(f.measures))[:, :-1].numpy() for f in (chosen, report))
    return first, second


def _decisions() -> dict[str, Decision]:
    torch.manual_seed(0)
    features = PixelScorer().out.in_features
    return {
        "network, ranking, count": CountDecision(features, MOST_LABELS),
        "network, ranking, threshold": ThresholdDecision(features, len(DEFECTS) + 1),
    }


@torch.no_grad()
def _seen(network: PixelScorer, frames: defects.Frames) -> tuple[Tensor, Tensor]:
    """Features (n, 128) and scores (n, 8)."""
    features = network.features(frames.pixels)
    return features, network.out(features)


def _scores(network: PixelScorer, frames: defects.Frames) -> Floats:
    out: Floats = _seen(network, frames)[1][:, :-1].numpy()
    return out


def _decided(
    network: PixelScorer,
    decision: Decision,
    fitted: defects.Frames,
    report: defects.Frames,
) -> Bools:
    features, scores = _seen(network, fitted)
    fit(decision, features, scores, fitted.labels())
    features, scores = _seen(network, report)
    with torch.no_grad():
        out: Bools = decision.decide(features, scores)[:, :-1].numpy()
    return out


def _row(name: str, told: Bools, scores: Floats | None, looks: Looks) -> Row:
    wrong = looks.wrong
    people, at = np.unique(looks.person, return_inverse=True)
    counted = [np.bincount(at, c.sum(axis=1), len(people)) for c in (told & wrong, told, wrong)]
    sampled = []
    for weight in person_weights(len(people), looks.resamples, seed=0):
        hits, said, there = (float(weight @ c) for c in counted)
        sampled.append(2 * hits / max(1.0, said + there))
    precision = None
    if scores is not None:
        precision = {n: defects.average_precision(scores[:, k], wrong[:, k]) for k, n in enumerate(NAMES)}
    return Row(
        name,
        estimate(defects.f1(told, wrong), sampled),
        float((told == wrong).all(axis=1).mean()),
        {n: defects.f1(told[:, k], wrong[:, k]) for k, n in enumerate(NAMES)},
        precision,
    )


def _keep(network: PixelScorer, path: Path) -> None:
    part = path.with_suffix(".part")
    torch.save({"labels": [*NAMES, "nothing wrong"], "weights": network.state_dict()}, part)
    part.replace(path)
