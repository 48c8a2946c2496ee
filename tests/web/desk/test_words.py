"""The desk speaks every language it offers, and says nothing that nobody hears."""

from __future__ import annotations

import re
from string import Formatter

from glancein.types import Reason
from glancein.web.desk.page import NAVIGATION, PART, TEMPLATES
from glancein.web.language import WORDS, languages, preferred, words


def test_every_language_has_the_same_keys() -> None:
    """A sentence that is missing in one language would fail only for its readers."""
    keys = {language: set(words(PART, language)) for language in languages(PART)}

    assert keys.keys() >= {"en", "ko"}
    assert all(found == keys["en"] for found in keys.values())


def test_every_sentence_keeps_its_gaps() -> None:
    """A translation has the same names in braces as the English sentence."""
    for key, sentence in words(PART, "en").items():
        wanted = {name for _, name, _, _ in Formatter().parse(sentence) if name}
        for language in languages(PART):
            found = {name for _, name, _, _ in Formatter().parse(words(PART, language)[key]) if name}
            assert found == wanted, f"{key} in {language}"


def test_every_word_is_used() -> None:
    """What no template and no handler names is deleted."""
    sources = [*TEMPLATES.glob("*.html"), *TEMPLATES.parent.glob("*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    made = re.findall(r't(?:\.get\(|\[)"(\w+_)" [~+]', text) + re.findall(r'f"(\w+_)\{', text)
    unused = [
        key
        for key in words(PART, "en")
        if not re.search(rf't\.{re.escape(key)}\b|"{re.escape(key)}"', text)
        and not key.startswith(tuple(made))
    ]

    assert unused == []


def test_every_reason_has_a_sentence() -> None:
    """Whatever a photo or a visit is refused for."""
    said = words(PART, "en")

    assert [r for r in Reason if f"reason_{r.value}" not in said and r is not Reason.DUPLICATE_PERSON] == []
    assert all(word in said for _, word, _ in NAVIGATION)


def test_language_follows_the_browser() -> None:
    """By its weights; English where nothing fits; garbage is passed over."""
    offered = ("en", "ko")

    assert preferred("ko-KR,ko;q=0.9,en;q=0.8", offered) == "ko"
    assert preferred("de,en;q=0.3,ko;q=0.7", offered) == "ko"
    assert preferred("de", offered) == "en"
    assert preferred("ko;q=x,,;;=", offered) == "en"
    assert WORDS.is_dir()
