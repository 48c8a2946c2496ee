"""Files whose ending says what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from glancein.errors import InputError
from glancein_training.endings import refuse_unwritable


def test_ending_of_either_case_is_taken(tmp_path: Path) -> None:
    """Nothing is written yet."""
    refuse_unwritable(tmp_path / "a.PNG", (".svg", ".png"))

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("seen.txt", r"seen\.txt: its name ends in \.svg or \.png"),
        ("seen", r"its name ends in \.svg"),
        ("none/seen.png", "there is no folder .*none"),
    ],
)
def test_file_that_cannot_be_written_is_refused(tmp_path: Path, name: str, said: str) -> None:
    """Another ending, none, or no folder to lie in."""
    with pytest.raises(InputError, match=said):
        refuse_unwritable(tmp_path / name, (".svg", ".png"))
