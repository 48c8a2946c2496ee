"""Settings given in words, and the record of a run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

from glancein.errors import InputError
from glancein_training import configuration
from glancein_training.configuration import keep_record, record, versions, with_settings


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a configuration."""

    blur: float = 0.1


@dataclass(frozen=True, slots=True)
class Config:
    """One setting of every kind."""

    rate: float = 0.1
    steps: int = 3
    name: str = "one"
    packs: tuple[str, ...] = ("a",)
    fast: bool = False
    part: Part = field(default_factory=Part)


def test_settings_of_every_kind_are_put_in() -> None:
    """Numbers, text with and without quotes, lists, booleans, and what lies inside."""
    settings = ["rate=1", "name=two", 'packs=["b", "c"]', "fast=true", "part.blur=0.5", "steps=7"]

    config = with_settings(Config(), settings)

    assert config == Config(1.0, 7, "two", ("b", "c"), True, Part(0.5))  # noqa: FBT003  # in the order of the fields
    assert isinstance(config.rate, float)
    assert isinstance(config.packs, tuple)


def test_object_for_a_part_sets_its_names() -> None:
    """A JSON object reaches inside as dotted names do."""
    assert with_settings(Config(), ['part={"blur": 0.7}']).part == Part(0.7)


@pytest.mark.parametrize(
    "setting", ["steps=1.5", "steps=true", "fast=1", "part=3", "part.glow=1", "rate=x", "packs=1"]
)
def test_value_of_another_kind_is_refused(setting: str) -> None:
    """A value that would change a setting's kind is an error, not a surprise later."""
    with pytest.raises(InputError):
        with_settings(Config(), [setting])


def test_record_names_commit_and_versions() -> None:
    """What a run depended on can be read beside its weights."""
    kept = record(Config(), data="hash")

    assert kept["steps"] == 3
    assert kept["data"] == "hash"
    assert kept["commit"]
    assert set(versions()) >= {"python", "torch", "numpy", "opencv-python-headless", "pillow"}
    assert kept["versions"] == versions()


def test_library_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """scikit-learn, say, is not needed to train."""
    monkeypatch.setattr(configuration, "LIBRARIES", ("numpy", "no-such-library"))

    assert set(versions()) == {"python", "numpy"}


def test_record_of_a_run_from_before_sessions_becomes_its_first(tmp_path: Path) -> None:
    """What an earlier release wrote is not lost when the run goes on."""
    (tmp_path / "config.json").write_text('{"steps": 7}', encoding="utf-8")

    keep_record(tmp_path, Config(), images=64)

    kept = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert kept["steps"] == 3
    assert [session["steps"] for session in kept["sessions"]] == [7, 3]
    assert kept["sessions"][1]["images"] == 64
