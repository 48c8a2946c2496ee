"""Keys: made once, never written over."""

from __future__ import annotations

from pathlib import Path

import pytest

from glancein_convert.errors import ConversionError
from glancein_convert.signing import new_key, read_key


def test_new_key_lies_beside_its_public_part(tmp_path: Path) -> None:
    """The private one is for its owner alone."""
    public = new_key(tmp_path / "release.pem")

    assert public == tmp_path / "release.pub"
    assert (tmp_path / "release.pem").stat().st_mode & 0o777 == 0o600
    assert read_key(tmp_path / "release.pem").public_key() is not None
    assert b"PUBLIC" in public.read_bytes()


def test_private_key_by_the_public_one_s_name_is_refused(tmp_path: Path) -> None:
    """The public key would lie over it, and it would be gone."""
    with pytest.raises(ConversionError, match=r"release\.pem"):
        new_key(tmp_path / "release.pub")

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("there", ["release.pem", "release.pub"])
def test_key_that_is_there_is_never_overwritten(tmp_path: Path, there: str) -> None:
    """Neither half of one: kiosks trust the public part."""
    (tmp_path / there).write_text("mine", encoding="utf-8")

    with pytest.raises(ConversionError, match="never overwritten"):
        new_key(tmp_path / "release.pem")

    assert [(path.name, path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()] == [(there, "mine")]


def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """One sentence."""
    with pytest.raises(ConversionError, match="cannot write"):
        new_key(tmp_path / "nowhere" / "release.pem")
