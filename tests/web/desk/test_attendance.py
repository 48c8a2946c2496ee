"""Who is in, days with pairs, corrections as new events, exports without formulas, the live stream."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from urllib.request import Request, urlopen
from zipfile import ZipFile

import pytest
from openpyxl import load_workbook
from tests.web.desk.office import SETTINGS, Office, open_office

from glancein.storage.stream import read_event
from glancein.types import CheckIn, Correction, Direction, Event, OtherTime, StreamPosition
from glancein.web.access import Permission, Role
from glancein.web.app import Address, WebServer
from glancein.web.desk.build import desk_app
from glancein.web.desk.tables import neutral

PAYLOADS = (
    '=HYPERLINK("http://evil.example")',
    "+1+1",
    "-2+3",
    "@SUM(A1:A9)",
    "\uff1d1+1",
    "=cmd|' /C calc'!A0",
)


def yesterday(office: Office, hour: int, minute: int = 0) -> datetime:
    """A time of day on the day before."""
    return (office.desk.now() - timedelta(days=1)).replace(hour=hour, minute=minute, second=0, microsecond=0)


def test_today_knows_who_is_in_and_who_is_not(office: Office) -> None:
    """In after a check-in, out after a check-out, nobody forgotten who never came."""
    for person_id in ("E1", "E2", "E3"):
        office.person(person_id, f"Person {person_id}")
    office.punch("E1", Direction.IN, ago=timedelta(minutes=2))
    office.punch("E2", Direction.IN, ago=timedelta(minutes=2))
    office.punch("E2", Direction.OUT, ago=timedelta(minutes=1))
    rows = office.someone(Role.HR).client.get("/api/v1/today").json()["people"]
    presence = {row["id"]: row["presence"] for row in rows}

    assert presence["E1"] == "in"
    assert presence["E2"] in {"out", "expected", "missing", "off"}  # around midnight it was another day
    assert presence["E3"] in {"missing", "expected", "off"}


def test_days_pair_in_and_out(office: Office) -> None:
    """Two stays of a day and their sum."""
    office.person("E1", "Ada")
    for direction, hour in (("in", 8), ("out", 12), ("in", 13), ("out", 17)):
        office.punch_at("E1", Direction(direction), yesterday(office, hour))
    day = yesterday(office, 0).date()
    sheet = office.someone(Role.HR).client.get(f"/api/v1/people/E1/days?from={day}").json()

    assert sheet["worked_s"] == 8 * 3600
    assert [len(d["pairs"]) for d in sheet["days"]] == [2]


def test_month_can_be_added_up_by_hand(office: Office) -> None:
    """Twenty days from 09:00:50 to 17:20:20: the rows of page, tables and API give the sum at the foot."""
    office.person("E1", "Ada")
    for day in range(1, 21):
        came = datetime(2026, 3, day, 9, 0, 50, tzinfo=office.desk.zone)
        office.punch_at("E1", Direction.IN, came)
        office.punch_at("E1", Direction.OUT, came + timedelta(hours=8, minutes=19, seconds=30))
    client = office.someone(Role.HR).client
    page = client.get("/month?id=E1&month=2026-03").text
    rows = list(csv.DictReader(io.StringIO(client.get("/api/v1/export.csv?id=E1&month=2026-03").text)))
    book = load_workbook(io.BytesIO(client.get("/api/v1/export.xlsx?id=E1&month=2026-03").content))
    sheet = client.get("/api/v1/people/E1/days?month=2026-03").json()
    minutes = 20 * (8 * 60 + 20)

    assert re.findall(r'class="num">(\d+:\d\d)<', page) == [*["8:20"] * 20, "166:40"]
    assert round(60 * sum(float(row["hours"]) for row in rows)) == minutes
    assert {cell.value for cell in book["glancein"]["F"][1:]} == {8.3333}
    assert [day["worked_s"] for day in sheet["days"]] == [500 * 60] * 20
    assert sheet["worked_s"] == minutes * 60


def test_stay_of_more_than_a_day_counts_in_the_month_it_began_in(tmp_path: Path) -> None:
    """With a longest stay of 40 hours, an out on the 2nd ends what began on the last day of the month."""
    office = open_office(tmp_path, replace(SETTINGS, max_shift_h=40.0))
    office.person("E1", "Ada")
    office.punch_at("E1", Direction.IN, datetime(2026, 9, 30, 20, tzinfo=office.desk.zone))
    office.punch_at("E1", Direction.OUT, datetime(2026, 10, 2, 4, tzinfo=office.desk.zone))
    client = office.someone(Role.HR).client
    began, ended = (client.get(f"/api/v1/people/E1/days?month=2026-{month}").json() for month in ("09", "10"))
    office.desk.close()

    assert (began["worked_s"], ended["worked_s"]) == (32 * 3600, 0)
    assert [day["forgotten"] for day in began["days"]] == [0]
    assert ended["days"] == []


def test_correction_is_a_new_event_and_the_punch_stays(office: Office) -> None:
    """HR says it was at another time: the sum follows, the recorded event is what it was."""
    office.person("E1", "Ada")
    office.punch_at("E1", Direction.IN, yesterday(office, 8))
    out = office.punch_at("E1", Direction.OUT, yesterday(office, 12))
    before = office.desk.ledger.find(out.id)
    hr = office.someone(Role.HR)
    answer = hr.call(
        "POST",
        "/api/v1/corrections",
        {
            "event": f"{out.kiosk}/{out.epoch}/{out.seq}",
            "becomes": "time",
            "value": f"{yesterday(office, 17):%Y-%m-%dT%H:%M}",
            "reason": "left by the back door",
        },
    )
    sheet = hr.client.get(f"/api/v1/people/E1/days?from={yesterday(office, 0).date()}").json()
    left = sheet["days"][0]["pairs"][0]["out"]

    assert answer.status_code == 201
    assert sheet["worked_s"] == 9 * 3600
    assert (left["corrections"][0]["by"], left["corrections"][0]["reason"]) == (
        "desk:hr",
        "left by the back door",
    )
    assert office.desk.ledger.find(out.id) == before
    assert office.desk.ledger.position().seq == 3


def test_forgotten_punch_is_noted_with_its_time_and_reason(office: Office) -> None:
    """A check-in by hand and the correction of its time: two events, one stay."""
    office.person("E1", "Ada")
    office.punch_at("E1", Direction.IN, yesterday(office, 9))
    hr = office.someone(Role.HR)
    fields = {
        "id": "E1",
        "direction": "out",
        "reason": "forgot",
        "time": f"{yesterday(office, 18):%Y-%m-%dT%H:%M}",
    }
    answer = hr.call("POST", "/api/v1/events", fields)
    where = office.desk.ledger.position()
    bodies = [event.body for event in office.desk.ledger.replay(where.epoch, 2, 9)]
    sheet = hr.client.get(f"/api/v1/people/E1/days?from={yesterday(office, 0).date()}").json()

    assert answer.status_code == 201
    match bodies:
        case [CheckIn(method="manual"), Correction(becomes=OtherTime(), reason="forgot")]:
            pass
        case other:
            pytest.fail(f"recorded {other}")
    assert sheet["worked_s"] == 9 * 3600


def test_punch_is_noted_once(office: Office) -> None:
    """A second click is refused; the other direction and what stands no more are not in the way."""
    office.person("E1", "Ada")
    office.person("E2", "Bob")
    hr, time = office.someone(Role.HR), f"{yesterday(office, 18):%Y-%m-%dT%H:%M}"
    fields = {"id": "E1", "direction": "out", "reason": "forgot", "time": time}
    first, second = (hr.call("POST", "/api/v1/events", fields) for _ in range(2))
    others = [
        hr.call("POST", "/api/v1/events", fields | other) for other in ({"direction": "in"}, {"id": "E2"})
    ]
    void = {"event": first.json()["event"], "becomes": "void", "reason": "by mistake"}
    hr.call("POST", "/api/v1/corrections", void)
    again = hr.call("POST", "/api/v1/events", fields)

    assert first.status_code == 201
    assert (second.status_code, second.json()["error"]) == (422, "this punch is noted already")
    assert [answer.status_code for answer in (*others, again)] == [201, 201, 201]


def test_time_that_came_twice_is_asked_about_and_then_taken(tmp_path: Path) -> None:
    """The night the clocks were set back: noted at +01:00, then moved five minutes, not an hour and five."""
    office = open_office(tmp_path, replace(SETTINGS, time_zone="Europe/Berlin"))
    office.person("E1", "Ada")
    office.punch_at("E1", Direction.IN, datetime(2026, 10, 24, 22, tzinfo=office.desk.zone))
    hr = office.someone(Role.HR)
    fields = {"id": "E1", "direction": "out", "reason": "forgot", "time": "2026-10-25T02:40"}
    asked = hr.call("POST", "/api/v1/events", fields)
    noted = hr.call("POST", "/api/v1/events", fields | {"offset": "+01:00"})
    moved = {"event": noted.json()["event"], "becomes": "time", "value": "2026-10-25T02:45", "reason": "typo"}
    asked_again = hr.call("POST", "/api/v1/corrections", moved)
    done = hr.call("POST", "/api/v1/corrections", moved | {"offset": "+01:00"})
    sheet = hr.client.get("/api/v1/people/E1/days?from=2026-10-24&to=2026-10-25").json()
    office.desk.close()

    assert (asked.status_code, asked.json()["offsets"]) == (422, "+02:00 +01:00")
    assert asked_again.status_code == 422
    assert (noted.status_code, done.status_code) == (201, 201)
    assert sheet["worked_s"] == (5 * 60 + 45) * 60


def test_reasons_of_corrections_stand_on_paper(office: Office) -> None:
    """Under the days, with the account, for punches that count and for those that do not."""
    office.person("E1", "Ada")
    came = office.punch_at("E1", Direction.IN, yesterday(office, 9))
    left = office.punch_at("E1", Direction.OUT, yesterday(office, 17))
    hr = office.someone(Role.HR)
    for event, becomes, value, reason in (
        (came, "time", f"{yesterday(office, 8):%Y-%m-%dT%H:%M}", "stood at the gate"),
        (came, "direction", "in", "sure"),
        (left, "void", "", "by mistake"),
    ):
        fields = {"event": event.id.word, "becomes": becomes, "value": value, "reason": reason}
        hr.call("POST", "/api/v1/corrections", fields)
    page = hr.client.get(f"/month?id=E1&month={yesterday(office, 0):%Y-%m}").text
    under = " ".join(re.sub("<[^>]+>", "", page.partition("</table>")[2]).split())

    assert f"{yesterday(office, 8):%Y-%m-%d} 08:00 in stood at the gate (desk:hr), sure (desk:hr)" in under
    assert f"{yesterday(office, 17):%Y-%m-%d} 17:00 out by mistake (desk:hr)" in under


def test_leavers_forgotten_punch_may_still_be_noted(office: Office) -> None:
    """Erased people have a time record; an empty month of it is an empty month."""
    office.person("E1", "Ada")
    office.punch_at("E1", Direction.IN, yesterday(office, 9))
    office.desk.people.remove("E1")
    hr = office.someone(Role.HR)
    fields = {"direction": "out", "reason": "forgot", "time": f"{yesterday(office, 17):%Y-%m-%dT%H:%M}"}
    noted = hr.call("POST", "/api/v1/events", {"id": "E1", **fields})
    nobody = hr.call("POST", "/api/v1/events", {"id": "E9", **fields})

    assert noted.status_code == 201
    assert (nobody.status_code, nobody.json()["error"]) == (422, "nobody is enrolled as E9")
    assert hr.client.get("/month?id=E1&month=2020-01").status_code == 200
    assert hr.client.get("/api/v1/people/E1/days?month=2020-01").json()["days"] == []
    assert hr.client.get("/api/v1/people/E9/days?month=2020-01").status_code == 422


def test_who_is_in_now_has_forgotten_nothing(office: Office) -> None:
    """Not in the export, not on the page; the stay before it without an out is forgotten."""
    office.person("E1", "Ada")
    for ago in (3, 2):
        office.punch("E1", Direction.IN, ago=timedelta(minutes=ago))
    client = office.someone(Role.HR).client
    days = {office.desk.now().date(), (office.desk.now() - timedelta(minutes=3)).date()}
    export = client.get(f"/api/v1/export.csv?id=E1&from={min(days)}&to={max(days)}").text
    page = client.get(f"/month?id=E1&month={max(days):%Y-%m}").text

    assert [row["forgotten"] for row in csv.DictReader(io.StringIO(export))] == ["x", ""]
    assert page.count("still in") == 1


def test_punch_whose_correction_is_not_recorded_is_not_noted(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its time it would stand at the hour of the note: a punch that nobody made."""
    office.person("E1", "Ada")
    monkeypatch.setattr("glancein.web.desk.attendance._by", lambda _call: "")  # no reader would accept it
    time = f"{yesterday(office, 18):%Y-%m-%dT%H:%M}"
    fields = {"id": "E1", "direction": "out", "reason": "forgot", "time": time}

    answer = office.someone(Role.HR).call("POST", "/api/v1/events", fields)

    assert answer.status_code == 503
    assert office.desk.ledger.position().seq == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"event": "no-event"},
        {"event": "front-door/nowhere/1"},
        {"becomes": "holiday"},
        {"becomes": "direction", "value": "sideways"},
        {"becomes": "time", "value": "yesterday"},
        {"becomes": "time", "value": "0001-01-01T00:00"},
        {"becomes": "time", "value": "9999-12-31T23:59"},
        {"becomes": "person", "value": "E9"},
        {"reason": ""},
        {"reason": "x" * 500},
        {"reason": "two\x07bells"},
    ],
    ids=str,
)
def test_bad_correction_is_refused_and_nothing_is_recorded(fields: dict[str, str], office: Office) -> None:
    """One line that says what is wrong; the ledger stays as it was."""
    office.person("E1", "Ada")
    punch = office.punch("E1", Direction.IN)
    good = {
        "event": f"{punch.kiosk}/{punch.epoch}/{punch.seq}",
        "becomes": "void",
        "value": "",
        "reason": "mistake",
    }
    answer = office.someone(Role.HR).call("POST", "/api/v1/corrections", good | fields)

    assert answer.status_code == 422, answer.text
    assert "\n" not in answer.json()["error"]
    assert office.desk.ledger.position().seq == 1


