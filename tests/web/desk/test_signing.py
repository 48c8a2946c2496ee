"""Signing in: right, wrong, too often, for too long; the first account; tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.web.desk.office import PASSWORD, SETTINGS, Office, Visitor, open_office

from glancein.errors import InputError, StoreError
from glancein.web.access import GRANTS, TOKEN_SCOPES, Permission, Role
from glancein.web.accounts import ABSOLUTE_S, IDLE_S, Accounts, Throttle
from glancein.web.audit import KEPT_S, TRIM_EVERY, AuditLog
from glancein.web.desk.build import desk_app
from glancein.web.desk.desk import Desk, open_desk
from glancein.web.desk_file import DeskFile
from glancein.web.security import FORM_COOKIE, SESSION_COOKIE
from glancein.wiring import DESK_FILE, Home


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Desk]:
    """A desk that was never set up."""
    desk = open_desk(Home(tmp_path, SETTINGS))
    yield desk
    desk.close()


class Ticking:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.s = 1_700_000_000.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def file(tmp_path: Path) -> Iterator[DeskFile]:
    """A desk's file."""
    opened = DeskFile(tmp_path)
    yield opened
    opened.close()


def test_first_account_needs_the_code_of_the_console(fresh: Desk) -> None:
    """Who reads the console makes the admin, once; everybody else is refused."""
    visitor = Visitor(TestClient(desk_app(fresh), base_url="http://localhost", follow_redirects=False))
    assert visitor.open("/sign-in").headers["location"] == "/setup"
    visitor.open("/setup")
    fields = {"name": "boss", "password": PASSWORD, "again": PASSWORD, "code": "AAAA-AAAA-AAAA"}
    code = fresh.accounts.setup_code

    wrong = visitor.call("POST", "/api/v1/setup", fields)
    right = visitor.call("POST", "/api/v1/setup", fields | {"code": code.lower().replace("-", " ")})
    again = visitor.call("POST", "/api/v1/setup", fields | {"code": code, "name": "other"})

    assert (wrong.status_code, right.status_code, again.status_code) == (422, 201, 422)
    assert [(a.name, a.role) for a in fresh.accounts.accounts()] == [("boss", Role.ADMIN)]
    assert visitor.sign_in("boss").status_code == 200


def test_setup_code_cannot_be_guessed_for_long(fresh: Desk) -> None:
    """Five wrong codes, then even the right one has to wait."""
    visitor = Visitor(TestClient(desk_app(fresh), base_url="http://localhost", follow_redirects=False))
    visitor.open("/setup")
    fields = {"name": "boss", "password": PASSWORD, "again": PASSWORD}
    answers = [visitor.call("POST", "/api/v1/setup", fields | {"code": f"{n}"}).status_code for n in range(5)]
    late = visitor.call("POST", "/api/v1/setup", fields | {"code": fresh.accounts.setup_code})

    assert answers == [422] * 5
    assert late.status_code == 429
    assert fresh.accounts.accounts() == []


def test_weak_passwords_do_not_lock_the_set_up(fresh: Desk) -> None:
    """Whoever has the right code may look for a good password as long as it takes."""
    visitor = Visitor(TestClient(desk_app(fresh), base_url="http://localhost", follow_redirects=False))
    visitor.open("/setup")
    fields = {"name": "boss", "code": fresh.accounts.setup_code}
    weak = [
        visitor.call("POST", "/api/v1/setup", fields | {"password": word, "again": word}).status_code
        for word in ("short", "shorter", "aaaaaaaaaa", "bossbossboss", "1111111111", "boss boss 1")
    ]
    good = visitor.call("POST", "/api/v1/setup", fields | {"password": PASSWORD, "again": PASSWORD})

    assert weak == [422] * 6
    assert good.status_code == 201


def test_session_cookie_is_out_of_reach_of_scripts_and_other_sites(office: Office) -> None:
    """HttpOnly and SameSite=Strict; the form's cookie too."""
    visitor = office.visitor()
    form = visitor.open("/sign-in").headers["set-cookie"]
    session = visitor.sign_in("hr").headers["set-cookie"]

    for cookie, name in ((form, FORM_COOKIE), (session, SESSION_COOKIE)):
        assert cookie.startswith(f"{name}=")
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()


