"""An .npz to write: told before the work, and whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from glancein.array_file import check_writable, writing
from glancein.errors import InputError


def test_file_that_could_not_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    """No half of one beside it either, and the name that was given is told."""
    out = tmp_path / "e.npz"
    out.write_bytes(b"before")

    def write_half() -> None:
        with writing(out) as part:
            part.write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(InputError, match=rf"^{out} cannot be written: disk full; name"):
        write_half()

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("e.npz", b"before")]


def test_written_file_stands_under_its_own_name(tmp_path: Path) -> None:
    """Without an ending too."""
    with writing(tmp_path / "e") as part:
        part.write_bytes(b"whole")

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("e", b"whole")]


@pytest.mark.parametrize("out", ["", "none/e.npz", "file/e.npz"])
def test_place_for_no_file_is_told_before_the_work(tmp_path: Path, out: str) -> None:
    """A folder, a folder that is not there, a file in place of a folder."""
    (tmp_path / "file").write_text("mine", encoding="utf-8")

    with pytest.raises(InputError, match=str(tmp_path / out)):
        check_writable(tmp_path / out)

    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_place_that_can_be_written_stays_as_it_was(tmp_path: Path) -> None:
    """Nothing is left behind by having looked."""
    check_writable(tmp_path / "e.npz")

    assert list(tmp_path.iterdir()) == []


def test_pipe_is_not_replaced(tmp_path: Path) -> None:
    """Nor a device: root's ``--out /dev/null`` would replace it for every program."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    with pytest.raises(InputError, match="is a device or pipe"):
        check_writable(pipe)

    assert pipe.is_fifo()


def test_place_that_cannot_be_looked_at_is_told(tmp_path: Path) -> None:
    """One line like everything else, such as for a folder of somebody else's."""
    with pytest.raises(InputError, match="cannot be written: File name too long; name another"):
        check_writable(tmp_path / ("e" * 300))
