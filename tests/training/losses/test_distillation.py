"""Distillation losses against slow plain versions and geometry."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows

from glancein_training.losses.distillation import cosine_distillation, crowding, relational_distillation


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Six student vectors of any length and six unit teacher vectors."""
    rng = torch.Generator().manual_seed(seed)
    student = torch.randn(6, 4, generator=rng) * 3
    return student, F.normalize(torch.randn(6, 4, generator=rng))


def plain_cosine(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


@pytest.mark.parametrize("power", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_cosine_distillation_agrees_with_a_plain_version(seed: int, power: float) -> None:
    """A weighted mean of 1 - cos, the weights (1 - cos)^p averaging one."""
    student, teacher = batch(seed)

    got = cosine_distillation(student, teacher, hard_power=power).item()

    distance = [1 - plain_cosine(s, t) for s, t in zip(student.tolist(), teacher.tolist(), strict=True)]
    weight = [d**power for d in distance]
    want = sum(w * d for w, d in zip(weight, distance, strict=True)) / sum(weight)
    assert got == pytest.approx(want, abs=1e-5)


def test_cosine_distillation_is_zero_on_the_teacher_whatever_the_length() -> None:
    """Only the direction counts."""
    _, teacher = batch(1)

    assert cosine_distillation(5 * teacher, teacher).item() == pytest.approx(0.0, abs=1e-6)
    assert cosine_distillation(-teacher, teacher).item() == pytest.approx(2.0, abs=1e-6)


def test_hard_weights_are_held_fixed_in_the_gradient() -> None:
    """The weight says how much a picture counts; it is nothing to be learned smaller."""
    student, teacher = batch(2)
    student.requires_grad_()
    distance = 1 - F.cosine_similarity(student, teacher)
    weight = distance.detach() ** 0.5
    (want,) = torch.autograd.grad((weight / weight.mean() * distance).mean(), student)

    (got,) = torch.autograd.grad(cosine_distillation(student, teacher, hard_power=0.5), student)

    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("seed", range(3))
def test_relational_distillation_agrees_with_a_plain_version(seed: int) -> None:
    """Mean squared difference of cosines over all ordered pairs of different pictures."""
    student, teacher = batch(seed)

    got = relational_distillation(student, teacher).item()

    s, t = student.tolist(), teacher.tolist()
    pairs = [(i, j) for i in range(6) for j in range(6) if i != j]
    want = sum((plain_cosine(s[i], s[j]) - plain_cosine(t[i], t[j])) ** 2 for i, j in pairs) / len(pairs)
    assert got == pytest.approx(want, abs=1e-5)


def test_relational_distillation_does_not_see_a_rotation() -> None:
    """Only the angles between pictures count, so a turned and scaled copy of the teacher is perfect."""
    _, teacher = batch(3)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(4)))

    loss = relational_distillation(2 * teacher @ rotation, teacher)

    assert loss.item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("sharpness", [0.0, 4.0, 16.0])
@pytest.mark.parametrize("seed", range(3))
def test_crowding_agrees_with_a_plain_version(seed: int, sharpness: float) -> None:
    """The excess of a weighted mean of cosines, the nearest counting most; being farther off is no fault."""
    student, teacher = batch(seed)
    others = F.normalize(torch.randn(9, 4, generator=torch.Generator().manual_seed(seed + 50)))

    got = crowding(student, teacher, others, sharpness=sharpness).item()

    def mean(vector: list[float]) -> float:
        cosines = [plain_cosine(vector, other) for other in others.tolist()]
        weights = [math.exp(sharpness * cosine) for cosine in cosines]
        return sum(w * c for w, c in zip(weights, cosines, strict=True)) / sum(weights)

    excess = [mean(s) - mean(t) for s, t in zip(student.tolist(), teacher.tolist(), strict=True)]
    assert got == pytest.approx(sum(max(0.0, e) for e in excess) / len(excess), abs=1e-5)


def test_crowding_moves_a_vector_away_from_its_crowd() -> None:
    """A step against the gradient makes the student less near to the others; on the teacher there is none."""
    _, teacher = batch(1)
    others = F.normalize(torch.randn(9, 4, generator=torch.Generator().manual_seed(9)))
    hub = (teacher + others.sum(0)).requires_grad_()

    (slope,) = torch.autograd.grad(crowding(hub, teacher, others), hub)

    assert crowding((hub - 0.1 * slope).detach(), teacher, others) < crowding(hub.detach(), teacher, others)
    assert crowding(3 * teacher, teacher, others).item() == pytest.approx(0.0, abs=1e-6)
