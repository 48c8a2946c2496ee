"""The kept commands of real runs mean what they meant, whatever the defaults are by now."""

from __future__ import annotations

import itertools
import os
import subprocess
from dataclasses import astuple, fields, replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

from glancein_training import distill, train
from glancein_training.augment import Strength
from glancein_training.configuration import with_settings

TOP = Path(__file__).parents[2]
RUNS = TOP / "training" / "runs"
UNTOLD_BUT_GREY = replace(
    Strength(*(-1.0 for _ in fields(Strength))), grey=0.1
)  # one picture in ten from the first run on


def commands(script: str, folder: Path) -> list[list[str]]:
    """The words of every program that a script of runs would start, which here only notes them."""
    programs, noted = folder / "programs", folder / "noted"
    programs.mkdir()
    for name in ("python", "torchrun"):
        (programs / name).write_text(f"#!/bin/sh\nprintf '%s\\t' \"$@\" >> {noted}\necho >> {noted}\n")
        (programs / name).chmod(0o755)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(folder),
        "RUN": str(folder / "run"),
    }
    words = ["sh", str(RUNS / script), str(folder / "start.pt"), str(folder / "runs")]
    subprocess.run(words, cwd=TOP, env=environment, check=True, timeout=60)
    return [line.split("\t")[:-1] for line in noted.read_text(encoding="utf-8").splitlines()]


def settings(words: list[str]) -> list[str]:
    """What follows each ``--set``."""
    return [word for before, word in itertools.pairwise(words) if before == "--set"]


def strength(words: list[str], otherwise: Strength) -> Strength:
    """The disturbances of a command that distils or trains, those it does not tell being ``otherwise``."""
    if "train" in words:
        return with_settings(replace(train.Config(), augment=otherwise), settings(words)).augment
    return with_settings(replace(distill.Config(), augment=otherwise), settings(words)).augment


def trains(words: list[str]) -> bool:
    """True for what disturbs pictures."""
    return bool({"glancein_training.distill", "distill", "train"} & set(words))


@pytest.mark.parametrize(
    "script", ["embedder.sh", "identity.sh", "depth.sh", "fine_tune.sh", "short_studies.sh"]
)
def test_kept_command_tells_every_disturbance(tmp_path: Path, script: str) -> None:
    """New defaults change no run of before."""
    found = [strength(words, UNTOLD_BUT_GREY) for words in commands(script, tmp_path) if trains(words)]

    assert found
    assert not [told for told in found if -1.0 in astuple(told)]
    assert Strength().grey == UNTOLD_BUT_GREY.grey


def test_defaults_are_those_of_the_run_that_gained_most(tmp_path: Path) -> None:
    """The first part of i2, slight and few."""
    first = next(words for words in commands("embedder.sh", tmp_path) if f"{tmp_path}/run-i2" in words)

    assert distill.Config().augment == strength(first, UNTOLD_BUT_GREY)
    assert train.Config().augment == distill.Config().augment


def test_first_run_keeps_its_heavy_disturbances(tmp_path: Path) -> None:
    """As its checkpoint's settings had them."""
    first = next(words for words in commands("embedder.sh", tmp_path) if trains(words))

    assert strength(first, UNTOLD_BUT_GREY) == Strength(
        10.0,
        0.1,
        5.0,
        0.35,
        0.1,
        low_resolution=0.3,
        blur=0.25,
        noise=0.3,
        jpeg=0.12,
        occlude=0.15,
        print_and_scan=0.1,
    )
