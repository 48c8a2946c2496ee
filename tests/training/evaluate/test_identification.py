"""One-shot open-set identification against a plain loop over searches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from glancein.errors import InputError
from glancein_training.evaluate.bootstrap import estimate, person_weights
from glancein_training.evaluate.calibration import limits_by_gallery
from glancein_training.evaluate.faces import Faces, unit_rows
from glancein_training.evaluate.groups import rates_by_group
from glancein_training.evaluate.identification import (
    UNRANKED,
    Bench,
    Gallery,
    draw_galleries,
    identify,
    limit_at,
    miss_rate,
)
from glancein_training.evaluate.verification import all_pairs


def made_faces(people: int, each: int, *, noise: float = 0.7, seed: int = 0) -> Faces:
    """People as random directions, pictures as noisy copies; every second person belongs to group "b"."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(people, 16)), each, axis=0)
    vectors = unit_rows(np.asarray(centres + noise * rng.normal(size=centres.shape), np.float32))
    identity = np.repeat(np.arange(people), each)
    path = np.array(
        [f"{('badge' if k % each == 0 else 'kiosk')}/{person}.jpg" for k, person in enumerate(identity)]
    )
    group = np.where(identity % 2 == 0, "a", "b")
    names = tuple(str(person) for person in range(people))
    return Faces(
        path, np.ones(len(path), bool), vectors, identity, names, np.full(len(path), ""), {"group": group}
    )


def plain_search(faces: Faces, gallery: Gallery, padding: Faces, limit: float) -> tuple[float, float]:
    """FNIR and FPIR by comparing every probe with every template, one at a time."""
    templates = [(int(faces.identity[row]), faces.enrolled[row]) for row in gallery.rows]
    templates += [(-1 - k, padding.enrolled[k]) for k in range(gallery.padding)]
    missed = looked = accepted = strangers = 0
    for row in range(len(faces)):
        if row in gallery.rows:
            continue
        ranked = sorted(((float(v @ faces.vector[row]), who) for who, v in templates), reverse=True)
        if faces.identity[row] in faces.identity[gallery.rows]:
            looked += 1
            missed += not (ranked[0][1] == faces.identity[row] and ranked[0][0] > limit)
        else:
            strangers += 1
            accepted += ranked[0][0] > limit
    return missed / looked, accepted / strangers


@pytest.mark.parametrize("templates", [False, True])
@pytest.mark.parametrize("padding", [0, 40])
def test_misses_and_false_accepts_agree_with_the_plain_search(padding: int, *, templates: bool) -> None:
    """The matrix form counts what a loop over searches counts, with and without padding."""
    faces, strangers = made_faces(30, 3), made_faces(50, 1, seed=9)
    if templates:
        faces = replace(faces, template=made_faces(30, 3, noise=0.2).vector)
        strangers = replace(strangers, template=made_faces(50, 1, noise=0.2, seed=9).vector)
    gallery = draw_galleries(faces, 12 + padding, 1, padding=padding, seed=1)[0]
    gallery = Gallery(gallery.rows[:12], padding)

    found = Bench(faces, strangers).search(gallery)

    for limit in (0.2, 0.5, 0.8):
        missed, accepted = plain_search(faces, gallery, strangers, limit)
        assert miss_rate(found, limit) == pytest.approx(missed)
        assert np.mean(found.stranger_cos > limit) == pytest.approx(accepted)


def test_limit_lets_through_at_most_the_wanted_share() -> None:
    """The threshold of an FPIR is the lowest that keeps it."""
    faces = made_faces(40, 3)
    found = Bench(faces).search(draw_galleries(faces, 20, 1, padding=0, seed=0)[0])

    for rate in (0.02, 0.1, 0.5):
        limit = limit_at(found, rate)
        assert np.mean(found.stranger_cos > limit) <= rate
        assert np.mean(found.stranger_cos >= limit) > rate


