"""Which pairs of development people are left out of the strangers' scores."""

from __future__ import annotations

import io

import numpy as np
import pytest

pytest.importorskip("torch", reason="the converter needs torch: pip install .[convert]")

from glancein.adapters.embedder_tflite import TfliteEmbedder
from glancein.adapters.tflite_runtime import open_model
from glancein.enrolment import template_of
from glancein.types import Crop
from glancein_convert import vectors
from glancein_convert.cli import SHIPPED
from glancein_convert.strangers import against_cohort, pack_cohort, same_person


def test_pairs_are_of_one_person_only_if_every_teacher_says_so() -> None:
    """Without a teacher nobody says so, and every pair of two names is one of strangers."""
    near, far = (np.array(rows, np.float32) for rows in ([[1, 0], [1, 0], [0, 1]], [[1, 0], [0, 1], [0, 1]]))

    assert same_person([near], 3)[0].tolist() == [True, True, False]
    assert same_person([near, far], 3)[0].tolist() == [True, False, False]
    assert not same_person([], 3).any()


def test_templates_are_those_that_the_device_stores() -> None:
    """The thresholds are of what enrolment makes, to the last bit but one."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, 112, 112, 3), np.uint8)
    device = TfliteEmbedder(SHIPPED / "embedder")

    found = vectors.templates_by_int8(open_model(SHIPPED / "embedder/model.tflite"), pixels)

    stored = np.stack([template_of(Crop(crop, 1.0, 0.0), device) for crop in pixels])
    np.testing.assert_allclose(found, stored, atol=1e-6)


def test_cohort_without_strangers_holds_nobody() -> None:
    """Its maker's own people are no strangers, and their vectors are templates."""
    network = open_model(SHIPPED / "embedder/model.tflite")
    nobody = vectors.by_int8(network, np.empty((0, 112, 112, 3), np.uint8))
    own = vectors.Vectors(*(np.ones(shape, np.float32) for shape in ((3, 128), (3, 128), (3,))))

    packed = np.load(io.BytesIO(pack_cohort(nobody, own, seed=0)))

    assert (packed["vectors"].shape, packed["scale"].shape) == ((0, 128), (0,))
    assert against_cohort(own.summed, nobody, ()) == {}