@pytest.mark.parametrize(
    "query",
    [
        "month=2026-13",
        "month=x",
        "from=2026-02-30",
        "from=0001-01-01",
        "to=9999-12-31",
        "from=2020-01-01&to=2026-01-01",
        "from=2026-02-02&to=2026-01-01",
    ],
)
def test_impossible_span_is_refused(query: str, standing_office: Office) -> None:
    """A sentence, not an error page."""
    answer = standing_office.someone(Role.HR).client.get(f"/api/v1/events?{query}")

    assert answer.status_code == 422
    assert "error" in answer.json()


@pytest.mark.parametrize("payload", PAYLOADS)
def test_formula_in_a_name_is_text_in_every_export(payload: str, office: Office) -> None:
    """No spreadsheet runs a name: an apostrophe in CSV, a text cell in XLSX."""
    office.person("E1", payload)
    office.punch_at("E1", Direction.IN, yesterday(office, 9))
    office.punch_at("E1", Direction.OUT, yesterday(office, 10))
    shown = neutral(payload)
    day = yesterday(office, 0).date()
    hr = office.someone(Role.HR)
    table = hr.client.get(f"/api/v1/export.csv?from={day}").content.decode("utf-8-sig")
    book = load_workbook(io.BytesIO(hr.client.get(f"/api/v1/export.xlsx?from={day}").content))

    assert isinstance(shown, str)
    assert shown.startswith("'")
    assert not any(
        cell.startswith(("=", "+", "-", "@")) for row in csv.reader(io.StringIO(table)) for cell in row
    )
    assert {cell.data_type for row in book["glancein"].iter_rows() for cell in row} <= {"s", "n", "inlineStr"}