def test_resample_without_a_stranger_tells_no_misses() -> None:
    """No threshold can be set then, and a figure from it would look better than it is."""
    faces = made_faces(4, 3)
    (gallery,) = draw_galleries(faces, 2, 1, padding=0, seed=0)
    found = Bench(faces).search(gallery)
    weight = np.where(np.isin(np.arange(4), found.stranger_person), 0.0, 2.0)

    limit = limit_at(found, 0.1, weight)

    assert np.isnan(limit)
    assert np.isnan(miss_rate(found, limit, weight))


def test_drawing_that_looks_for_nobody_leaves_the_misses_to_the_others() -> None:
    """Two of twenty people have a second picture: some drawings enrol neither, the others tell."""
    faces = made_faces(20, 2)
    faces = faces.take(np.sort(np.concatenate([np.arange(0, 40, 2), [1, 3]])))
    galleries = draw_galleries(faces, 10, 30, padding=0, seed=0)
    bench = Bench(faces)

    found = identify(bench, galleries, (0.1,), resamples=5, seed=0)

    searches = [bench.search(gallery) for gallery in galleries]
    telling = [s for s in searches if len(s.own_cos)]
    assert 0 < len(telling) < len(searches)
    assert found.misses["0.100"].value == pytest.approx(
        np.mean([np.mean((s.own_cos <= s.other_cos) | (s.own_cos <= limit_at(s, 0.1))) for s in telling])
    )
    assert found.ranks["1"].value == pytest.approx(np.mean([np.mean(s.rank == 0) for s in telling]))


def test_rank_counts_templates_above_the_own_one() -> None:
    """Rank is the number of better templates, strangers among them."""
    faces, strangers = made_faces(20, 2), made_faces(30, 1, seed=5)
    gallery = Gallery(np.arange(0, 20, 2), 30)

    found = Bench(faces, strangers).search(gallery)

    probe = faces.vector[np.arange(1, 20, 2)]
    among = probe @ faces.vector[gallery.rows].T
    own = np.diag(among)[:, None]
    above = (among > own).sum(1) + (probe @ strangers.vector.T > own).sum(1)
    assert np.minimum(found.rank, 10).tolist() == np.minimum(above, 10).tolist()


def test_network_that_gives_everybody_one_vector_finds_nobody_first() -> None:
    """Equal scores count against the person, with padding and without: nobody is first, nobody accepted."""
    faces, strangers = made_faces(6, 3), made_faces(5, 1)
    faces.vector[:] = strangers.vector[:] = np.eye(1, 16, dtype=np.float32)

    plain = Bench(faces).search(Gallery(np.array([0, 3, 6])))
    padded = Bench(faces, strangers).search(Gallery(np.array([0, 3, 6]), padding=5))

    assert plain.rank.tolist() == [2] * 6
    assert padded.rank.tolist() == [7] * 6
    assert miss_rate(plain, 0.5) == 1


def test_look_without_a_face_has_no_rank() -> None:
    """Neither a look nor a template without a face is found first because all its scores are the same."""
    faces, strangers = made_faces(6, 3, noise=0.05), made_faces(5, 1, seed=9)
    faces.found[[0, 4]] = False  # somebody's badge photo, and somebody else's look

    found = Bench(faces, strangers).search(Gallery(np.array([0, 3, 6]), padding=5))

    assert found.rank.tolist() == [UNRANKED, UNRANKED, UNRANKED, 0, 0, 0]


def test_padding_never_helps() -> None:
    """Strangers in the gallery raise misses and thresholds."""
    faces, strangers = made_faces(40, 3), made_faces(300, 1, seed=9)
    bench = Bench(faces, strangers)
    alone = identify(bench, draw_galleries(faces, 20, 5, padding=0, seed=0), (0.1,), resamples=10, seed=0)
    crowd = identify(bench, draw_galleries(faces, 320, 5, padding=300, seed=0), (0.1,), resamples=10, seed=0)

    assert (alone.gallery, crowd.gallery, crowd.enrolled) == (20, 320, 20)
    assert crowd.misses["0.100"].value >= alone.misses["0.100"].value
    assert crowd.thresholds_cos["0.100"].value > alone.thresholds_cos["0.100"].value