def test_file_holds_neither_password_nor_session_nor_token(office: Office) -> None:
    """A stolen file opens nothing: argon2id for passwords, SHA-256 for random secrets."""
    visitor = office.someone(Role.HR)
    session = visitor.client.cookies[SESSION_COOKIE]
    token = office.desk.accounts.make_token("payroll", frozenset({Permission.ATTENDANCE_READ}), by="admin")
    office.desk.file.wipe()
    stored = (office.desk.home.folder / DESK_FILE).read_bytes()

    for secret in (session, token, PASSWORD):
        assert secret.encode() not in stored
    assert b"$argon2id$" in stored


def test_wrong_password_tells_nothing_and_waits_after_five(office: Office) -> None:
    """A wrong name and a wrong password look alike; the sixth try has to wait, right or wrong."""
    visitor = office.visitor()
    unknown = visitor.sign_in("nobody", "something else")
    wrong = [visitor.sign_in("hr", f"wrong {n}") for n in range(4)]
    blocked = visitor.sign_in("hr")

    assert unknown.json() == wrong[0].json()
    assert {answer.status_code for answer in (unknown, *wrong)} == {401}
    assert blocked.status_code == 429
    assert int(blocked.headers["retry-after"]) > 60


def test_throttle_forgets_after_its_window() -> None:
    """Failures grow old; a success clears them; other keys are free."""
    now = Ticking()
    throttle = Throttle(now_s=now)
    for _ in range(5):
        throttle.failed("a")

    assert throttle.wait_s("a", "b") > 0
    assert throttle.wait_s("b") == 0
    now.s += 901
    assert throttle.wait_s("a") == 0
    for _ in range(5):
        throttle.failed("a")
    throttle.succeeded("a")
    assert throttle.wait_s("a") == 0


def test_throttle_remembers_a_bounded_number_of_keys() -> None:
    """Millions of made-up names fill no memory."""
    throttle = Throttle()
    for n in range(5000):
        throttle.failed(f"name {n}")

    assert len(throttle._failures) == 4096


def test_session_ends_when_idle_and_in_any_case_after_a_day_of_work(file: DeskFile) -> None:
    """Half an hour without a page ends it; using it does not carry it past twelve hours."""
    now = Ticking()
    accounts = Accounts(file, now_s=now)
    accounts.add("hr", PASSWORD, role=Role.HR)
    idle, used = accounts.sign_in("hr", PASSWORD), accounts.sign_in("hr", PASSWORD)
    assert idle
    assert used

    for _ in range(int(ABSOLUTE_S / 600) - 1):
        now.s += 600
        assert accounts.who_has_session(used).name == "hr"
    assert not accounts.who_has_session(idle).is_known
    now.s += 601
    assert not accounts.who_has_session(used).is_known
    assert IDLE_S < ABSOLUTE_S


def test_sign_out_ends_the_session(office: Office) -> None:
    """The old cookie opens nothing any more."""
    visitor = office.visitor()
    visitor.sign_in("hr")
    cookie = visitor.client.cookies[SESSION_COOKIE]
    visitor.call("POST", "/api/v1/sign-out")
    other = office.visitor()
    other.client.cookies.set(SESSION_COOKIE, cookie)

    assert other.client.get("/api/v1/today").status_code == 401


def test_new_password_ends_every_session(office: Office) -> None:
    """Whoever had the old password is out."""
    one, two = office.visitor(), office.visitor()
    one.sign_in("hr")
    two.sign_in("hr")
    wanted = {"password": "nine blue doors", "again": "nine blue doors"}
    refused = one.call("POST", "/api/v1/password", {"old": "wrong one", **wanted})
    done = one.call("POST", "/api/v1/password", {"old": PASSWORD, **wanted})

    assert (refused.status_code, done.status_code) == (403, 200)
    assert two.client.get("/api/v1/today").status_code == 401
    assert office.visitor().sign_in("hr", "nine blue doors").status_code == 200


