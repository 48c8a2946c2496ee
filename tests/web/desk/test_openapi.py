"""The published description is that of the routes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.web.desk.office import Office

from glancein.web.access import Permission, Role
from glancein.web.desk.openapi import document
from glancein.web.desk.routes import endpoints
from glancein.web.desk.tables import KINDS
from glancein.web.security import Kind

PUBLISHED = Path(__file__).resolve().parents[3] / "docs" / "openapi.json"


def test_published_description_is_current(office: Office, *, update_golden: bool) -> None:
    """docs/openapi.json says what the code says; pytest --update-golden writes it anew."""
    made = json.dumps(document(endpoints(office.desk)), indent=1, ensure_ascii=False) + "\n"
    if update_golden:
        PUBLISHED.write_text(made, encoding="utf-8")

    assert PUBLISHED.read_text(encoding="utf-8") == made


def test_every_call_is_described_once(office: Office) -> None:
    """No route under /api/v1 is missing, and no two share a name."""
    table = [endpoint for endpoint in endpoints(office.desk) if endpoint.kind is Kind.API]
    paths = document(table)["paths"]
    operations = [operation for methods in paths.values() for operation in methods.values()]

    assert len(operations) == len(table)
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(path.startswith("/api/v1/") for path in paths)


def test_every_answer_is_described(office: Office) -> None:
    """Both kinds of table, who must wait, what is gone, and a desk that cannot answer."""
    paths = document(endpoints(office.desk))["paths"]
    operations = [operation for methods in paths.values() for operation in methods.values()]
    named = {
        status: {operation["operationId"] for operation in operations if status in operation["responses"]}
        for status in ("404", "429")
    }
    table = paths["/api/v1/export.{kind}"]["get"]["responses"]["2XX"]["content"]

    assert set(table) == {kind.partition(";")[0] for _, kind in KINDS.values()}
    assert named["404"] == {"get_people_person_id_crop_png", "get_jobs_number"}
    assert named["429"] == {"post_sign_in", "post_setup", "post_password"}
    assert all("503" in operation["responses"] for operation in operations)


def test_description_is_served_to_whoever_is_known(office: Office) -> None:
    """The desk hands out its own description, also to a program with a token."""
    served = office.someone(Role.HR).client.get("/api/v1/openapi.json").json()

    raw = office.desk.accounts.make_token("any", frozenset({Permission.HEALTH_READ}), by="test")
    bearer = {"authorization": f"Bearer {raw}"}

    assert office.visitor().client.get("/api/v1/openapi.json", headers=bearer).json() == served
    assert served == json.loads(PUBLISHED.read_text(encoding="utf-8"))