def test_only_badge_photos_are_enrolled_when_told() -> None:
    """With a folder of badge photos no other picture becomes a template, one per person."""
    faces = made_faces(20, 3)
    badge = np.array([path.startswith("badge/") for path in faces.path])

    galleries = draw_galleries(faces, 10, 8, padding=0, seed=0, enrol=badge)

    for gallery in galleries:
        assert badge[gallery.rows].all()
        assert len(np.unique(faces.identity[gallery.rows])) == 10


def test_person_whose_badge_photo_has_no_face_is_missed() -> None:
    """A failed enrolment counts as a miss of everything that person does later."""
    faces = made_faces(6, 3, noise=0.05)
    faces.found[0] = False

    found = Bench(faces).search(Gallery(np.array([0, 3, 6])))

    assert miss_rate(found, -0.5) == pytest.approx(1 / 3)


def test_interval_holds_the_figure() -> None:
    """Misses lie inside their interval, which draws both people and galleries anew."""
    faces = made_faces(60, 4)

    misses = identify(
        Bench(faces), draw_galleries(faces, 30, 10, padding=0, seed=0), (0.1,), resamples=100, seed=0
    ).misses["0.100"]

    assert misses.low is not None
    assert misses.high is not None
    assert misses.low <= misses.value <= misses.high


def test_thresholds_rise_with_the_gallery() -> None:
    """More people enrolled need a higher threshold for the same rate of accepted strangers."""
    faces, strangers = made_faces(80, 4), made_faces(400, 1, seed=9)

    limits = limits_by_gallery(
        Bench(faces, strangers), all_pairs(faces), (0.1,), drawings=5, resamples=20, seed=0
    )

    assert [limit.gallery for limit in limits] == [10, 30, 100, 300]
    heights = [limit.measured_cos.value for limit in limits]
    assert heights == sorted(heights)
    assert limits[0].independent_cos == pytest.approx(heights[0], abs=0.05)


def test_thresholds_are_those_of_badge_photos_where_only_they_are_enrolled() -> None:
    """Poor badge photos of the same people give another threshold than any pictures do."""
    faces = made_faces(80, 4)
    badge = np.array([path.startswith("badge/") for path in faces.path])
    faces.found[badge] = False

    (limit, *_) = limits_by_gallery(
        Bench(faces), all_pairs(faces), (0.1,), drawings=5, resamples=20, seed=0, enrol=badge
    )

    assert limit.measured_cos.value == -1  # no template has a face


def test_group_rates_count_only_that_group() -> None:
    """A group's rates are those of its own pairs at the common threshold."""
    faces = made_faces(20, 3)
    pairs = all_pairs(faces)

    rates = {rate.group: rate for rate in rates_by_group(faces, pairs, 0.4, resamples=10, seed=0)}

    inside = (pairs.first % 2 == 0) & (pairs.second % 2 == 0)
    assert rates["a"].people == 10
    assert rates["a"].true_accept.value == pytest.approx(np.mean(pairs.score_cos[inside & pairs.same] > 0.4))
    assert rates["a"].false_match.value == pytest.approx(np.mean(pairs.score_cos[inside & ~pairs.same] > 0.4))


def test_group_intervals_are_those_of_a_loop_over_pairs() -> None:
    """A person drawn twice counts twice in their own pairs, two people's pairs as often as both are drawn."""
    faces = made_faces(6, 3)
    pairs, weights = all_pairs(faces), person_weights(6, 40, seed=3)

    rate = next(r for r in rates_by_group(faces, pairs, 0.4, resamples=40, seed=3) if r.group == "a")

    shares = []
    for weight in weights:
        counted = total = 0.0
        for score, a, b in zip(pairs.score_cos, pairs.first, pairs.second, strict=True):
            if a == b and a % 2 == 0:
                total += weight[a]
                counted += weight[a] * (score > 0.4)
        shares.append(counted / total if total else np.nan)
    assert rate.true_accept == estimate(rate.true_accept.value, shares)


def test_gallery_larger_than_its_padding_is_refused() -> None:
    """A padded gallery needs the strangers it is padded with."""
    faces = made_faces(10, 2)

    with pytest.raises(InputError, match="--padding"):
        Bench(faces).search(Gallery(np.array([0, 2]), padding=5))
