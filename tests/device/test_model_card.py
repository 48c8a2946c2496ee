"""The card is what convert/ promises and device/ believes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glancein import model_card
from glancein.errors import ModelError
from glancein.model_card import (
    InputSpec,
    Matching,
    ModelCard,
    OutputSpec,
    ThresholdPoint,
    read_card,
    write_card,
)

MODEL = b"not really a network"


def make_card() -> ModelCard:
    """A small valid embedder card."""
    points = (
        ThresholdPoint(1e-2, 0.2, 0.19, 0.21, extrapolated=False),
        ThresholdPoint(1e-6, 0.5, 0.44, 0.58, extrapolated=True),
    )
    return ModelCard(
        kind="embedder",
        name="glance-test",
        file="model.tflite",
        sha256=hashlib.sha256(MODEL).hexdigest(),
        size_bytes=len(MODEL),
        input=InputSpec(112, 112, 1 / 128, 0),
        outputs=(OutputSpec("embedding", (1, 128), 0.05, 3),),
        licence="research only",
        data_note="synthetic",
        training_command="none",
        git_commit="0" * 40,
        files={"golden.npz": "1" * 64},
        figures={"tar": {"1e-3": 0.9}},
        embedding_dimension=128,
        matching=Matching(points, "cohort.npz", 0.05),
    )


def test_card_comes_back_equal_when_written_and_read(tmp_path: Path) -> None:
    """What was written is what is read."""
    write_card(tmp_path, make_card())

    assert read_card(tmp_path) == make_card()


def test_same_card_gives_the_same_bytes(tmp_path: Path) -> None:
    """A bundle can be repeated to the same hash."""
    first = write_card(tmp_path, make_card()).read_bytes()

    assert write_card(tmp_path, make_card()).read_bytes() == first


def test_missing_card_is_named(tmp_path: Path) -> None:
    """The sentence says which file is missing and what to do."""
    with pytest.raises(ModelError, match=r"card\.json.*install the bundle again"):
        read_card(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1", "NaN", '{"version": NaN}', "\xff", "[" * 100_000])
def test_card_that_is_not_json_is_refused(tmp_path: Path, text: str) -> None:
    """Whatever the bytes are, the answer is one of our errors."""
    (tmp_path / "card.json").write_text(text, encoding="latin-1")

    with pytest.raises(ModelError, match="not JSON"):
        read_card(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", 2),
        ("kind", "liveness"),
        ("sha256", "ABC"),
        ("file", "../model.tflite"),
        ("file", "/etc/passwd"),
        ("files", {"a/b": "1" * 64}),
        ("size_bytes", 0),
        ("outputs", []),
        ("matching", None),
        ("embedding_dimension", None),
        ("surprise", 1),
    ],
)
def test_card_that_breaks_the_schema_is_refused(tmp_path: Path, name: str, value: object) -> None:
    """Each broken entry is refused by name."""
    document = model_card.to_json(make_card()) | {name: value}
    (tmp_path / "card.json").write_text(json.dumps(document), encoding="utf-8")

    with pytest.raises(ModelError, match=name):
        read_card(tmp_path)


def test_thresholds_that_fall_with_the_rate_are_refused(tmp_path: Path) -> None:
    """A stricter rate can never have a lower threshold."""
    card = make_card()
    assert card.matching is not None
    upside_down = replace(card, matching=replace(card.matching, points=card.matching.points[::-1]))

    with pytest.raises(ModelError, match="must fall"):
        write_card(tmp_path, upside_down)


def test_model_bytes_are_returned_only_when_the_hash_fits(tmp_path: Path) -> None:
    """A model that differs by one bit is not handed on."""
    (tmp_path / "model.tflite").write_bytes(MODEL)

    assert model_card.read_file(tmp_path, make_card()) == MODEL

    (tmp_path / "model.tflite").write_bytes(bytes([MODEL[0] ^ 1]) + MODEL[1:])
    with pytest.raises(ModelError, match="damaged"):
        model_card.read_file(tmp_path, make_card())


def test_file_that_the_card_does_not_list_is_refused(tmp_path: Path) -> None:
    """Nothing unlisted is opened."""
    with pytest.raises(ModelError, match="does not list"):
        model_card.read_file(tmp_path, make_card(), "cohort.npz")


@given(st.binary(max_size=300))
def test_random_bytes_never_escape_the_error_tree(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    """Damage ends in ModelError and nothing else."""
    folder = tmp_path_factory.mktemp("card")
    (folder / "card.json").write_bytes(raw)

    with pytest.raises(ModelError):
        read_card(folder)


def test_import_loads_nothing_heavy() -> None:
    """The contract costs nothing to import."""
    heavy = "{'numpy', 'jsonschema', 'cv2', 'torch'}"
    code = f"import sys, glancein.model_card; print(sorted({heavy} & set(sys.modules)))"

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "[]"
