"""Every route refuses who may not use it. The list comes out of the application, so that none is left out."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from tests.web.desk.office import Office, open_office

from glancein.errors import StoreError
from glancein.web.access import GRANTS, TOKEN_SCOPES, Door, Permission, Role, Who
from glancein.web.app import Address
from glancein.web.desk.build import desk_app
from glancein.web.desk.routes import endpoints
from glancein.web.security import SAFE_METHODS, Endpoint, Kind


def table() -> list[Endpoint]:
    """The desk's routes, from a desk that is opened for the purpose and closed again."""
    import tempfile  # noqa: PLC0415  # only when tests are collected
    from pathlib import Path  # noqa: PLC0415  # as above

    with tempfile.TemporaryDirectory() as folder:
        office = open_office(Path(folder))
        try:
            return endpoints(office.desk)
        finally:
            office.desk.close()


TABLE = table()
GUARDED = [endpoint for endpoint in TABLE if endpoint.needs is not Door.ANYBODY]
CHANGING = [endpoint for endpoint in TABLE if endpoint.method not in SAFE_METHODS]


def name_of(endpoint: Endpoint) -> str:
    """How a test is called."""
    return f"{endpoint.method} {endpoint.path}"


def path_of(endpoint: Endpoint) -> str:
    """The route's path with something in its gaps."""
    return re.sub(r"\{\w+\}", "E1024", re.sub(r"\{\w+:int\}", "1", endpoint.path))


@dataclass(frozen=True, slots=True)
class Wrong:
    """A route and a role that may not use it."""

    endpoint: Endpoint
    role: Role


WRONG_ROLES = [
    Wrong(endpoint, role)
    for endpoint in GUARDED
    for role in Role
    if not Who("x", GRANTS[role], role).may(endpoint.needs)
]


def test_table_is_what_the_application_serves(office: Office) -> None:
    """No route is served that is not in the table, and the only folder served is the static one."""
    app = desk_app(office.desk)
    assert isinstance(app, Starlette)
    served = {
        (method, route.path)
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    mounts = [route.path for route in app.routes if isinstance(route, Mount)]

    assert served == {(endpoint.method, endpoint.path) for endpoint in TABLE}
    assert mounts == ["/static"]
    assert len(served) == len(TABLE)


def test_only_signing_in_is_open_to_anybody() -> None:
    """What needs no account is on this list and nowhere else."""
    open_to_all = {name_of(endpoint) for endpoint in TABLE if endpoint.needs is Door.ANYBODY}

    assert open_to_all == {"GET /sign-in", "GET /setup", "POST /api/v1/sign-in", "POST /api/v1/setup"}


@pytest.mark.parametrize("endpoint", GUARDED, ids=name_of)
def test_stranger_is_turned_away(endpoint: Endpoint, standing_office: Office) -> None:
    """Without a session or token a page leads to the sign-in and a call gives 401."""
    answer = standing_office.visitor().client.request(endpoint.method, path_of(endpoint))

    if endpoint.kind is Kind.PAGE:
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    else:
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("wrong", WRONG_ROLES, ids=lambda wrong: f"{wrong.role} {name_of(wrong.endpoint)}")
def test_wrong_role_is_refused(wrong: Wrong, standing_office: Office) -> None:
    """Who is signed in but may not gets 403, with the right CSRF token too."""
    visitor = standing_office.someone(wrong.role)
    answer = visitor.call(wrong.endpoint.method, path_of(wrong.endpoint))

    assert answer.status_code == 403
    assert wrong.endpoint.needs in answer.json()["error"]


@pytest.mark.parametrize("endpoint", CHANGING, ids=name_of)
@pytest.mark.parametrize("token", ["", "0" * 64, "ü"], ids=["missing", "wrong", "no hex"])
def test_change_without_csrf_token_is_refused(
    token: str, endpoint: Endpoint, standing_office: Office
) -> None:
    """Every route that changes something refuses an admin's session without that page's token."""
    client = standing_office.someone(Role.ADMIN).client
    headers = {b"x-csrf-token": token.encode("latin-1")} if token else {}
    answer = client.request(endpoint.method, path_of(endpoint), headers=headers)

    assert answer.status_code == 403
    assert "page" in answer.json()["error"]


@pytest.mark.parametrize("endpoint", CHANGING, ids=name_of)
def test_change_from_another_origin_is_refused(endpoint: Endpoint, standing_office: Office) -> None:
    """The right token does not help a page that lies elsewhere."""
    visitor = standing_office.someone(Role.ADMIN)
    answer = visitor.call(endpoint.method, path_of(endpoint), headers={"origin": "http://evil.example"})

    assert answer.status_code == 403


@pytest.mark.parametrize("endpoint", [*TABLE, None], ids=lambda e: name_of(e) if e else "static")
@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "10.0.0.7"])
def test_foreign_host_is_refused(host: str, endpoint: Endpoint | None, standing_office: Office) -> None:
    """A name that is not ours gets nothing, from no route: what rebinding a domain name relies on."""
    client = standing_office.someone(Role.ADMIN).client
    method, path = (endpoint.method, path_of(endpoint)) if endpoint else ("GET", "/static/desk/desk.css")
    answer = client.request(method, path, headers={"host": host})

    assert answer.status_code == 400
    assert "desk_hosts" in answer.text


