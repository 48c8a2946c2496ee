"""Where a command writes is looked at before the work."""

from __future__ import annotations

from pathlib import Path

import pytest

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
