"""The gallery ranks people, not templates, and survives damaged vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glancein.domain.gallery import EMBEDDING_SIZE, gather, is_sound
from glancein.types import Floats, Template

MODEL = "0" * 64


def unit_vectors(count: int, seed: int) -> Floats:
    vectors = np.random.default_rng(seed).normal(size=(count, EMBEDDING_SIZE)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def templates(vectors: Floats, people: int) -> list[Template]:
    return [Template(f"E{row % people}", vector, MODEL) for row, vector in enumerate(vectors)]


@given(people=st.integers(1, 40), each=st.integers(1, 5), k=st.integers(1, 6), seed=st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_rank_when_compared_with_a_plain_loop(people: int, each: int, k: int, seed: int) -> None:
    """The ranking equals a loop that keeps each person's best cosine."""
    vectors = unit_vectors(people * each, seed)
    probe = unit_vectors(1, seed + 1)[0]
    best: dict[str, float] = {}
    for template in templates(vectors, people):
        score = sum(float(a) * float(b) for a, b in zip(template.vector, probe, strict=True))
        best[template.person_id] = max(score, best.get(template.person_id, -2.0))
    expected = sorted(best.items(), key=lambda item: -item[1])[:k]

    ranked = gather(templates(vectors, people)).rank(probe, k)

    assert [c.person_id for c in ranked] == [person for person, _ in expected]
    assert [c.score_cos for c in ranked] == pytest.approx([score for _, score in expected], abs=1e-5)


def test_rank_when_one_person_has_many_templates() -> None:
    """A person with a hundred templates does not push the runner-up out of the ranking."""
    crowd, other = unit_vectors(1, 1)[0], unit_vectors(1, 2)[0]
    gallery = gather(
        [*(Template("crowd", crowd, MODEL) for _ in range(100)), Template("other", other, MODEL)]
    )

    assert [c.person_id for c in gallery.rank(crowd)] == ["crowd", "other"]


def test_rank_when_nobody_is_enrolled() -> None:
    """An empty gallery has no candidates."""
    assert gather([]).rank(unit_vectors(1, 0)[0]) == []


@pytest.mark.parametrize(
    "vector",
    [
        np.full(EMBEDDING_SIZE, np.nan, np.float32),
        np.full(EMBEDDING_SIZE, np.inf, np.float32),
        np.zeros(EMBEDDING_SIZE, np.float32),
        np.ones(EMBEDDING_SIZE, np.float32),
        np.ones(3, np.float32),
    ],
)
def test_gather_when_a_template_is_damaged(vector: Floats) -> None:
    """A vector that is not finite, not of unit length or of another size is never matched."""
    good = unit_vectors(1, 3)[0]

    gallery = gather([Template("bad", vector, MODEL), Template("good", good, MODEL)])

    assert not is_sound(vector)
    assert gallery.person_ids == ("good",)


def test_rank_when_the_probe_is_not_finite() -> None:
    """A broken probe is refused, not ranked."""
    with pytest.raises(ValueError, match="finite"):
        gather([]).rank(np.full(EMBEDDING_SIZE, np.nan, np.float32))