def test_new_password_is_asked_for_twice(office: Office) -> None:
    """A slip of the finger locks nobody out: the old password stays."""
    admin = office.someone(Role.ADMIN)
    fields = {"old": PASSWORD, "password": "nine blue doors", "again": "nine blue doorz"}
    answer = admin.call("POST", "/api/v1/password", fields)

    assert (answer.status_code, answer.json()["error"]) == (422, "the two passwords differ")
    assert 'name="again"' in admin.client.get("/me").text
    assert office.visitor().sign_in("admin").status_code == 200


def test_console_makes_another_admin_once(office: Office) -> None:
    """Where no password is known, who reads the console gets in; everybody else signs in as ever."""
    visitor = office.visitor()
    closed = visitor.open("/setup").headers["location"]
    office.desk.accounts.invite_admin()
    code = office.desk.accounts.setup_code
    sign_in = visitor.open("/sign-in").status_code
    form = visitor.open("/setup").status_code
    fields = {"password": PASSWORD, "again": PASSWORD}
    wrong = visitor.call("POST", "/api/v1/setup", fields | {"name": "boss", "code": "AAAA-AAAA-AAAA"})
    right = visitor.call("POST", "/api/v1/setup", fields | {"name": "boss", "code": code})
    second = visitor.call("POST", "/api/v1/setup", fields | {"name": "other", "code": code})

    assert (closed, sign_in, form) == ("/sign-in", 200, 200)
    assert (wrong.status_code, right.status_code, second.status_code) == (422, 201, 422)
    assert visitor.sign_in("boss").status_code == 200
    assert {a.name for a in office.desk.accounts.accounts()} == {"admin", "auditor", "boss", "hr"}


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaa", "hr hr hr hr 1", "x" * 201])
def test_weak_password_is_refused(password: str, office: Office) -> None:
    """Too short, one letter, the account's own name, or endless."""
    with pytest.raises(InputError):
        office.desk.accounts.change_password("hr", password)


def test_last_admin_cannot_be_removed(office: Office) -> None:
    """Nobody locks everybody out."""
    with pytest.raises(InputError, match="last admin"):
        office.desk.accounts.remove("admin")
    office.desk.accounts.remove("auditor")
    assert [a.name for a in office.desk.accounts.accounts()] == ["admin", "hr"]


def test_removed_account_is_out_at_once(office: Office) -> None:
    """Its session dies with it."""
    visitor = office.visitor()
    visitor.sign_in("hr")
    office.someone(Role.ADMIN).call("DELETE", "/api/v1/accounts/hr")

    assert visitor.client.get("/api/v1/today").status_code == 401


