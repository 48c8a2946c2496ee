"""No change without its line: the line comes first, and says afterwards how that ended."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.web.desk.office import PASSWORD, Office, demo_picture

from glancein.errors import StoreError
from glancein.storage.database import open_database
from glancein.storage.desk_schema import DESK
from glancein.storage.schema import Schema
from glancein.types import Direction
from glancein.web.access import TOKEN_SCOPES, Role
from glancein.web.audit import AuditLog, Outcome
from glancein.web.desk_file import DeskFile
from glancein.wiring import DESK_FILE

REFUSE = """
    CREATE TRIGGER full_disk BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END
"""
ACCOUNT: dict[str, object] = {"name": "second", "password": "nine blue doors", "role": "admin"}
PUNCH: dict[str, object] = {
    "id": "E1024",
    "direction": "out",
    "time": "2026-01-05T17:30",
    "reason": "forgotten",
}
# What the desk changes: method, path, fields, and what its line says.
CHANGES: dict[str, tuple[str, str, dict[str, object]]] = {
    "made an account": ("POST", "accounts", ACCOUNT),
    "removed an account": ("DELETE", "accounts/auditor", {}),
    "made a token": ("POST", "tokens", {"name": "payroll", "scopes": ["attendance:read"]}),
    "revoked a token": ("DELETE", "tokens/1", {}),
    "changed own password": (
        "POST",
        "password",
        {"old": PASSWORD, "password": "nine blue doors", "again": "nine blue doors"},
    ),
    "recorded a consent": ("POST", "people/E1024/consents", {"consent": True}),
    "set a PIN": ("POST", "people/E1024/pin", {"pin": "295174"}),
    "took a PIN away": ("DELETE", "people/E1024/pin", {}),
    "issued a pass": ("POST", "people/E1024/passes", {}),
    "revoked passes": ("DELETE", "people/E1024/passes", {}),
    "corrected": ("POST", "corrections", {"event": "", "becomes": "void", "reason": "not there"}),
    "noted a punch": ("POST", "events", PUNCH),
    "erased a person": ("DELETE", "people/E1024", {}),
}


@pytest.fixture
def company(office: Office) -> Office:
    """Somebody with everything that can be taken away, and a token."""
    desk = office.desk
    office.person("E1024", "Ada Lovelace")
    desk.passes.set_pin("E1024", "601728", at=desk.now())
    desk.passes.issue("E1024", at=desk.now())
    desk.accounts.make_token("probe", TOKEN_SCOPES, by="test")
    office.punch("E1024", Direction.IN, ago=timedelta(hours=1))
    office.someone(Role.ADMIN)
    return office


def ask(office: Office, did: str) -> int:
    """Ask for this change as an admin; gives the answer's code."""
    method, path, fields = CHANGES[did]
    if "event" in fields:
        position = office.desk.ledger.position()
        fields = fields | {"event": f"front-door/{position.epoch}/{position.seq}"}
    return office.someone(Role.ADMIN).call(method, f"/api/v1/{path}", fields).status_code


