"""Disturbances do what their names say, and worse pictures never help."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

from glancein.errors import InputError
from glancein_training.evaluate.cross import cross
from glancein_training.evaluate.faces import Faces, Floats, unit_rows
from glancein_training.evaluate.robustness import (
    Disturbance,
    blur,
    couples,
    darken,
    disturbances,
    disturbed,
    fewer_pixels,
    jpeg,
    measure,
    rotate,
)
from glancein_training.packs import Pixels


def a_picture(seed: int = 0) -> Pixels:
    """Smooth blobs with some detail (128, 128, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (16, 16, 3)).repeat(8, axis=0).repeat(8, axis=1)
    return (coarse + rng.integers(-20, 20, coarse.shape)).clip(0, 255).astype(np.uint8)


def shown_as(pictures: Pixels) -> Floats:
    """An embedder that averages blocks: its vectors change as the picture does."""
    blocks = pictures.reshape(len(pictures), 16, 8, 16, 8, 3).mean(axis=(2, 4)).reshape(len(pictures), -1)
    return unit_rows(np.asarray(blocks - blocks.mean(axis=1, keepdims=True), np.float32))


def some_faces(people: int = 12, each: int = 3) -> tuple[Faces, Pixels]:
    """Each person one picture, seen under three lights."""
    pixels = np.stack([darken(a_picture(k), 0.8 + 0.1 * (j % 3)) for k in range(people) for j in range(each)])
    identity = np.repeat(np.arange(people), each)
    names = tuple(str(k) for k in range(people))
    path = np.array([f"{k}.webp" for k in range(people * each)])
    blank = np.full(len(path), "")
    return Faces(path, np.ones(len(path), bool), shown_as(pixels), identity, names, blank), pixels


@pytest.mark.parametrize("kind", disturbances(), ids=lambda kind: kind.name)
def test_each_disturbance_grows_along_its_values(kind: Disturbance) -> None:
    """The last value changes the picture more than the first; shape and type stay."""
    picture = a_picture()
    change = [np.abs(kind.apply(picture, value).astype(int) - picture).mean() for value in kind.values]

    assert change[-1] > change[0] > 0
    assert kind.apply(picture, kind.values[0]).shape == (128, 128, 3)
    assert kind.apply(picture, kind.values[0]).dtype == np.uint8


def test_full_resolution_leaves_the_picture_alone() -> None:
    """The crop's own distance between the eyes is no disturbance."""
    picture = a_picture()

    assert np.abs(fewer_pixels(picture, 35.2372).astype(int) - picture).max() <= 1


def test_blur_and_darkness_on_a_flat_picture_are_known() -> None:
    """Blur keeps a flat picture; half the light halves it; turning keeps it too."""
    flat = np.full((128, 128, 3), 100, np.uint8)

    assert (blur(flat, 3) == 100).all()
    assert (rotate(flat, 20) == 100).all()
    assert (darken(flat, 0.5) == 50).all()
    assert np.abs(jpeg(flat, 10).astype(int) - 100).max() <= 4


def test_couples_hold_every_genuine_pair_in_both_orders() -> None:
    """Clean against disturbed is not symmetric: each pair counts twice, no picture against itself."""
    faces, _ = some_faces(4, 3)
    left, right = couples(faces, seed=0)
    same = faces.identity[left] == faces.identity[right]

    assert same.sum() == 4 * 3 * 2
    assert (left != right).all()
    assert (~same).sum() == 12 * 9


@pytest.mark.parametrize(("people", "each"), [(1, 3), (3, 1)])
def test_pictures_that_make_no_pairs_of_a_kind_are_refused(people: int, each: int) -> None:
    """One person has no strangers, single pictures no second looks; both are told, also by `cross`."""
    faces, _ = some_faces(people, each)

    with pytest.raises(
        InputError, match=f"{people * each} pictures of {people} people give no genuine or no"
    ):
        measure(faces, lambda _k, _v: (faces.found, faces.vector), kinds=(), resamples=5, seed=0)
    with pytest.raises(InputError, match="two people are needed, and two pictures of one"):
        cross(faces, faces, resamples=5, seed=0)


def test_worse_pictures_are_told_worse_and_clean_ones_as_before() -> None:
    """A disturbance that changes nothing keeps the clean rate; noise over everything destroys it."""
    faces, pixels = some_faces()
    rng = np.random.default_rng(0)
    nothing = Disturbance("nothing", "", (0.0,), lambda picture, _: picture)
    noise = Disturbance("noise", "", (1.0,), lambda p, _: rng.integers(0, 256, p.shape).astype(np.uint8))

    same, lost = measure(faces, disturbed(pixels, shown_as), kinds=(nothing, noise), resamples=5, seed=0)

    assert same.true_accepts[0] == same.clean
    assert same.clean.value > 0.9
    assert lost.true_accepts[0].value < 0.5
    assert same.accepts_at_clean_limit[0].value == same.clean.value
    assert lost.accepts_at_clean_limit[0].value < 0.5


def test_false_accepts_show_when_everybody_grows_alike() -> None:
    """Told apart as well as before at a threshold of its own, but not at the one a kiosk keeps."""
    faces, _ = some_faces()
    one = np.ones((len(faces), 1), np.float32)
    clean = replace(faces, vector=unit_rows(np.hstack([faces.vector, one])))
    alike = unit_rows(np.hstack([0.05 * faces.vector, one]))
    fog = Disturbance("fog", "", (1.0,), lambda picture, _: picture)

    (row,) = measure(clean, lambda _kind, _value: (clean.found, alike), kinds=(fog,), resamples=5, seed=0)

    assert row.true_accepts[0].value == row.accepts_at_clean_limit[0].value == 1
    assert row.false_accepts_at_clean_limit[0].value == 1


def test_interval_needs_a_stranger_in_every_resample() -> None:
    """Of two people some resamples draw one twice, who has nobody to be taken for."""
    faces, _ = some_faces(people=2, each=23)  # as few as resolve a FAR of 1e-3
    nothing = Disturbance("nothing", "", (0.0,), lambda picture, _: picture)

    (row,) = measure(
        faces, lambda _k, _v: (faces.found, faces.vector), kinds=(nothing,), resamples=20, seed=0
    )

    assert (row.false_accepts_at_clean_limit[0].low, row.true_accepts[0].low) == (None, None)
    assert row.accepts_at_clean_limit[0].low is not None


def test_rate_that_the_strangers_cannot_resolve_is_no_number() -> None:
    """Twenty-four pictures of eight people make 504 pairs of strangers: 1e-3 is half of one."""
    faces, _ = some_faces(people=8)

    found = measure(
        faces, lambda *_: pytest.fail("it was embedded"), kinds=disturbances(), resamples=5, seed=0
    )

    for row in found:
        figures = (row.true_accepts, row.accepts_at_clean_limit, row.false_accepts_at_clean_limit)
        assert np.isnan(row.clean.value)
        assert np.isnan([[rate.value for rate in rates] for rates in figures]).all()
        assert [len(rates) for rates in figures] == [5] * 3


def test_a_face_not_found_is_a_miss() -> None:
    """Whatever vector stands there."""
    faces, _ = some_faces()
    nothing = Disturbance("nothing", "", (0.0,), lambda picture, _: picture)

    (row,) = measure(
        faces,
        lambda _k, _v: (np.zeros(len(faces), bool), faces.vector),
        kinds=(nothing,),
        resamples=5,
        seed=0,
    )

    assert row.true_accepts[0].value == 0
