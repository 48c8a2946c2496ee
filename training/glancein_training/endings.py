"""Files to write whose kind is told by their ending: looked at before the work that fills them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from glancein.errors import InputError


def refuse_unwritable(path: Path, endings: Sequence[str]) -> None:
    """Raise InputError if the file has none of these endings, or its folder is not there."""
    if path.suffix.lower() not in endings:
        raise InputError(f"cannot write {path}: its name ends in {' or '.join(endings)}")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}")
