"""What the command line refuses: in one line, at once, with an exit code, and nothing written."""

from __future__ import annotations

import shutil
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install .[convert]")

from typer.testing import CliRunner

from glancein.model_card import read_card
from glancein_convert.cli import SHIPPED, app
from glancein_convert.signing import new_key

WEIGHTS = Path(__file__).parents[2] / "training/weights"
FINDER = [str(WEIGHTS / "finder.pt"), str(WEIGHTS / "landmarks.pt")]


def refused(*words: str | Path) -> tuple[int, str]:
    """Exit code and what was said, on one line however long a path is."""
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code != 0
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.output.count("\n") == 1
    return result.exit_code, result.output


@pytest.mark.parametrize("content", [None, b"hello\n", b"\x1c\x00\x00\x00TFL3 cut", b""])
def test_preflight_of_what_is_no_model_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """A file that is not there, another file, half of one."""
    model = tmp_path / "m.tflite"
    if content is not None:
        model.write_bytes(content)

    code, said = refused("preflight", model)

    assert code == 7
    assert str(model) in said


def test_export_looks_at_method_and_key_before_its_minutes_of_work(tmp_path: Path) -> None:
    """The bundle would lie there unsigned otherwise."""
    export = ("export", WEIGHTS / "embedder.pt", "--out", tmp_path / "out", "--data", tmp_path)

    assert "there is no method best" in refused(*export, "--method", "best")[1]
    assert "is no private key" in refused(*export, "--key", tmp_path / "none.pem")[1]
    assert (
        "is no private key"
        in refused("export-finder", *FINDER, *export[2:], "--key", tmp_path / "none.pem")[1]
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("--threshold", "nan"), "--threshold is a score from 0 to 1, not nan"),
        (("--threshold", "50"), "--threshold is a score from 0 to 1, not 50"),
        (("--false-faces", "-1"), "--false-faces is a number of faces a picture, not -1"),
        (("--false-faces", "inf"), "--false-faces is a number of faces a picture, not inf"),
    ],
)
def test_impossible_threshold_is_refused(tmp_path: Path, words: tuple[str, str], wanted: str) -> None:
    """Before anything is converted."""
    assert wanted in refused("export-finder", *FINDER, "--out", tmp_path / "out", "--recard", *words)[1]


def test_figures_that_are_no_json_are_refused(tmp_path: Path) -> None:
    """NaN is none."""
    (tmp_path / "f.json").write_text('{"recall": NaN}', encoding="utf-8")

    _, said = refused("export-finder", *FINDER, "--out", tmp_path, "--figures", tmp_path / "f.json")

    assert "NaN is not JSON" in said


def test_weights_in_the_wrong_order_are_told_apart(tmp_path: Path) -> None:
    """The finder's first, then the second look's; neither has a page of missing keys."""
    out = ("--out", tmp_path / "out", "--data", tmp_path)

    assert "there is no finder 'second-look'" in refused("export-finder", *reversed(FINDER), *out)[1]
    assert "not of a second-look" in refused("export-finder", FINDER[0], FINDER[0], *out)[1]
    assert not (tmp_path / "out").exists()


def test_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what installs it."""
    monkeypatch.setitem(sys.modules, "litert_torch", None)

    code, said = refused("speed", "glance-33")

    assert code == 7
    assert "litert_torch is not installed: pip install .[convert]" in said


@pytest.mark.parametrize("verb", ["export", "export-finder"])
@pytest.mark.parametrize(
    ("out", "report", "told"),
    [
        ("file", "r", "--out {}/file is no folder, {}/file is a file: name another place"),
        ("file/b", "r", "--out {}/file/b is no folder, {}/file is a file"),
        ("b", "file", "--report {}/file is no folder"),
        ("signed", "r", "{}/signed/card.sig is a folder, where a file of the bundle goes: move it away"),
    ],
)
def test_export_looks_at_its_places_before_its_minutes_of_work(
    tmp_path: Path, verb: str, out: str, report: str, told: str
) -> None:
    """A folder that cannot be made, and a folder where a file goes, are told first; nothing is written."""
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "signed/card.sig").mkdir(parents=True)
    weights = FINDER if verb == "export-finder" else [WEIGHTS / "embedder.pt"]
    places = ("--out", tmp_path / out, "--report", tmp_path / report, "--data", tmp_path)

    code, said = refused(verb, *weights, *places)

    assert code == 2
    assert told.replace("{}", str(tmp_path)) in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "signed"]


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("folder", "{}/folder is a folder: give --out the name of a file"),
        ("none/e.npz", "{}/none/e.npz cannot be written: No such file or directory"),
    ],
)
def test_embed_looks_at_its_place_before_its_work(tmp_path: Path, out: str, told: str) -> None:
    """By the name that was given, and nothing is left beside it."""
    (tmp_path / "folder").mkdir()

    code, said = refused("embed", tmp_path / "m.tflite", tmp_path / "pack", "--out", tmp_path / out)

    assert code == 2
    assert told.replace("{}", str(tmp_path)) in said
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_pack_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    """Whatever the laboratory finds wrong with it; here the tar lacks a picture."""
    (tmp_path / "labels.csv").write_text("path,tar\n1.webp,a.tar\n", encoding="utf-8")
    tarfile.open(tmp_path / "a.tar", "w").close()
    places = ("--out", tmp_path / "e.npz", "--cache", tmp_path / "cache")

    code, said = refused("embed", SHIPPED / "embedder/model.tflite", tmp_path, *places)

    assert code == 2
    assert f"{tmp_path / 'a.tar'} lacks 1.webp" in said
    assert not (tmp_path / "e.npz").exists()


def test_signature_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """Whatever the system says of the file."""
    bundle = tmp_path / "bundle"
    shutil.copytree(SHIPPED / "finder", bundle, ignore=shutil.ignore_patterns("card.sig"))
    (bundle / "card.sig").mkdir()
    new_key(tmp_path / "k.pem")

    code, said = refused("sign", bundle, "--key", tmp_path / "k.pem")

    assert code == 2
    assert f"cannot use {bundle / 'card.sig'}: Is a directory" in said


@pytest.mark.parametrize(("kind", "code"), [("embedder", 7), ("finder", 2)])
def test_bundle_that_cannot_be_recarded_stays_as_it_was(tmp_path: Path, kind: str, code: int) -> None:
    """An embedder has no finding; a folder in place of the signature could not be removed afterwards."""
    folder = tmp_path / kind
    shutil.copytree(SHIPPED / kind, folder)
    if kind == "finder":
        (folder / "card.sig").unlink()
        (folder / "card.sig").mkdir()
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    found, said = refused("export-finder", *FINDER, "--out", folder, "--recard", "--threshold", "0.4")

    assert found == code
    assert str(folder) in said
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_recarded_bundle_keeps_what_is_not_given(tmp_path: Path) -> None:
    """New figures alone leave the threshold, a new threshold leaves its false faces."""
    folder = tmp_path / "bundle"
    shutil.copytree(SHIPPED / "finder", folder)
    before = read_card(folder)
    assert before.finding is not None
    (tmp_path / "f.json").write_text('{"recall": 0.97}', encoding="utf-8")
    recard = ["export-finder", *FINDER, "--out", str(folder), "--recard"]

    for more in (["--figures", str(tmp_path / "f.json")], ["--threshold", "0.625"]):
        result = CliRunner().invoke(app, [*recard, *more])
        assert result.exit_code == 0, result.output

    after = read_card(folder)
    assert after.finding == replace(before.finding, score_threshold=0.625)
    assert after.figures == {**before.figures, "recall": 0.97}
