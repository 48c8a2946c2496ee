"""Where a command writes is looked at before the work."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from glancein.errors import InputError
from glancein_training.outputs import check_ending, check_folder


def test_place_of_a_folder_needs_only_folders_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is there, or can be made; relative ones count from here."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine", encoding="utf-8")

    for place in (tmp_path, tmp_path / "a/b", Path("c")):
        check_folder(place, "--out")
    for place in (tmp_path / "file", Path("file/a/b")):
        with pytest.raises(InputError, match="file is a file: name another place"):
            check_folder(place, "--report")

    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "words",
    [
        *(f"{study} --pack PACK --out FILE" for study in ("rank", "defects", "person-limit", "style")),
        *("harmonic FILE", "train FILE", "distill FILE", "unpack PACK --out FILE"),
        *("evaluate none.npz --out FILE", "robustness none.pt PACK --out FILE/a"),
        "robustness none.npz PACK --out FILE",
    ],
)
def test_folder_is_looked_at_before_the_work(tmp_path: Path, words: str) -> None:
    """Neither data nor weights are there, and what is wrong with the folder is said first."""
    pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")
    from glancein_training.cli import app  # noqa: PLC0415  # torch may be absent

    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "labels.csv").write_text("path,tar\na.webp,a.tar\n", encoding="utf-8")
    places = {"FILE": str(tmp_path / "file"), "FILE/a": str(tmp_path / "file/a"), "PACK": str(tmp_path)}

    result = CliRunner().invoke(app, [places.get(word, word) for word in words.split()])

    assert result.exit_code == 2
    assert "file is a file: name another place" in " ".join(result.output.split())
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_ending_of_either_case_is_taken(tmp_path: Path) -> None:
    """Nothing is written yet."""
    check_ending(tmp_path / "a.PNG", (".svg", ".png"))

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("seen.txt", r"seen\.txt: its name ends in \.svg or \.png"),
        ("seen", r"its name ends in \.svg"),
        ("none/seen.png", "there is no folder .*none"),
    ],
)
def test_picture_that_cannot_be_written_is_refused(tmp_path: Path, name: str, said: str) -> None:
    """Another ending, none, or no folder to lie in."""
    with pytest.raises(InputError, match=said):
        check_ending(tmp_path / name, (".svg", ".png"))