@pytest.mark.parametrize("path", ["/", "/health", "/people"])
def test_full_disk_turns_nobody_away(path: str, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is signed in, or holds a token, still sees the pages that say what is wrong."""
    hr = office.someone(Role.HR)
    raw = office.desk.accounts.make_token("probe", TOKEN_SCOPES, by="test")
    office.desk.file.change("UPDATE sessions SET seen_at = seen_at - 120")

    def fail(*_: object) -> None:
        raise StoreError("the disk is full; free some space")

    monkeypatch.setattr(office.desk.file, "change_all", fail)
    monkeypatch.setattr(office.desk.file, "add", lambda *_, **__: fail())
    by_session = hr.client.get(path)
    by_token = office.visitor().client.get("/api/v1/today", headers={"authorization": f"Bearer {raw}"})

    assert (by_session.status_code, by_token.status_code) == (200, 200)


def test_token_opens_its_scopes_until_it_is_revoked(office: Office) -> None:
    """Made by an admin, shown once, listed without its secret, worthless after."""
    admin = office.someone(Role.ADMIN)
    made = admin.call("POST", "/api/v1/tokens", {"name": "payroll", "scopes": ["attendance:read"]}).json()
    bearer = {"authorization": f"Bearer {made['token']}"}
    client = office.visitor().client
    before = client.get("/api/v1/today", headers=bearer).status_code
    listed = admin.client.get("/api/v1/tokens").json()["tokens"]
    admin.call("DELETE", f"/api/v1/tokens/{listed[0]['number']}")
    after = client.get("/api/v1/today", headers=bearer).status_code

    assert (before, after) == (200, 401)
    assert made["token"] not in str(listed)


@pytest.mark.parametrize("number", ["9" * 20, "9" * 5000, "-1", "x", "7"])
def test_token_that_is_not_there_is_told(number: str, office: Office) -> None:
    """Also by a number that no database holds."""
    answer = office.someone(Role.ADMIN).call("DELETE", f"/api/v1/tokens/{number}")

    assert answer.status_code == 422
    assert answer.json()["error"].startswith("there is no token")


def test_token_for_accounts_is_never_made(office: Office) -> None:
    """No integration makes accounts or tokens."""
    assert Permission.ACCOUNTS_WRITE not in TOKEN_SCOPES
    with pytest.raises(InputError):
        office.desk.accounts.make_token("x", frozenset({Permission.ACCOUNTS_WRITE}), by="admin")


def test_auditor_changes_nothing() -> None:
    """No permission to write is among an auditor's."""
    assert [p for p in GRANTS[Role.AUDITOR] if p.endswith(":write")] == []


def test_what_was_done_is_in_the_log(office: Office) -> None:
    """Who looked at or changed what; and the log cannot be rewritten through SQL either."""
    office.person("E1024", "Ada Lovelace")
    office.someone(Role.HR).client.get("/person?id=E1024")
    entries = office.someone(Role.AUDITOR).client.get("/api/v1/audit").json()["entries"]

    assert ("hr", "looked at a person", "E1024") in [(e["who"], e["did"], e["about"]) for e in entries]
    assert "Ada" not in str(entries)

    with pytest.raises(StoreError, match="append-only"):
        office.desk.file.change("UPDATE audit SET who = 'nobody'")


def test_two_admins_who_remove_each_other_leave_one(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both looked at the same list of two admins; whoever is second is refused."""
    accounts = office.desk.accounts
    accounts.add("other", PASSWORD, role=Role.ADMIN)
    seen = accounts.accounts()
    monkeypatch.setattr(accounts, "accounts", lambda: seen)

    accounts.remove("admin")
    with pytest.raises(InputError, match="last admin"):
        accounts.remove("other")

    monkeypatch.undo()
    assert [a.name for a in accounts.accounts() if a.role is Role.ADMIN] == ["other"]


def test_setup_is_over_once_another_process_has_done_it(fresh: Desk) -> None:
    """A desk beside it on the same folder goes to the sign-in, and its own code makes no further admin."""
    beside = open_desk(fresh.home)
    visitor = Visitor(TestClient(desk_app(fresh), base_url="http://localhost", follow_redirects=False))
    visitor.open("/setup")
    code = fresh.accounts.setup_code
    beside.accounts.set_up(beside.accounts.setup_code, "boss", PASSWORD)
    beside.close()
    fields = {"name": "second", "password": PASSWORD, "again": PASSWORD, "code": code}
    answer = visitor.call("POST", "/api/v1/setup", fields)

    assert answer.status_code == 422
    assert visitor.open("/sign-in").status_code == 200
    assert visitor.open("/setup").headers["location"] == "/sign-in"
    assert [a.name for a in fresh.accounts.accounts()] == ["boss"]


@pytest.mark.parametrize("ahead_s", [IDLE_S + 60, 14 * 365 * 86_400])
def test_session_of_a_clock_that_was_ahead_ends_when_it_is_set_back(file: DeskFile, ahead_s: float) -> None:
    """It would otherwise be good for as long as the clock was wrong."""
    now = Ticking()
    accounts = Accounts(file, now_s=now)
    accounts.add("hr", PASSWORD, role=Role.HR)
    now.s += ahead_s
    raw = accounts.sign_in("hr", PASSWORD)
    assert raw
    assert accounts.who_has_session(raw).is_known

    now.s -= ahead_s
    assert not accounts.who_has_session(raw).is_known


def test_password_of_a_proxy_hides_no_session(office: Office) -> None:
    """A browser sends the proxy's Basic password with everything; who is signed in stays so."""
    visitor = office.someone(Role.HR)
    basic = {"authorization": "Basic cHJveHk6c2VjcmV0"}

    assert visitor.client.get("/api/v1/today", headers=basic).status_code == 200
    assert visitor.open("/people").status_code == 200
    assert visitor.call("POST", "/api/v1/sign-out", headers=basic).status_code == 200
    assert office.visitor().client.get("/api/v1/today", headers=basic).status_code == 401


def proxied(desk: Desk, client: str = "127.0.0.1") -> Visitor:
    """A browser whose requests come from this address."""
    app = desk_app(desk)
    return Visitor(
        TestClient(app, base_url="http://localhost", client=(client, 50000), follow_redirects=False)
    )


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Office]:
    """A desk whose settings name a proxy."""
    opened = open_office(tmp_path, replace(SETTINGS, desk_proxy=True))
    yield opened
    opened.desk.close()


def test_behind_a_proxy_each_visitor_waits_for_their_own_mistakes(behind: Office) -> None:
    """Five wrong passwords of one address lock out nobody else; what it claims to be is not heard."""
    guesser, hr = proxied(behind.desk), proxied(behind.desk)
    hr.client.headers["x-forwarded-for"] = "192.0.2.8"
    for n in range(5):
        guesser.client.headers["x-forwarded-for"] = f"203.0.113.{n}, 192.0.2.66"
        assert guesser.sign_in(f"nobody{n}").status_code == 401

    assert guesser.sign_in("auditor").status_code == 429
    assert hr.sign_in("hr").status_code == 200


@pytest.mark.parametrize("named", [True, False], ids=["named in the settings", "not named"])
def test_cookies_are_secure_behind_a_proxy_with_tls(
    named: bool,  # noqa: FBT001  # a parameter of the test
    tmp_path: Path,
) -> None:
    """The browser's line is what counts; a proxy is believed only if the settings say there is one."""
    office = open_office(tmp_path, replace(SETTINGS, desk_proxy=named))
    visitor = proxied(office.desk)
    visitor.client.headers["x-forwarded-proto"] = "https"
    form = visitor.open("/sign-in").headers["set-cookie"]
    kept = {"cookie": form.partition(";")[0]}  # the client's own line has no TLS, so it would not send it
    fields = {"name": "hr", "password": PASSWORD}
    session = visitor.call("POST", "/api/v1/sign-in", fields, headers=kept)
    office.desk.close()

    assert ("; secure" in form.lower()) is named
    assert ("; secure" in session.headers["set-cookie"].lower()) is named


def test_only_this_machine_is_believed_to_be_the_proxy(behind: Office) -> None:
    """Somebody on the network who says whose browser they are is throttled as who they are."""
    stranger = proxied(behind.desk, "192.0.2.66")
    for n in range(5):
        stranger.client.headers["x-forwarded-for"] = f"203.0.113.{n}"
        stranger.sign_in(f"nobody{n}")

    assert stranger.sign_in("hr").status_code == 429


def test_clock_set_far_ahead_empties_no_log(file: DeskFile) -> None:
    """The next clean-up takes what is a year older than the lines since, not what the clock says."""
    now = Ticking()
    log = AuditLog(file, now_s=now)
    log.note("hr", "looked at a person", about="E1")
    now.s += 14 * 365 * 86_400
    for _ in range(TRIM_EVERY):
        log.note("hr", "looked at a person", about="E2")

    assert file.rows("SELECT about FROM audit WHERE about = 'E1'") == [("E1",)]


def test_log_forgets_after_its_time(file: DeskFile) -> None:
    """What is older than 400 days leaves, what is younger stays."""
    now = Ticking()
    log = AuditLog(file, now_s=now)
    for day in range(TRIM_EVERY):
        log.note("hr", "looked at a person", about=f"day {day}")
        now.s += 86_400
    kept = [entry.about for entry in log.entries(limit=TRIM_EVERY)]

    assert kept[0] == f"day {TRIM_EVERY - 1}"
    assert kept[-1] == f"day {TRIM_EVERY - 1 - KEPT_S // 86_400}"
