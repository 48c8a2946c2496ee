"""What weighing the frames of a visit saves: every scorer against the plain mean, on new people."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from glancein.domain.visit import NOBODY_WEIGHT
from glancein_training.configuration import at_least
from glancein_training.frames import fuse, rank
from glancein_training.frames.spoil import Floats
from glancein_training.frames.visits import Progress, Study, Visits, simulate

CHOSEN_AT = 0.1  # the FPIR at which steepness is chosen: a tenth of few strangers is still several
AGREE_N = 3  # frames that must agree at the door, and outweigh those that do not
Scores = dict[str, tuple[Floats, Floats]]  # name -> those to choose on, those to report on


@dataclass(frozen=True, slots=True)
class Row:
    """One scorer's figures."""

    judged: fuse.Judged
    ordered: float | None  # share of pairs in the right order
    steepness: float | None


def measure(study: Study, learning: rank.Learning, *, progress: Progress | None = None) -> list[Row]:
    """Train every view, choose each one's steepness on people kept out of training, report on others.

    Writes ``ranking.json``. Raises InputError for impossible settings, if the plan has too few strangers to
    tell a rate of, or if the pack is too small for it.
    """
    at_least(learning, rank.LEAST)
    fuse.told_rates(study.plan.stranger_visits(study.plan.report_people // 2))
    visits = simulate(study, progress)
    choose, report = visits["choose"], visits["report"]
    scores: Scores = {
        "today's quality": (choose.overall, report.overall),
        "norm": (rank.norms(choose), rank.norms(report)),
        "agreement": (rank.agreement(choose), rank.agreement(report)),
    }
    for view in rank.views():
        network = rank.train(view, visits["fit"], learning)
        scores[f"network: {view.name}"] = (
            rank.score(network, view, choose),
            rank.score(network, view, report),
        )
    scores["the truth"] = (choose.genuine(), report.genuine())
    rows = _judge(scores, choose, report, resamples=study.resamples)
    study.write("ranking", learning=asdict(learning), rows=[asdict(row) for row in rows])
    return rows


def _judge(scores: Scores, choose: Visits, report: Visits, *, resamples: int) -> list[Row]:
    worth, plain = report.genuine(), np.ones(report.overall.shape, np.float32)
    looks = {
        "plain mean": fuse.weighted(report, plain),
        "plain mean of what passes": fuse.weighted(report, fuse.without_refused(plain, report.passes)),
        "raw sum": fuse.weighted(report, rank.norms(report)),
        "raw sum of what passes": fuse.weighted(
            report, fuse.without_refused(rank.norms(report), report.passes)
        ),
    }
    steepness: dict[str, float] = {}
    for name, (chosen, reported) in scores.items():
        steepness[name] = fuse.steepest_that_helps(
            choose, chosen, enrolled=len(choose.template) // 2, rate=CHOSEN_AT
        )
        looks[name] = fuse.weighted(report, fuse.weights_of(reported, steepness[name]))
    cosines = {name: look @ report.template.T for name, look in looks.items()}
    for weight in (NOBODY_WEIGHT, 1.0, 0.0):
        cosines[f"votes as at the door, nobody's weight {weight:g}"] = fuse.scores_at_the_door(
            report, AGREE_N, nobody_weight=weight
        )
    people = len(report.template)
    named = {name: fuse.whatever_gallery(matrix) for name, matrix in cosines.items()}
    for agree_n in range(1, min(AGREE_N, report.overall.shape[1]) + 1):
        named[f"votes: {agree_n} must agree"] = partial(fuse.scores_by_vote, report, agree_n)
    judged = fuse.judge(named, report.person, people=people, enrolled=people // 2, resamples=resamples)
    return [
        Row(
            row,
            rank.ordered_share(scores[row.name][1], worth) if row.name in scores else None,
            steepness.get(row.name),
        )
        for row in judged
    ]