def rows_of(file: Path) -> dict[str, list[Any]]:  # Any: what the tables hold
    """Everything in a database but the log and who is signed in."""
    with closing(sqlite3.connect(file)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        kept = [name for name in names if name not in {"audit", "sessions"}]
        return {name: database.execute(f"SELECT * FROM {name}").fetchall() for name in kept}  # noqa: S608  # our own names


def everything(office: Office) -> list[dict[str, list[Any]]]:  # Any: as above
    """What both databases hold."""
    return [rows_of(file) for file in (office.desk.home.database, office.desk.home.folder / DESK_FILE)]


@pytest.mark.parametrize("did", CHANGES)
def test_change_is_not_made_without_its_line(did: str, company: Office) -> None:
    """A log that takes no line stops every change; when it takes one again, both are there."""
    before = everything(company)
    company.desk.file.change(REFUSE)
    refused = ask(company, did)
    meanwhile = everything(company)
    company.desk.file.change("DROP TRIGGER full_disk")
    done = ask(company, did)
    line = company.desk.audit.entries(limit=1)[0]

    assert refused == 503
    assert meanwhile == before
    assert done in {200, 201}
    assert everything(company) != before
    assert (line.did, line.outcome) == (did, Outcome.DONE)


def test_nobody_is_enrolled_without_a_line(office: Office) -> None:
    """Neither the person nor the consent is there, and no photo of a refused one."""
    files = {"photo": ("a.jpg", demo_picture("collins.jpg"), "image/jpeg")}
    fields = {"id": "E30", "name": "X", "consent": "true"}
    hr = office.someone(Role.HR)
    office.desk.file.change(REFUSE)
    refused = hr.call("POST", "/api/v1/people", fields, files=files)
    people, consents = office.desk.people.people(), office.desk.file.rows("SELECT 1 FROM consents")
    office.desk.file.change("DROP TRIGGER full_disk")
    done = hr.call("POST", "/api/v1/people", fields, files=files)
    line = office.desk.audit.entries(limit=1)[0]

    assert (refused.status_code, done.status_code) == (503, 201)
    assert (people, consents) == ([], [])
    assert (line.did, line.about, line.detail, line.outcome) == ("enrolled", "E30", "added", Outcome.DONE)


@pytest.mark.parametrize(
    ("paths", "did"),
    [
        (["/people", "/api/v1/people"], "looked at the list of people"),
        (["/", "/api/v1/today"], "looked at today"),
    ],
)
def test_look_at_everybody_is_one_line(paths: list[str], did: str, company: Office) -> None:
    """By a page or a call, each reader; what a page that stays open asks for anew is the same look."""
    hr, auditor = company.someone(Role.HR).client, company.someone(Role.AUDITOR).client
    before = company.desk.audit.entries(limit=1)[0].number
    codes = {reader.get(path).status_code for path in paths * 2 for reader in (hr, auditor)}
    lines = [(line.who, line.did) for line in company.desk.audit.entries() if line.number > before]

    assert codes == {200}
    assert sorted(lines) == [("auditor", did), ("hr", did)]


def test_look_that_was_over_is_another_one_later(office: Office) -> None:
    """Five minutes without the list end it; a list that is shown on and on is one look for hours."""
    now_s = [1000.0]
    log = AuditLog(office.desk.file, now_s=lambda: now_s[0])
    for now_s[0] in (1000.0, 1290.0, 1580.0, 1870.0, 2180.0):
        log.note_look("hr", "looked at today")

    looks = [line.at for line in log.entries() if line.did == "looked at today"]
    assert looks == [2180.0, 1000.0]


def test_small_crops_of_the_list_leave_no_line(company: Office) -> None:
    """The look at the list is noted; a crop in full is a look at that person's photo."""
    hr = company.someone(Role.HR).client
    shown = re.findall(r'<img src="([^"]+)"', hr.get("/people").text)
    before = company.desk.audit.entries(limit=1)[0].number
    small = [hr.get(address) for address in shown]
    between = company.desk.audit.entries(limit=1)[0].number
    hr.get("/api/v1/people/E1024/crop.png")

    assert [(answer.status_code, answer.headers["content-type"]) for answer in small] == [(200, "image/png")]
    assert between == before
    assert company.desk.audit.entries(limit=1)[0].did == "looked at a photo"


def test_line_of_a_change_that_failed_says_so(company: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error on the way leaves the line, which does not claim that it was done."""

    def fail(_: str, **__: object) -> None:
        raise StoreError("the database is locked")

    monkeypatch.setattr(company.desk.people, "remove", fail)
    code = ask(company, "erased a person")
    page = company.someone(Role.ADMIN).client.get("/audit").text
    told = company.someone(Role.ADMIN).client.get("/api/v1/audit").json()["entries"][0]

    assert code == 503
    assert (told["did"], told["about"], told["outcome"]) == ("erased a person", "E1024", "failed")
    assert "Failed" in page


def test_line_of_a_change_that_was_cut_short_says_so(office: Office) -> None:
    """After a power cut nobody knows whether it was done; the line is there and says that."""
    office.desk.audit._add("hr", "erased a person", "E1024", "", Outcome.BEGUN)
    page = office.someone(Role.ADMIN).client.get("/audit").text

    assert "Not known whether it was done" in page


def test_end_that_cannot_be_written_undoes_nothing(company: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done is answered as done."""
    monkeypatch.setattr(company.desk.audit, "_end", lambda *_: None)
    code = ask(company, "erased a person")

    assert code == 200
    assert company.desk.people.people() == []
    assert company.desk.audit.entries(limit=1)[0].outcome is Outcome.BEGUN


@pytest.mark.parametrize("to", ["done", "failed", "begun"])
def test_end_of_a_line_is_written_once(to: str, office: Office) -> None:
    """A line that has ended stays as it is, through SQL too."""
    with office.desk.audit.noting("hr", "erased a person", about="E1"):
        pass

    with pytest.raises(StoreError, match="append-only"):
        office.desk.file.change("UPDATE audit SET outcome = :to WHERE about = 'E1'", to=to)


@pytest.mark.parametrize("to", ["done", "begun"])
def test_end_of_a_line_changes_nothing_else_in_it(to: str, office: Office) -> None:
    """Who, when and what stand from the beginning."""
    office.desk.audit._add("hr", "erased a person", "E1", "", Outcome.BEGUN)

    with pytest.raises(StoreError, match="append-only"):
        office.desk.file.change("UPDATE audit SET who = 'nobody', outcome = :to WHERE about = 'E1'", to=to)


def test_log_of_the_first_version_is_kept(tmp_path: Path) -> None:
    """Its lines were written after what they tell of: done."""
    old = open_database(tmp_path / DESK_FILE, schema=Schema(DESK.application_id, DESK.migrations[:1]))
    old.execute("INSERT INTO audit (at, who, did, about, detail) VALUES (1, 'hr', 'enrolled', 'E1', '')")
    old.conn.close()
    with closing(DeskFile(tmp_path)) as file:
        (line,) = AuditLog(file).entries()

    assert (line.who, line.about, line.outcome) == ("hr", "E1", Outcome.DONE)
