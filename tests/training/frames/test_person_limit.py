"""A limit for each person: what it is predicted from, and that the judge takes it off the score."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch

from glancein_training.frames import person_limit
from glancein_training.frames.visits import Visits


def test_neighbours_are_those_of_the_gallery_alone() -> None:
    """One person and one other at a time; who is not enrolled does not count."""
    rng = np.random.default_rng(0)
    template = rng.normal(size=(9, 6)).astype(np.float32)
    template /= np.linalg.norm(template, axis=1, keepdims=True)
    enrolled = np.array([0, 2, 3, 5, 6, 7, 8])

    found = person_limit.neighbours(template, enrolled)

    for at, person in enumerate(enrolled):
        others = sorted(
            (float(template[person] @ template[o]) for o in enrolled if o != person), reverse=True
        )
        wanted = [others[0], sum(others[:5]) / 5, sum(others) / len(others), float(np.std(others))]
        np.testing.assert_allclose(found[at], wanted, atol=1e-5)


def test_own_limits_are_taken_off_the_enrolled_ones_scores(graded_visits: Visits) -> None:
    """A network that says a quarter for everybody moves every enrolled score by a quarter."""
    looks = person_limit.looks_of(graded_visits)
    network = torch.nn.Linear(4, 1)
    torch.nn.init.zeros_(network.weight)
    torch.nn.init.constant_(network.bias, 0.25)

    scores = person_limit.own_limits(looks, network, with_badge=False)(np.array([1, 4]))

    np.testing.assert_allclose(scores[:, [1, 4]], looks.cosines[:, [1, 4]] - 0.25, atol=1e-6)
    np.testing.assert_array_equal(scores[:, 0], looks.cosines[:, 0])


def test_learn_raises_the_limit_of_those_whom_strangers_resemble() -> None:
    """Half of the people lie close together and strangers are taken for them: their limits are higher."""
    rng = np.random.default_rng(0)
    people = 40
    template = rng.normal(size=(people, 24))
    template[::2] += 5 * rng.normal(size=24)
    template /= np.linalg.norm(template, axis=1, keepdims=True)
    frames = np.repeat(template, 6, axis=0) + 0.12 * rng.normal(size=(people * 6, 24))
    frames /= np.linalg.norm(frames, axis=1, keepdims=True)
    looks = person_limit.Looks(
        template.astype(np.float32), np.repeat(np.arange(people), 6), (frames @ template.T).astype(np.float32)
    )
    learning = person_limit.Learning(galleries=4, steps=80, rate=0.02)

    network = person_limit.learn(looks, enrolled=20, with_badge=False, learning=learning)

    with torch.no_grad():
        limits = network(person_limit.features(looks.template, np.arange(people), with_badge=False))[:, 0]
    assert limits[::2].mean() > limits[1::2].mean() + 0.05