@pytest.mark.parametrize(
    "name", ["山田\N{IDEOGRAPHIC SPACE}太郎", "Anna\N{NO-BREAK SPACE}Maria", "می\N{ZERO WIDTH NON-JOINER}رود"]
)
def test_name_leaves_as_it_was_enrolled(name: str, office: Office) -> None:
    """Wide and no-break spaces and joiners are parts of names: payroll finds people by them."""
    office.person("E1", name)
    office.punch_at("E1", Direction.IN, yesterday(office, 9))
    client, day = office.someone(Role.HR).client, yesterday(office, 0).date()
    table = client.get(f"/api/v1/export.csv?from={day}").content.decode("utf-8-sig")
    book = load_workbook(io.BytesIO(client.get(f"/api/v1/export.xlsx?from={day}").content))

    assert [row[1] for row in csv.reader(io.StringIO(table))][1:] == [name]
    assert book["glancein"].cell(2, 2).value == name


def test_joiner_before_a_formula_hides_nothing() -> None:
    """What is not seen does not count as the beginning."""
    assert str(neutral(" \N{ZERO WIDTH JOINER} =1+1")).startswith("'")


def test_xlsx_holds_no_formula_element(office: Office) -> None:
    """In the file itself, not only in what a library makes of it."""
    office.person("=1", "=1+1")
    office.punch_at("=1", Direction.IN, yesterday(office, 9))
    data = (
        office.someone(Role.HR).client.get(f"/api/v1/export.xlsx?from={yesterday(office, 0).date()}").content
    )
    with ZipFile(io.BytesIO(data)) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml")

    assert b"<f>" not in sheet
    assert b"'=1+1" in sheet or b"&apos;=1+1" in sheet or b"&#39;=1+1" in sheet


