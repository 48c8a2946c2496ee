"""The page that says how the kiosk is, also when it is not well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.web.desk.office import Office

from glancein import doctor, wiring
from glancein.capture import Capture
from glancein.doctor import Check
from glancein.errors import CameraError
from glancein.web.access import Role


@pytest.fixture
def unwell(office: Office, monkeypatch: pytest.MonkeyPatch) -> Office:
    """A desk whose embedder in use is damaged; the doctor's own checks are left out."""
    embedders = office.desk.home.folder / "models" / "embedder"
    (embedders / "versions" / "damaged").mkdir(parents=True)
    (embedders / "versions" / "damaged" / "card.json").write_text("{")
    (embedders / "current").symlink_to("versions/damaged")

    def examined(*_: object, **__: object) -> Iterator[Check]:
        return iter(())

    monkeypatch.setattr(doctor, "examine", examined)
    return office


def test_health_page_opens_with_a_damaged_model(unwell: Office) -> None:
    """It says what is wrong instead of being refused itself."""
    page = unwell.someone(Role.HR).client.get("/health")

    assert page.status_code == 200
    assert 'class="problem"' in page.text


def test_threshold_explorer_reads_the_gallery_twice_and_not_for_each_point(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for the curve, once for the closest pair: with 2,000 people each look takes a while."""
    looks: list[str] = []
    read = office.desk.people.templates

    def counted(model: str) -> object:
        looks.append(model)
        return read(model)

    monkeypatch.setattr(doctor, "examine", lambda *_, **__: iter(()))
    monkeypatch.setattr(office.desk.people, "templates", counted)
    office.someone(Role.HR).client.get("/health")

    assert len(looks) == 2


def test_health_beside_a_running_kiosk_is_the_kiosks_own(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A desk of its own on the kiosk's folder asks the kiosk, and leaves the camera alone."""

    def take(word: str) -> Capture:
        raise CameraError(f"{word} was taken from the kiosk")

    monkeypatch.setattr(wiring, "open_camera", take)
    state = {"frames": 4711, "camera": "the lens is covered"}
    hr = office.someone(Role.HR)
    with closing(wiring.tell_beside(office.desk.home, lambda: state)):
        told = hr.client.get("/api/v1/health").json()
        page = hr.client.get("/health").text
    alone = hr.client.get("/api/v1/health").json()

    assert told["kiosk"] == state
    assert [c["said"] for c in told["checks"] if c["what"] == "camera"] == ["the lens is covered"]
    assert "4711" in page
    assert alone["kiosk"] is None
