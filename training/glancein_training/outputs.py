"""Where a command writes, looked at before the work that fills it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from glancein.errors import InputError


def check_folder(out: Path, option: str) -> None:
    """Raise InputError where no such folder is or can be made."""
    there = next(place for place in (out, *out.absolute().parents) if place.exists())
    if not there.is_dir():
        raise InputError(f"{option} {out} is no folder, {there} is a file: name another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{option} {out} cannot be written: nothing may be made in {there}")


def check_ending(path: Path, endings: Sequence[str]) -> None:
    """Raise InputError if the file, whose kind its ending tells, has none of these, or no folder."""
    if path.suffix.lower() not in endings:
        raise InputError(f"cannot write {path}: its name ends in {' or '.join(endings)}")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}")
