"""The sentences of the pages: one JSON file a language, the same keys in each.

What the program says in English anyway (errors, the doctor's lines, the audit log) is looked up in
``sayings.<language>.json``: its keys are those sentences with gaps in braces.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from string import Formatter

from glancein.errors import SettingsError

WORDS = Path(__file__).parent / "words"
DEFAULT = "en"


@functools.cache
def languages(part: str) -> tuple[str, ...]:
    """The languages that have a file for this part, ``words/<part>.<language>.json``."""
    return tuple(sorted(path.name.split(".")[1] for path in WORDS.glob(f"{part}.*.json")))


def check_language(part: str, language: str) -> None:
    """Raises SettingsError for a language without words."""
    if language not in languages(part):
        known = ", ".join(languages(part))
        raise SettingsError(f"language = {language!r}: the {part} has words for {known}")


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


def say(sentence: str, language: str) -> str:
    """An English sentence of ours in that language, its gaps filled alike; as it is without a translation."""
    for pattern, said in _sayings(language):
        if found := pattern.fullmatch(sentence):
            return said.format(**{gap: say(text, language) for gap, text in found.groupdict().items()})
    return sentence


@functools.cache
def _sayings(language: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Pattern of the English sentence and its translation, the most particular first."""
    if language == DEFAULT or language not in languages("sayings"):
        return ()
    known = words("sayings", language)
    return tuple((_pattern(key), known[key]) for key in sorted(known, key=_letters, reverse=True))


def _pattern(sentence: str) -> re.Pattern[str]:
    parts = Formatter().parse(sentence)
    return re.compile(
        "".join(re.escape(text) + (f"(?P<{gap}>.+)" if gap else "") for text, gap, _, _ in parts), re.DOTALL
    )


def _letters(sentence: str) -> int:
    """How much of a sentence is not a gap."""
    return sum(len(text) for text, _, _, _ in Formatter().parse(sentence))