def test_export_names_its_columns_in_the_readers_language(office: Office) -> None:
    """Korean headers for a Korean browser."""
    client = office.someone(Role.HR).client
    table = client.get("/api/v1/export.csv", headers={"accept-language": "ko-KR,ko;q=0.9"}).content.decode(
        "utf-8-sig"
    )

    assert table.startswith("사번,이름,날짜")


def test_live_stream_survives_whatever_a_look_meets(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next look may go well; until then the pages stay open."""
    looked = threading.Semaphore(0)

    def fail() -> StreamPosition:
        looked.release()
        raise TypeError("cannot unpack non-iterable NoneType object")

    async def listen() -> None:
        office.desk.live.listen()

    with monkeypatch.context() as patched:
        patched.setattr(office.desk.ledger, "position", fail)
        asyncio.run(listen())
        assert all(looked.acquire(timeout=60) for _ in range(3))

    settled = threading.Event()
    while not office.desk.live.has_looked:  # as it does once a look has gone well
        settled.wait(0.01)


def test_one_persons_span_reads_nobody_elses_punches(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A month of one person costs what that person did, in days and in events."""
    office.person("E1", "Ada")
    office.person("E2", "Ben")
    for person_id in ("E1", "E2"):
        office.punch_at(person_id, Direction.IN, yesterday(office, 8))
        office.punch_at(person_id, Direction.OUT, yesterday(office, 17))
    day = yesterday(office, 0).date()
    read: list[str] = []

    def noted(body: str, digest: str) -> Event:
        event = read_event(body, digest)
        read.append(event.check_in.person_id)
        return event

    monkeypatch.setattr("glancein.adapters.ledger_sqlite.read_event", noted)
    client = office.someone(Role.HR).client
    days = client.get(f"/api/v1/people/E1/days?from={day}&to={day}").json()
    events = client.get(f"/api/v1/events?id=E1&from={day}&to={day}").json()

    assert days["worked_s"] == 9 * 3600
    assert [event["direction"] for event in events["events"]] == ["in", "out"]
    assert set(read) == {"E1"}


def test_program_gets_its_columns_in_english(office: Office) -> None:
    """Whatever its library puts into Accept-Language, and whatever the address says."""
    raw = office.desk.accounts.make_token("pay", frozenset({Permission.ATTENDANCE_READ}), by="test")
    headers = {"authorization": f"Bearer {raw}", "accept-language": "ko"}
    table = office.visitor().client.get("/api/v1/export.csv?lang=ko", headers=headers).text

    assert table.lstrip("\ufeff").startswith("id,name,day")


def test_live_stream_brings_a_punch_to_every_open_page(office: Office) -> None:
    """Three listeners over real sockets, one punch, three messages with the name."""
    office.person("E1", "Ada")
    office.punch("E1", Direction.IN, ago=timedelta(hours=1))
    raw = office.desk.accounts.make_token("stream", frozenset({Permission.ATTENDANCE_READ}), by="test")
    bearer = {"authorization": f"Bearer {raw}"}
    server = WebServer(desk_app(office.desk), Address())
    server.start()
    try:
        question = Request(f"{server.url}/api/v1/stream", headers=bearer)  # noqa: S310  # our own server
        streams = [urlopen(question, timeout=60) for _ in range(3)]  # noqa: S310  # as above
        heads = [stream.readline() + stream.readline() + stream.readline() for stream in streams]
        settled = threading.Event()
        while not office.desk.live.has_looked:
            settled.wait(0.01)
        office.punch("E1", Direction.OUT)
        messages = [stream.readline() + stream.readline() for stream in streams]
        for stream in streams:
            stream.close()
    finally:
        server.stop()

    assert all(head.startswith(b"retry:") for head in heads)
    for message in messages:
        kind, _, data = message.decode().partition("\n")
        assert kind == "event: punch"
        event = json.loads(data.removeprefix("data: "))
        assert (event["id"], event["name"], event["direction"]) == ("E1", "Ada", "out")
