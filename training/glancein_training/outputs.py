"""Where a command writes: looked at before the work; a file is written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glancein.errors import InputError

A_BLOCK = 4096  # bytes: a full disk may still take an empty file


def check_file(out: Path) -> None:
    """Before minutes of work, not after. Raises InputError where no file of that name can be written."""
    with _beside(out) as part:
        part.write_bytes(bytes(A_BLOCK))


@contextmanager
def writing(out: Path) -> Iterator[Path]:
    """The name of an ``.npz`` beside ``out`` to write first; it takes out's place if all went well.

    Raises InputError that tells ``out`` if it cannot be written; what was there before stays.
    """
    with _beside(out) as part:
        yield part
        part.replace(out)


def check_folder(out: Path, option: str) -> None:
    """Before minutes of work, not after. Raises InputError where no such folder is or can be made."""
    there = next(place for place in (out, *out.absolute().parents) if place.exists())
    if not there.is_dir():
        raise InputError(f"{option} {out} is no folder, {there} is a file: name another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{option} {out} cannot be written: nothing may be made in {there}")


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """The name of a file beside ``out``; it is gone at the end. Raises InputError."""
    if out.is_dir():
        raise InputError(f"{out} is a folder: give --out the name of a file")
    part = out.with_name(f"{out.name}.part.npz")  # numpy adds .npz to any other name
    try:
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)
    except OSError as err:
        raise InputError(
            f"{out} cannot be written: {err.strerror or err}; name another place with --out"
        ) from err
