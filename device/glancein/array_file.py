"""An ``.npz`` to write: its place is looked at before the work, and it is written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glancein.errors import InputError

A_BLOCK = 4096  # bytes: a full disk may still take an empty file


def check_writable(out: Path) -> None:
    """Before minutes or hours of work, not after. Raises InputError where ``out`` cannot be written."""
    with _beside(out) as part:
        part.write_bytes(bytes(A_BLOCK))


@contextmanager
def writing(out: Path) -> Iterator[Path]:
    """The name of a file beside ``out`` to write first; it takes its place if all went well.

    Raises InputError that tells ``out`` if it cannot be written; what was there before stays.
    """
    with _beside(out) as part:
        yield part
        part.replace(out)


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """The name of a file beside ``out``; it is gone at the end. Raises InputError."""
    _check_replaceable(out)
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


def _check_replaceable(out: Path) -> None:
    """Only a file is replaced; root would replace ``/dev/null`` itself, for every program."""
    try:
        is_file, is_there = out.is_file(), out.exists()
    except OSError as err:  # its folder is somebody else's
        raise InputError(f"{out} cannot be written: {err.strerror}; name another place with --out") from err
    if is_there and not is_file:
        what = "a folder" if out.is_dir() else "a device or pipe"
        raise InputError(f"{out} is {what}: give --out the name of a file")
