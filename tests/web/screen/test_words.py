"""Every language says everything: adding one is adding a file, and this holds it complete."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from glancein import web
from glancein.domain.passes import PinAnswer
from glancein.types import Direction, Method, Reason
from glancein.web.language import languages, words
from glancein.web.screen.routes import PIN_BUSY
from glancein.web.screen.serve import PASS_REFUSED

FOLDER = Path(web.__file__).parent
PAGE = (FOLDER / "static" / "screen" / "screen.html").read_text(encoding="utf-8")
SCRIPTS = "".join(
    path.read_text(encoding="utf-8") for path in sorted((FOLDER / "static" / "screen").glob("*.js"))
)
ENGLISH = words("screen", "en")


def test_english_and_korean_are_there() -> None:
    """The two that are promised."""
    assert {"en", "ko"} <= set(languages("screen"))


@pytest.mark.parametrize("language", languages("screen"))
def test_language_has_the_same_keys_and_places(language: str) -> None:
    """No sentence is missing, none is left over, and each has the same {places} to fill in."""
    said = words("screen", language)

    assert set(said) == set(ENGLISH)
    places = {key: sorted(re.findall(r"\{(\w+)\}", sentence)) for key, sentence in said.items()}
    assert places == {key: sorted(re.findall(r"\{(\w+)\}", sentence)) for key, sentence in ENGLISH.items()}
    assert [key for key in said if not said[key].strip() and ENGLISH[key].strip()] == []


@pytest.mark.parametrize("language", [name for name in languages("screen") if name != "en"])
def test_language_is_a_translation(language: str) -> None:
    """Nothing was left in English."""
    said = words("screen", language)

    same = {key for key in said if said[key] == ENGLISH[key] and re.search(r"[a-z]{3}", said[key])}
    assert same == set()


def test_every_reason_and_answer_has_words() -> None:
    """Whatever the kiosk says, the page can say."""
    wanted = {f"reason.{reason}" for reason in Reason} | {str(answer) for answer in PinAnswer}
    wanted |= {f"{way}.{what}" for way in Direction for what in ("done", "greeting")}
    wanted |= {f"answer.method.{method}" for method in Method} | {PASS_REFUSED, PIN_BUSY}

    assert wanted - set(ENGLISH) == set()


def test_every_key_that_the_page_names_exists_and_every_sentence_is_used() -> None:
    """A typing mistake in a key would be an empty place on the screen."""
    named = set(re.findall(r'data-t(?:-alt)?="([^"]+)"', PAGE)) | set(re.findall(r't\["([^"]+)"\]', PAGE))
    named |= set(re.findall(r'say\("([^"]+)"', SCRIPTS)) | set(re.findall(r'speak\("([^"]+)"', SCRIPTS))
    made = re.compile(r"reason\.|answer\.method\.|sound\.|(in|out)\.|repeat\.|pin_|pass_|language$")
    quoted = {key for key in ENGLISH if f'"{key}"' in SCRIPTS}

    assert named - set(ENGLISH) == set()
    assert {key for key in ENGLISH if not made.match(key)} - named - quoted == set()


def test_files_are_plain_json_in_utf8() -> None:
    """So that a translator needs nothing but an editor."""
    for language in languages("screen"):
        text = (FOLDER / "words" / f"screen.{language}.json").read_text(encoding="utf-8")
        assert isinstance(json.loads(text), dict)
        assert "\\u" not in text
