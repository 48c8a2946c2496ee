"""The desk speaks every language it offers, and says nothing that nobody hears."""

from __future__ import annotations

import ast
import html
import re
from string import Formatter

import pytest
from starlette.datastructures import QueryParams
from tests.web.desk.office import Office

from glancein.types import Reason
from glancein.web.access import Role
from glancein.web.desk.page import NAVIGATION, PART, TEMPLATES
from glancein.web.language import DEFAULT, WORDS, languages, preferred, say, words


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


SPEAKERS = (
    *sorted((TEMPLATES.parents[1]).glob("*.py")),
    *sorted(TEMPLATES.parent.glob("*.py")),
    *(
        TEMPLATES.parents[2] / name
        for name in (
            "doctor.py",
            "enrolment.py",
            "domain/person.py",
            "domain/roster.py",
            "domain/passes.py",
            "adapters/passes_sqlite.py",
            "adapters/camera_folder.py",
            "adapters/camera_opencv.py",
            "adapters/camera_picamera2.py",
            "capture.py",
        )
    ),
)
# Which arguments of which call are sentences for people.
SPOKEN = {
    "InputError": (0,),
    "_BadPhotoError": (0,),
    "PhotoError": (1,),
    "CameraError": (0,),
    "refused": (1,),
    "Check": (2, 3),
    "note": (1,),
    "note_look": (1,),
    "noting": (1,),
}


def spoken() -> list[str]:
    """Every sentence that the desk's code says in English, with 7 in each gap."""
    found = []
    for path in SPEAKERS:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                found += [_filled(node.args[at]) for at in SPOKEN.get(name, ()) if at < len(node.args)]
    return sorted({sentence for sentence in found if re.search("[a-z]{3} ", sentence)})


def _filled(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in parts)
    return ""


def test_every_sentence_of_the_code_is_translated() -> None:
    """Refusals, the doctor's lines and the audit log's acts are in each language that is not English."""
    sentences = spoken()
    silent = {
        language: [sentence for sentence in sentences if say(sentence, language) == sentence]
        for language in languages(PART)
        if language != DEFAULT
    }

    assert len(sentences) > 60
    assert {language: found for language, found in silent.items() if found} == {}


def test_refusal_is_in_the_language_of_the_reader(standing_office: Office) -> None:
    """A page's reader gets it in Korean, with its gaps filled; the code beside it stays as it is."""
    visitor = standing_office.someone(Role.HR)
    korean = {"accept-language": "ko"}
    wanted = {"id": "E9", "name": "X", "consent": "true", "consent_version": "old"}

    unknown = visitor.call("GET", "/api/v1/people/E404", headers=korean)
    english = visitor.call("GET", "/api/v1/people/E404", headers={"accept-language": "en"})
    photo = visitor.call(
        "POST", "/api/v1/photos/check", wanted, files={"photo": ("x.jpg", b"no photo")}, headers=korean
    )

    assert unknown.json() == {"error": "E404 사번으로 등록된 직원이 없습니다."}
    assert english.json() == {"error": "nobody is enrolled as E404"}
    assert photo.json() == {"error": words(PART, "ko")["reason_wrong_format"], "reason": "wrong_format"}


@pytest.mark.parametrize("page", ["/person?id=E1024", "/month?id=E1024&month=2026-02", "/people?q=a%26b"])
def test_other_language_shows_the_same_page(page: str, standing_office: Office) -> None:
    """The link keeps what is looked at: the person, the month, the search."""
    visitor = standing_office.someone(Role.HR)
    link = re.search(r'href="([^"]*)" lang="ko"', visitor.client.get(page).text)
    assert link is not None
    path, _, asked = page.partition("?")

    answer = visitor.client.get(f"{path}{html.unescape(link[1])}")

    assert answer.status_code == 200
    assert dict(answer.url.params) == {**QueryParams(asked), "lang": "ko"}
    assert '<html lang="ko">' in answer.text
