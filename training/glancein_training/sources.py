"""The files that a data set was read from: hashed once, and known again by size and time of change."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict


class Source(TypedDict):
    """One file as it was when it was read."""

    size: int
    changed_ns: int
    sha256: str


Sources = dict[str, Source]


def look(folder: Path, names: Iterable[str], before: Sources) -> Sources:
    """Each file as it is now; only those are hashed that differ in size or time from ``before``.

    A file that is gone is taken as it was. Raises FileNotFoundError if it was never read.
    """
    return {
        name: before[name]
        if name in before and is_as_before(folder / name, before[name])
        else read(folder / name)
        for name in names
    }


def is_as_before(path: Path, known: Source) -> bool:
    """True where size and time are the same, or nothing is there to tell."""
    if not path.exists():
        return True
    stat = path.stat()
    return (stat.st_size, stat.st_mtime_ns) == (known["size"], known["changed_ns"])


def read(path: Path) -> Source:
    """The file's size, time and hash."""
    stat = path.stat()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Source(size=stat.st_size, changed_ns=stat.st_mtime_ns, sha256=digest)


def differ(before: Sources, now: Sources, names: Iterable[str]) -> bool:
    """True where a file that was read before has another content now."""
    return any(name in before and before[name]["sha256"] != now[name]["sha256"] for name in names)


def sha256_of(sources: Sources) -> str:
    """One hash over all names and contents."""
    told = "".join(f"{name} {source['sha256']}\n" for name, source in sorted(sources.items()))
    return hashlib.sha256(told.encode()).hexdigest()


def load_sources(path: Path) -> Sources:
    """What ``keep_sources`` wrote; nothing where there is none, or half of one after a power cut."""
    try:
        found: Sources = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return found


def keep_sources(sources: Sources, path: Path) -> None:
    """Write them in one move; processes of one run may do so side by side."""
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(sources, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