@pytest.mark.parametrize("host", ["192.0.2.7", "fd00::7", "kiosk-3"])
def test_desk_answers_at_the_address_it_prints(host: str, standing_office: Office) -> None:
    """What ``--host`` names needs no second mention in the settings."""
    own = Address(host).name
    client = TestClient(desk_app(standing_office.desk, own=[own]), base_url="http://localhost")

    assert client.get("/sign-in", headers={"host": f"{own}:8600"}).status_code == 200
    assert client.get("/sign-in", headers={"host": "evil.example:8600"}).status_code == 400


@pytest.mark.parametrize("endpoint", [e for e in GUARDED if e.needs is not Door.KNOWN], ids=name_of)
def test_token_without_the_scope_is_refused(endpoint: Endpoint, standing_office: Office) -> None:
    """A token opens what its scopes name and nothing else; accounts and sessions are never open to one."""
    scopes = TOKEN_SCOPES - {endpoint.needs}
    raw = standing_office.desk.accounts.make_token("probe", frozenset(scopes), by="test")
    answer = standing_office.visitor().client.request(
        endpoint.method, path_of(endpoint), headers={"authorization": f"Bearer {raw}"}
    )

    assert answer.status_code == 403


def test_only_the_description_asks_for_no_scope() -> None:
    """What every token may see is on this list and nowhere else."""
    open_to_tokens = {name_of(endpoint) for endpoint in TABLE if endpoint.needs is Door.KNOWN}

    assert open_to_tokens == {"GET /api/v1/openapi.json"}


@pytest.mark.parametrize("endpoint", TABLE, ids=name_of)
def test_every_answer_carries_the_security_headers(endpoint: Endpoint, standing_office: Office) -> None:
    """Also refusals: no inline script, no frame, no sniffing, no cache."""
    answer = standing_office.visitor().client.request(endpoint.method, path_of(endpoint))
    policy = answer.headers["content-security-policy"]

    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


def test_static_file_is_asked_about_each_time(standing_office: Office) -> None:
    """A page of after an update does not run the script of before; one that did not change is not sent."""
    client = standing_office.visitor().client
    sent = client.get("/static/desk/forms.js")
    again = client.get("/static/desk/forms.js", headers={"if-none-match": sent.headers["etag"]})

    assert (sent.status_code, again.status_code) == (200, 304)
    assert sent.headers["cache-control"] == again.headers["cache-control"] == "no-cache"


def test_every_permission_is_needed_somewhere() -> None:
    """A permission that opens nothing would be a promise to nobody."""
    assert {endpoint.needs for endpoint in TABLE} >= set(Permission)


# What a browser sends when somebody opens an address, and what a script's fetch does.
OPENS = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8", "accept-language": "en"}
NOT_SHOWN = {
    "erased person": (Role.HR, "/person?id=E404", 422, "Nobody is enrolled as E404"),
    "no id": (Role.HR, "/person", 422, "A person id has"),
    "no such month": (Role.HR, "/month?month=2026-13", 422, "is not written as 2026-11"),
    "month of nobody": (Role.HR, "/month?id=E404", 422, "Nobody is enrolled as E404"),
    "not allowed": (Role.AUDITOR, "/enrol", 403, "This needs people:write"),
    "no such page": (Role.HR, "/persons", 404, "There is no such page"),
}


@pytest.mark.parametrize("case", NOT_SHOWN)
def test_page_that_is_refused_is_a_page_that_says_why(case: str, standing_office: Office) -> None:
    """With the desk's menu to go on from; a script that asks for the same gets JSON."""
    role, path, status, sentence = NOT_SHOWN[case]
    visitor = standing_office.someone(role)
    page = visitor.client.get(path, headers=OPENS)
    script = visitor.client.get(path)

    assert (page.status_code, script.status_code) == (status, status)
    assert page.headers["content-type"].startswith("text/html")
    assert sentence in page.text
    assert '<nav aria-label="Main">' in page.text
    assert script.json()["error"].lower() in html.unescape(page.text).lower()


def test_page_is_refused_in_the_language_of_its_reader(standing_office: Office) -> None:
    """As the sentence of a call is."""
    visitor = standing_office.someone(Role.HR)
    page = visitor.client.get("/person?id=E404", headers={**OPENS, "accept-language": "ko"})

    assert "E404 사번으로 등록된 직원이 없습니다." in page.text


def test_page_whose_database_fails_says_so(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page that says it needs no database."""
    visitor = office.someone(Role.HR)

    def fail() -> None:
        raise StoreError("the disk reports errors; check the card")

    monkeypatch.setattr(office.desk.people, "people", fail)
    page = visitor.client.get("/people", headers=OPENS)

    assert page.status_code == 503
    assert "The disk reports errors; check the card" in page.text


def test_stranger_at_no_page_learns_nothing(standing_office: Office) -> None:
    """Neither a menu nor a name."""
    page = standing_office.visitor().client.get("/persons", headers=OPENS)

    assert page.status_code == 404
    assert "<nav" not in page.text
    assert page.headers["x-frame-options"] == "DENY"
