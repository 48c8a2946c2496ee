"""Which pictures a distillation may see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install .[training]")

import torch
from numpy.typing import NDArray

from glancein.errors import InputError
from glancein_training.lessons import make_target, prepare, towards_people
from glancein_training.packs import NO_IDENTITY, Crops, Floats, unit_rows


def pack(vectors: Floats, identity: list[int], is_train: list[bool]) -> Crops:
    """Pictures that nobody looks at, seen alike by both teachers."""
    pixels: NDArray[np.uint8] = np.zeros((len(vectors), 1, 1, 3), np.uint8)
    return Crops(pixels, np.array(identity), np.array(is_train), (vectors, vectors), "")


def test_a_nameless_picture_of_a_development_person_is_not_trained_on() -> None:
    """The named ones are told apart by their names, however alike they are."""
    person, near, far = np.eye(3, dtype=np.float32)
    near = unit_rows((person + 0.5 * near)[None])[0]
    named = pack(np.stack([person, near, far]), [0, 1, 2], [False, True, True])
    nameless = pack(np.stack([near, far]), [NO_IDENTITY, NO_IDENTITY], [True, True])

    lessons, _ = prepare([named, nameless], None, 3)

    assert lessons.where.tolist() == [[0, 1], [0, 2], [1, 1]]


@pytest.mark.parametrize("teachers", [(0,), (1, 2)])
def test_packs_without_the_same_teachers_are_refused(teachers: tuple[int, ...]) -> None:
    """There is nothing to ask for, or something else in every pack."""
    crops = [pack(np.eye(3, dtype=np.float32), [0, 1, 2], [True] * 3) for _ in teachers]
    fewer = [replace(c, teachers=c.teachers[:n]) for c, n in zip(crops, teachers, strict=True)]

    with pytest.raises(InputError, match="same teachers' vectors"):
        prepare(fewer, None, 3)


def test_one_teacher_is_enough_to_learn_from() -> None:
    """The target is then its own vectors, turned onto its axes."""
    alone = replace(
        pack(np.eye(3, dtype=np.float32), [0, 1, 2], [True] * 3), teachers=(np.eye(3, dtype=np.float32),)
    )

    lessons, basis = prepare([alone], None, 3)

    assert np.allclose(lessons.targets[0].numpy() @ basis.T, np.eye(3), atol=1e-6)


def test_one_teacher_alone_does_not_exclude() -> None:
    """Both have to take them for one person."""
    person, other = np.eye(2, dtype=np.float32)
    named = pack(np.stack([person, other]), [0, 1], [False, True])
    crops = np.zeros((1, 1, 1, 3), np.uint8)
    doubtful = Crops(crops, np.array([NO_IDENTITY]), np.array([True]), (person[None], other[None]), "")

    lessons, _ = prepare([named, doubtful], None, 2)

    assert [1, 0] in lessons.where.tolist()


def test_targets_move_towards_the_mean_of_the_others() -> None:
    """By hand for one person of three; somebody with one picture, a doubtful one and a nameless one stay."""
    rows = unit_rows(
        np.array(
            [[3, 1, 0], [3, -1, 0], [3, 0, 1], [0, 1, 0], [1, 0, 0], [-1, 0.1, 0], [0, 0, 1]], np.float32
        )
    )
    identity = np.array([0, 0, 0, 1, 2, 2, NO_IDENTITY])

    moved = towards_people(torch.from_numpy(rows), identity, 0.5).numpy()

    others = unit_rows((rows[1] + rows[2])[None])
    assert np.allclose(moved[0], unit_rows(0.5 * rows[:1] + 0.5 * others)[0], atol=1e-6)
    assert np.array_equal(moved[3:], rows[3:])
    assert np.array_equal(towards_people(torch.from_numpy(rows), identity, 0.0).numpy()[3:], rows[3:])


def test_axes_of_other_teachers_are_refused() -> None:
    """Weights distilled from two teachers say nothing of a third one's numbers."""
    teachers = [np.ones((3, 4), np.float32), np.ones((3, 2), np.float32)]

    with pytest.raises(InputError, match="have 6 numbers for a picture, those of the weights had 8"):
        make_target(teachers, np.eye(8, 3, dtype=np.float32), 3)
