"""The sentences of the pages: one JSON file a language, the same keys in each."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path

WORDS = Path(__file__).parent / "words"
DEFAULT = "en"


@functools.cache
def languages(part: str) -> tuple[str, ...]:
    """The languages that have a file for this part, ``words/<part>.<language>.json``."""
    return tuple(sorted(path.name.split(".")[1] for path in WORDS.glob(f"{part}.*.json")))


@functools.cache
def words(part: str, language: str) -> Mapping[str, str]:
    """Key -> sentence; an unknown language gives English."""
    chosen = language if language in languages(part) else DEFAULT
    document: dict[str, str] = json.loads((WORDS / f"{part}.{chosen}.json").read_text(encoding="utf-8"))
    return document


def preferred(header: str, offered: tuple[str, ...]) -> str:
    """The first offered language out of an Accept-Language header, by its weights."""
    wanted: list[tuple[float, str]] = []
    for part in header[:500].split(","):
        tag, _, quality = part.strip().partition(";q=")
        try:
            wanted.append((-float(quality or 1), tag.lower().split("-")[0]))
        except ValueError:
            continue
    return next((tag for _, tag in sorted(wanted, key=lambda pair: pair[0]) if tag in offered), DEFAULT)
