"""A limit of one's own for everybody enrolled, predicted from the badge photo and its gallery neighbours.

Threshold estimation (Li et al. 2017) with people for labels: sigmoid(score - limit of this person) is 1 for
the person and 0 for a stranger taken for that person. Judged by the misses at a fixed rate of false accepts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor, nn

from glancein_training.configuration import at_least
from glancein_training.frames import fuse
from glancein_training.frames.rank import Standardised
from glancein_training.frames.spoil import Floats
from glancein_training.frames.visits import Ints, Progress, Study, Visits, simulate

NEIGHBOURS = 5
LEAST = {"galleries": 1, "steps": 1, "rate": 0, "weight_decay": 0, "seed": 0}
LEAST_PEOPLE = {"fit_people": 4, "report_people": 4}  # half are enrolled, and each of them needs a neighbour
STEEP = 20.0  # a cosine 0.05 beyond the limit is a probability of 0.73


@dataclass(frozen=True, slots=True)
class Learning:
    """How the limits are learned."""

    galleries: int = 20
    steps: int = 400
    rate: float = 5e-3
    weight_decay: float = 0.05
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Looks:
    """Single frames against templates."""

    template: Floats  # (p, d)
    person: Ints  # (n,)
    cosines: Floats  # (n, p)


def looks_of(visits: Visits) -> Looks:
    """Every frame of every visit as a look of its own."""
    unit = visits.unit()
    frames = unit.reshape(-1, unit.shape[2])
    return Looks(visits.template, np.repeat(visits.person, unit.shape[1]), frames @ visits.template.T)


def neighbours(template: Floats, enrolled: Ints) -> Floats:
    """(e, 4) for each enrolled person: cosine of the nearest other, mean of five, mean and spread of all."""
    cosines = template[enrolled] @ template[enrolled].T
    others = cosines[~np.eye(len(enrolled), dtype=bool)].reshape(len(enrolled), -1)
    near = -np.sort(-others, axis=1)[:, :NEIGHBOURS]
    return np.stack([near[:, 0], near.mean(axis=1), others.mean(axis=1), others.std(axis=1)], axis=1)


def features(template: Floats, enrolled: Ints, *, with_badge: bool) -> Tensor:
    """(e, 4 or 4 + d): the neighbours, and the badge photo's own embedding if wanted."""
    columns = [neighbours(template, enrolled)] + ([template[enrolled]] if with_badge else [])
    return torch.from_numpy(np.concatenate(columns, axis=1).astype(np.float32))


def learn(looks: Looks, *, enrolled: int, with_badge: bool, learning: Learning) -> nn.Module:
    """(e, m) features -> (e, 1) limits, learned in galleries drawn of these people."""
    torch.manual_seed(learning.seed)
    drawn = fuse.galleries(len(looks.template), enrolled, learning.galleries, seed=learning.seed)
    seen = [features(looks.template, rows, with_badge=with_badge) for rows in drawn]
    tries = [_tries(looks, rows) for rows in drawn]
    linear = nn.Linear(seen[0].shape[1], 1)
    nn.init.zeros_(linear.weight)
    nn.init.constant_(linear.bias, float(torch.cat([t[1][~t[2]] for t in tries]).quantile(0.99)))
    network = nn.Sequential(Standardised(torch.cat(seen)), linear)
    optimiser = torch.optim.AdamW(
        [
            {"params": [linear.weight], "weight_decay": learning.weight_decay},
            {"params": [linear.bias], "weight_decay": 0},
        ],
        lr=learning.rate,
    )
    for step in range(learning.steps):
        place, score, own = tries[step % len(tries)]
        limits = network(seen[step % len(seen)])[:, 0]
        loss = F.binary_cross_entropy_with_logits(STEEP * (score - limits[place]), own.float())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()
    return network.eval()


def _tries(looks: Looks, enrolled: Ints) -> tuple[Tensor, Tensor, Tensor]:
    """Place in the gallery, score, whether it is the person: all own looks, each stranger's best match."""
    place = np.full(len(looks.template), -1)
    place[enrolled] = np.arange(len(enrolled))
    at = place[looks.person]
    scores = looks.cosines[:, enrolled]
    mated = np.flatnonzero(at >= 0)
    best = scores[at < 0].argmax(axis=1)
    places = np.concatenate([at[mated], best])
    values = np.concatenate([scores[mated, at[mated]], scores[at < 0].max(axis=1)])
    return torch.from_numpy(places), torch.from_numpy(values), torch.arange(len(places)) < len(mated)


def own_limits(looks: Looks, network: nn.Module, *, with_badge: bool) -> fuse.InGallery:
    """Scores less each person's limit, so that one limit for all is fair again."""

    @torch.no_grad()
    def scores_in(enrolled: Ints) -> Floats:
        out = np.array(looks.cosines)
        out[:, enrolled] -= network(features(looks.template, enrolled, with_badge=with_badge))[:, 0].numpy()
        return out

    return scores_in


def normalised(looks: Looks) -> fuse.InGallery:
    """Scores in deviations of the template's cosines to its neighbours (zero normalisation)."""

    def scores_in(enrolled: Ints) -> Floats:
        near = neighbours(looks.template, enrolled)
        out = np.array(looks.cosines)
        out[:, enrolled] = (out[:, enrolled] - near[:, 2]) / np.maximum(near[:, 3], 1e-6)
        return out

    return scores_in


def measure(study: Study, learning: Learning, *, progress: Progress | None = None) -> list[fuse.Judged]:
    """One limit for all against limits of one's own, on new people; writes ``limits.json``.

    Raises InputError for impossible settings, if the plan has too few strangers to tell a rate of, or if the
    pack is too small for it.
    """
    at_least(learning, LEAST)
    at_least(study.plan, LEAST_PEOPLE)
    enrolled = min(study.plan.fit_people, study.plan.report_people) // 2
    fuse.told_rates(study.plan.stranger_visits(enrolled) * study.plan.frames)
    visits = simulate(study, progress)
    fitted, report = looks_of(visits["fit"]), looks_of(visits["report"])
    ways = {
        "one limit for all": fuse.whatever_gallery(report.cosines),
        "scores normalised": normalised(report),
    }
    for name, with_badge in (("limit by neighbours", False), ("limit by badge and neighbours", True)):
        network = learn(fitted, enrolled=enrolled, with_badge=with_badge, learning=learning)
        ways[name] = own_limits(report, network, with_badge=with_badge)
    rows = fuse.judge(
        ways,
        report.person,
        people=len(report.template),
        enrolled=enrolled,
        resamples=study.resamples,
    )
    study.write("limits", learning=asdict(learning), enrolled=enrolled, rows=[asdict(row) for row in rows])
    return rows
