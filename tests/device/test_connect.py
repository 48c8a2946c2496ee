"""From the store to other HR systems: each event once, in order, and every refusal in words."""

from __future__ import annotations

import base64
import contextlib
import csv
import errno
import hashlib
import hmac
import json
import logging
import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from tests.device.hr_systems import (
    FrappeSite,
    Json,
    OdooRaisedError,
    OdooServer,
    Request,
    Response,
    dripping,
    serving,
)
from tests.device.punches import EPOCH, NOON, check_in, moment

from glancein.adapters.feed_store import SqliteFeedStore
from glancein.domain import wire
from glancein.domain.delivery import Answer, Done, Held, Later, Line, Parcel, Standing, State, wait_s
from glancein.domain.intake import read_arrival
from glancein.errors import SettingsError, StoreError
from glancein.ports import Remote
from glancein.types import (
    Becomes,
    Body,
    ClockTrust,
    Correction,
    Direction,
    Event,
    EventId,
    OtherDirection,
    OtherPerson,
    OtherTime,
    TimeFix,
    Voided,
)

pytest.importorskip("httpx", reason="needs pip install glancein[connect]")

from glancein.connect import http_link
from glancein.connect.courier import Courier, Round
from glancein.connect.csv_drop import CsvDrop
from glancein.connect.frappe import Frappe, FrappeRules
from glancein.connect.http_link import HttpLink, Reply, Site, plain
from glancein.connect.odoo import Odoo, OdooLogin
from glancein.connect.webhook import Webhook

KEY = b"a key of four and twenty bytes"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
LOGIN = OdooLogin("hr", "clock", "api-key")
IN, OUT = Direction.IN, Direction.OUT


class Desk:
    """A store, a stream that grows in it, and a courier whose clock is set by hand."""

    def __init__(self, path: Path) -> None:
        self.store = SqliteFeedStore(path)
        self.now_s = 1_000_000.0
        self.events: list[Event] = []
        self.store.now_s = lambda: self.now_s

    def say(self, *bodies: Body) -> None:
        """The kiosk says these things."""
        for body in bodies:
            last = self.events[-1] if self.events else None
            previous = wire.NO_HASH if last is None else wire.event_hash(last)
            event = Event("hq", "door", EPOCH, len(self.events) + 1, previous, body)
            self.events.append(event)
            self.store.commit([read_arrival(wire.encode_event(event))], [])

    def courier(
        self, remote: Remote, *, hold_s: float = 0.0, settle_s: float = 0.0, fixes: bool = True
    ) -> Courier:
        """What carries them there."""
        line = Line("there", hold_s=hold_s, settle_s=settle_s, fixes=fixes)
        return Courier(self.store, remote, line=line, now=lambda: self.now_s, jitter=lambda: 1.0)

    def held(self, state: State) -> list[Held]:
        """Events that did not get through."""
        return self.store.held("there", state, most=99)

    def words(self, state: State) -> list[tuple[int, str]]:
        """Which ones, and why."""
        return [(held.event.seq, held.words) for held in self.held(state)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """An empty one."""
    made = Desk(tmp_path / "feed.db")
    yield made
    made.store.close()


def punch(person: str, seconds: float, direction: Direction = IN) -> Body:
    """A check-in so many seconds after noon, with a fraction that most systems drop."""
    return check_in(person, at=moment(seconds + 0.25), direction=direction)


def corrected(seq: int, becomes: Becomes) -> Body:
    """HR says that the event with this number was otherwise."""
    return Correction(EventId("door", EPOCH, seq), becomes, "not so", "lee", moment(7200))


def in_1970(person: str, seconds: float) -> Body:
    """A check-in so many seconds after noon, by a clock that was not set."""
    wall = NOON + timedelta(seconds=seconds, days=-20000)
    return check_in(person, at=moment(seconds, wall=wall, trust=ClockTrust.UNSYNCHRONISED))


FIX = TimeFix(moment(3600), 20000 * 86_400)


class Script:
    """A remote that answers from a list, then with Done."""

    most = 1

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.got: list[int] = []

    def deliver(self, parcels: Sequence[Parcel]) -> Answer:
        """Note the numbers, answer the next answer."""
        self.got.extend(parcel.event.seq for parcel in parcels)
        return self.answers.pop(0) if self.answers else Done()

    def close(self) -> None:
        """Nothing."""


def test_each_event_is_handed_over_once(desk: Desk) -> None:
    """Two rounds, two deliveries."""
    desk.say(punch("A", 0), punch("B", 1))
    remote = Script()

    assert desk.courier(remote).round() == Round(done=2)
    assert desk.courier(remote).round() == Round()
    assert remote.got == [1, 2]


def test_remote_that_is_away_is_left_alone_for_a_while(desk: Desk) -> None:
    """Nothing else is tried, the waits grow, and a new start of the connector keeps to them."""
    desk.say(punch("A", 0), punch("B", 1))
    remote = Script(Later("away"), Later("away"), Later("busy", 30.0))

    assert desk.courier(remote).round() == Round(failed=1, words="away", again_at=desk.now_s + 5)
    assert desk.courier(remote).round() == Round(words="away", again_at=desk.now_s + 5)
    desk.now_s += 5
    assert desk.courier(remote).round().again_at == desk.now_s + 10
    desk.now_s += 10
    assert desk.courier(remote).round().again_at == desk.now_s + 30
    desk.now_s += 30
    assert desk.courier(remote).round() == Round(done=2)
    assert remote.got == [1, 1, 1, 1, 2]


def test_event_that_fails_holds_back_only_its_own_person(desk: Desk) -> None:
    """An out must not overtake its in; other people do not wait."""
    desk.say(punch("A", 0), punch("A", 9, OUT), punch("B", 10))
    remote = Script(Later("odd", is_about_all=False))

    assert desk.courier(remote).round() == Round(done=1, failed=1)
    desk.now_s += 60
    assert desk.courier(remote).round() == Round(done=2)
    assert remote.got == [1, 3, 1, 2]


def test_many_failures_in_a_row_are_the_remotes_fault(desk: Desk) -> None:
    """It is not asked about ten thousand events when it fails at each."""
    desk.say(*(punch(f"P{n}", n) for n in range(9)))
    remote = Script(*(Later("oops", is_about_all=False) for _ in range(9)))

    done = desk.courier(remote).round()

    assert (done.failed, done.words) == (3, "oops")


class Picky:
    """A remote that has an answer of its own for the events of certain people, and takes all others."""

    most = 1

    def __init__(self, people: Sequence[str], answer: Later) -> None:
        self.people = people
        self.answer = answer
        self.got: list[str] = []

    def deliver(self, parcels: Sequence[Parcel]) -> Answer:
        """Take it, or not."""
        (person,) = (parcel.lane for parcel in parcels)
        if person in self.people:
            return self.answer
        self.got.append(person)
        return Done()

    def close(self) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("people", "answer"),
    [
        (["P0"], Later("HTTP 409")),
        ([f"P{n}" for n in range(10)], Later("no right", is_about_all=False)),
    ],
    ids=["one event, as if all were", "ten people, one by one"],
)
def test_what_is_never_taken_holds_up_nobody_else_for_ever(
    desk: Desk, people: list[str], answer: Later
) -> None:
    """After some tries the others go, and what failed is tried again all the same."""
    desk.say(*(punch(person, n) for n, person in enumerate(people)), punch("Z", 99))
    remote = Picky(people, answer)
    for _ in range(7):
        desk.courier(remote).round()
        desk.now_s += 3600
    assert remote.got == ["Z"]

    desk.say(punch("Y", 100), punch(people[0], 101))
    done = desk.courier(remote).round()

    assert (done.done, done.failed, done.words) == (1, len(people), None)
    assert remote.got == ["Z", "Y"]


def test_other_side_that_is_away_for_long_is_told_from_an_event_that_is_stuck(desk: Desk) -> None:
    """Behind what failed often one more event is tried, not all of them."""
    desk.say(*(punch(f"P{n}", n) for n in range(9)))
    remote = Script(*(Later("away") for _ in range(99)))
    for _ in range(6):
        last = desk.courier(remote).round()
        desk.now_s += 3600

    assert remote.got == [1, 1, 1, 1, 1, 1, 2]
    assert (last.failed, last.words) == (2, "away")


def test_connector_that_follows_waits_for_its_database(
    desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locked for a while: said once, and then it goes on."""
    monkeypatch.setattr("glancein.connect.courier.LOOK_EVERY_S", 0.0)
    desk.say(punch("A", 0))
    troubles = [StoreError("another process holds it locked"), StoreError("still locked")]
    enlist, stop = desk.store.enlist, threading.Event()

    def enlist_later(line: Line) -> Standing:
        if troubles:
            raise troubles.pop(0)
        return enlist(line)

    monkeypatch.setattr(desk.store, "enlist", enlist_later)
    told: list[Round] = []

    def tell(done: Round) -> None:
        told.append(done)
        stop.set()

    desk.courier(Script()).follow(stop, tell)

    assert told == [Round(done=1)]
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said == ["another process holds it locked; this is tried until it works"]


YEAR_S = 365 * 86_400.0


def test_clock_that_was_ahead_strands_nothing(desk: Desk) -> None:
    """What failed, what was taken into the list and what arrived a year ahead goes out when that is over."""
    courier = desk.courier(Script(Later("away")), settle_s=30)
    desk.now_s += YEAR_S
    desk.say(punch("A", 0))
    desk.now_s += 30
    assert courier.round().words == "away"
    desk.say(punch("A", 1), punch("B", 2))
    assert courier.round().words == "away"
    desk.say(punch("C", 3))
    desk.now_s -= YEAR_S

    assert courier.round() == Round(done=3)
    desk.now_s += 30
    assert courier.round() == Round(done=1)


def test_other_side_puts_us_off_for_a_day_at_most(desk: Desk) -> None:
    """So that what is further ahead can only be a wrong clock's."""
    desk.say(punch("A", 0))
    remote = Script(Later("closed for good", 30 * 86_400.0))
    desk.courier(remote).round()
    desk.now_s += 86_399
    assert desk.courier(remote).round().words == "closed for good"
    desk.now_s += 1

    assert desk.courier(remote).round() == Round(done=1)


def test_waits_grow_to_an_hour_and_spread() -> None:
    """Half of the wait is certain, half is chance."""
    assert [wait_s(n, 1.0) for n in (1, 2, 3)] == [5, 10, 20]
    assert wait_s(3, 0.0) == 10
    assert wait_s(99, 1.0) == 3600


def verified(request: Request) -> dict[str, object]:
    """The body, after the check that a receiver makes, with the standard library only."""
    name, stamp = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    digest = hmac.new(KEY, f"{name}.{stamp}.".encode() + request.body, hashlib.sha256).digest()
    given = request.headers["webhook-signature"].removeprefix("v1,")
    assert hmac.compare_digest(base64.b64decode(given), digest)
    assert request.headers["idempotency-key"] == name
    body = json.loads(request.body)
    assert isinstance(body, dict)
    return body


def test_webhook_gets_every_kind_of_event_signed(desk: Desk) -> None:
    """The receiver can check who sent it and when, and what to count."""
    got: list[Request] = []
    first = EventId("door", EPOCH, 1)
    said = Correction(first, OtherDirection(OUT), "wrong way", "hr-1", moment(60))
    desk.say(punch("A", 0), said, TimeFix(moment(90), 1.0))

    def receive(request: Request) -> Response:
        got.append(request)
        return Response(204, b"")

    with serving(receive) as url:
        remote = Webhook(Site(f"{url}/hook?tenant=7"), SECRET, now=lambda: 1234.5)
        assert desk.courier(remote).round() == Round(done=3)
        remote.close()

    bodies = [verified(request) for request in got]
    assert [body["type"] for body in bodies] == ["check_in", "correction", "time_fix"]
    assert [request.headers["webhook-id"] for request in got] == [f"{EPOCH}_{n}" for n in (1, 2, 3)]
    assert got[0].headers["webhook-timestamp"] == "1234"
    data = bodies[0]["data"]
    assert isinstance(data, dict)
    assert data["punch"] == {
        "person_id": "A", "direction": "out", "time": "2026-03-02T12:00:00.250000+00:00",
        "time_is": "recorded",
    }  # fmt: skip
    assert data["event"]["direction"] == "in"


@pytest.mark.parametrize(
    ("response", "state", "words"),
    [
        (Response(422, {"detail": "unknown person <b>A</b>"}), State.REFUSED, "HTTP 422: unknown person A"),
        (Response(400, {"errors": [{"path": "x"}]}), State.REFUSED, 'HTTP 400: [{"path": "x"}]'),
        (Response(500, b"<html><body>stack</body></html>"), State.FAILED, "HTTP 500: no reason given"),
        (Response(401, b"who are you"), State.FAILED, "HTTP 401: who are you"),
        (Response(503, b"", {"Retry-After": "77"}), State.FAILED, "is busy (HTTP 503)"),
        (
            Response(302, b"", {"Location": "http://elsewhere"}),
            State.FAILED,
            "points to another address (HTTP 302)",
        ),
        (
            Response(302, b"", {"Location": "hr.example:8443/login"}),
            State.FAILED,
            "points to another address (HTTP 302)",
        ),
        (Response(200, b"x" * 300_000), State.FAILED, "more than 262144 bytes"),
        (Response(hang_up=True), State.FAILED, "cannot reach"),
    ],
)
def test_webhooks_answer_decides_what_becomes_of_the_event(
    desk: Desk, response: Response, state: State, words: str
) -> None:
    """Its judgement of the event, or its own trouble; in its words."""
    desk.say(punch("A", 0))
    with serving(lambda _: response) as url:
        remote = Webhook(Site(url), SECRET)
        desk.courier(remote).round()
        remote.close()

    ((seq, said),) = desk.words(state)
    assert seq == 1
    assert words in said
    assert url.split("//")[1] in said


@pytest.mark.parametrize(
    "beginning",
    [
        b"HTTP/1.1 200 OK\r\nX-Long: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",  # ends when the connection does, so that a cut one looks whole
    ],
    ids=["header", "body", "body without a length"],
)
def test_answer_that_drips_without_end_is_left(
    desk: Desk, beginning: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every read brings something in time, and still one delivery does not hold up all others for ever."""
    monkeypatch.setattr(http_link, "ANSWER_WITHIN_S", 0.3)
    desk.say(punch("A", 0))

    with dripping(beginning) as url:
        remote = Webhook(Site(url), SECRET)
        desk.courier(remote).round()
        remote.close()

    ((_, words),) = desk.words(State.FAILED)
    assert "does not come to the end of its answer" in words


@pytest.mark.parametrize("path", ["", "/hook", "/hook/", "/hook/?tenant=7"])
def test_webhook_goes_to_exactly_its_address(path: str) -> None:
    """Many servers send /hook and /hook/ to each other, and a redirect is not followed."""
    got: list[str] = []

    def receive(request: Request) -> Response:
        got.append(request.path)
        return Response(204, b"")

    with serving(receive) as url:
        link = HttpLink(Site(url + path))
        link.post("", b"{}")
        link.post("/api", b"{}")
        link.close()

    assert got[0] == (path.partition("?")[0] or "/")


def test_webhook_says_when_to_come_back(desk: Desk) -> None:
    """Retry-After is kept to."""
    desk.say(punch("A", 0))
    with serving(lambda _: Response(429, b"", {"Retry-After": "77"})) as url:
        remote = Webhook(Site(url), SECRET)
        done = desk.courier(remote).round()
        remote.close()

    assert done.again_at == desk.now_s + 77


@pytest.mark.parametrize(
    ("given", "wait_s"),
    [
        ("Mon, 02 Mar 2026 12:01:17 GMT", 77),
        ("Monday, 02-Mar-26 12:01:17 GMT", 77),
        ("Mon, 02 Mar 2026 13:01:17 +0100", 77),
        ("Mon, 02 Mar 2026 12:01:17 -0000", 77),
        ("Sun, 01 Mar 2026 12:00:00 GMT", 0),
        ("Mon, 99 Mar 2026 12:00:00 GMT", None),
        ("Mon, 02 Mar 99999999999999999999 12:00:00 GMT", None),
        ("soon", None),
        ("", None),
    ],
)
def test_date_in_retry_after_is_kept_to(given: str, wait_s: float | None) -> None:
    """The other way to say when; one that is past is now, and what is no date says nothing."""
    link = HttpLink(Site("https://hr.example"), now=NOON.timestamp)

    later = link.busy(Reply(503, {"retry-after": given}, b""))
    link.close()

    assert later is not None
    assert later.wait_s == wait_s


@pytest.mark.parametrize(
    "secret", ["", "hunter2", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!!", base64.b64encode(KEY).decode()]
)
def test_weak_secret_is_refused_without_repeating_it(secret: str) -> None:
    """And the message says how to make a good one."""
    with pytest.raises(SettingsError, match="openssl rand -base64 32") as refused:
        Webhook(Site("https://hr.example"), secret)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("hr.example", "does not begin with https://"),
        ("ftp://hr.example", "does not begin with https://"),
        ("http://hr.example", "in the clear"),
        ("https://hr:secret@hr.example", "name or password"),
        ("https://hr.example:99999", "wrong host or port"),
        ("https://hr..example", "wrong host or port"),
        ("https://hr.example/\x01", "wrong host or port"),
    ],
)
def test_address_that_would_give_secrets_away_is_refused(url: str, words: str) -> None:
    """Before anything is sent."""
    with pytest.raises(SettingsError, match=words) as refused:
        HttpLink(Site(url))
    assert "secret@" not in str(refused.value)


@pytest.mark.parametrize("token", ["key:confidential\n# of the clock", "\ufeffkey:confidential"])
def test_secret_that_cannot_be_sent_is_refused_without_repeating_it(token: str) -> None:
    """A file of two lines, or one with a byte order mark."""
    with pytest.raises(SettingsError, match="one line of ASCII") as refused:
        Frappe(Site("https://hr.example"), token)
    assert "confidential" not in str(refused.value)


@pytest.mark.parametrize("proxy", ["socks4://hr:confidential@proxy:1", "http://hr:confid/ential@proxy:1"])
def test_proxy_that_cannot_be_used_is_told_in_words(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not repeated: it may hold a password."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    with pytest.raises(SettingsError, match="the proxy that HTTPS_PROXY") as refused:
        HttpLink(Site("https://hr.example"))
    assert "confid" not in str(refused.value)


def test_nothing_listens_there_is_told_in_words(desk: Desk) -> None:
    """And the event waits."""
    desk.say(punch("A", 0))
    with serving(lambda _: Response()) as url:
        pass
    remote = Webhook(Site(url), SECRET)
    done = desk.courier(remote).round()
    remote.close()

    assert done.words == f"cannot reach {url}: nothing listens there"


def test_words_without_markup_keep_what_is_none() -> None:
    """A sign is not the beginning of a tag, and a page full of them is read at once."""
    assert plain("out 09:00 < in <b>10:00</b> &lt; 11:00") == "out 09:00 < in 10:00 < 11:00"
    began_s = time.monotonic()
    assert plain("<" * 40_000) == "<" * 400
    assert time.monotonic() - began_s < 5


def test_secrets_stay_out_of_the_log(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the key nor what stands behind the question mark."""
    caplog.set_level(logging.DEBUG)
    desk.say(punch("A", 0))
    with serving(lambda _: Response(500, b"no")) as url:
        remote = Webhook(Site(f"{url}/?token=confidential"), SECRET)
        desk.courier(remote).round()
        remote.close()

    said = caplog.text + repr(desk.words(State.FAILED)) + repr(LOGIN)
    assert "confidential" not in said
    assert SECRET not in said
    assert "api-key" not in said


def rows_of(path: Path) -> list[dict[str, str]]:
    """The file as a spreadsheet reads it."""
    return list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))


def name_of(number: int, file: Path) -> str:
    """What a batch of that number with this content is called."""
    return f"punches-{number:010d}-{hashlib.sha256(file.read_bytes()).hexdigest()[:12]}.csv"


def test_csv_files_hold_what_payroll_counts(desk: Desk, tmp_path: Path) -> None:
    """Corrected punches, later corrections as rows of their own, no cell that is a formula."""
    folder = tmp_path / "drop"
    folder.mkdir()
    desk.say(punch("-1", 0), punch("B", 1), punch("C", 2))
    desk.say(Correction(EventId("door", EPOCH, 2), Voided(), "test", "hr-1", moment(60)))

    assert desk.courier(CsvDrop(folder)).round() == Round(done=4)
    desk.say(Correction(EventId("door", EPOCH, 3), OtherDirection(OUT), "=cmd", "hr-1", moment(61)))
    assert desk.courier(CsvDrop(folder)).round() == Round(done=1)

    first, second = sorted(folder.iterdir())
    assert (first.name, second.name) == (name_of(1, first), name_of(5, second))
    assert [(row["kind"], row["person_id"], row["direction"]) for row in rows_of(first)] == [
        ("check_in", "'-1", "in"), ("check_in", "C", "in"), ("correction", "", ""),
    ]  # fmt: skip
    (late,) = rows_of(second)
    assert (late["corrects"], late["becomes"], late["direction"]) == (f"door/{EPOCH}/3", "direction", "out")
    assert late["reason"] == "'=cmd"


def test_csv_batch_that_was_interrupted_is_written_again_under_its_name(desk: Desk, tmp_path: Path) -> None:
    """Killed after the rename and before our commit: the same name, the same rows, though more has come."""
    folder = tmp_path / "drop"
    folder.mkdir()
    desk.say(punch("A", 0), punch("B", 1))

    class Killed(CsvDrop):
        def deliver(self, parcels: Sequence[Parcel]) -> Answer:
            super().deliver(parcels)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        desk.courier(Killed(folder)).round()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    desk.say(punch("C", 2))
    assert desk.courier(CsvDrop(folder)).round() == Round(done=3)

    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before.items() <= after.items()
    assert sorted(after) == [name_of(1, folder / min(after)), name_of(3, folder / max(after))]


@pytest.mark.parametrize("cannot_sync", [False, True], ids=["killed", "disk ill"])
def test_csv_batch_that_was_interrupted_stays_as_it_was_put_together(
    desk: Desk, tmp_path: Path, *, cannot_sync: bool
) -> None:
    """Though its punches were corrected since: the corrections come as rows, and no punch twice."""
    folder = tmp_path / "drop"
    folder.mkdir()
    desk.say(punch("A", 0), punch("B", 1), in_1970("H", 9), corrected(1, OtherPerson("C")))

    class Killed(CsvDrop):
        def _sync_folder(self) -> None:
            raise OSError("ill") if cannot_sync else KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        desk.courier(Killed(folder), fixes=False).round()
    (before,) = ((path.name, path.read_bytes()) for path in folder.iterdir())
    later = (OtherTime(NOON - timedelta(hours=1)), OtherDirection(OUT), OtherPerson("D"))
    desk.say(*(corrected(1, becomes) for becomes in later), corrected(2, Voided()))
    desk.say(TimeFix(moment(60), 20000 * 86400))
    desk.now_s += 60
    desk.courier(CsvDrop(folder), fixes=False).round()

    first, second = sorted(folder.iterdir())
    assert (first.name, first.read_bytes()) == before
    assert [row["person_id"] for row in rows_of(first)] == ["C", "B", "H", "C"]
    assert [row["becomes"] for row in rows_of(second)] == ["time", "direction", "person_id", "void", "time"]


def test_csv_batch_that_was_interrupted_takes_in_nothing_else(desk: Desk, tmp_path: Path) -> None:
    """A punch that was held lies between its rows and is due by now: it goes into a file of its own."""
    folder = tmp_path / "drop"
    folder.mkdir()
    early = moment(0, wall=NOON - timedelta(days=20000), trust=ClockTrust.UNSYNCHRONISED)
    desk.say(punch("A", 0), check_in("H", at=early), punch("B", 1))

    class Killed(CsvDrop):
        def deliver(self, parcels: Sequence[Parcel]) -> Answer:
            super().deliver(parcels)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        desk.courier(Killed(folder), hold_s=3600).round()
    desk.now_s += 3600
    assert desk.courier(CsvDrop(folder), hold_s=3600).round() == Round(done=3)

    first, second = sorted(folder.iterdir())
    assert [row["person_id"] for row in rows_of(first)] == ["A", "B"]
    assert [row["person_id"] for row in rows_of(second)] == ["H"]


def test_csv_batch_stays_together_when_one_of_it_is_tried_again(desk: Desk, tmp_path: Path) -> None:
    """The others would be written under the same name, over it."""
    folder = tmp_path / "drop"
    folder.mkdir()
    remote = CsvDrop(folder)
    folder.rmdir()
    desk.say(punch("A", 0), punch("B", 1), punch("C", 2))
    desk.courier(remote).round()
    folder.mkdir()

    assert desk.store.again("there", desk.held(State.FAILED)[1].number) == 3
    assert desk.courier(remote).round() == Round(done=3)

    (only,) = folder.iterdir()
    assert [row["person_id"] for row in rows_of(only)] == ["A", "B", "C"]


@pytest.mark.parametrize("is_taken", [False, True], ids=["there", "taken away"])
def test_csv_name_is_not_given_to_other_rows(tmp_path: Path, *, is_taken: bool) -> None:
    """A database put back, or a second one: no file is replaced, and who skips names misses nothing."""
    folder = tmp_path / "drop"
    folder.mkdir()
    names: list[str] = []
    for person in ("A", "B"):
        desk = Desk(tmp_path / f"{person}.db")
        desk.say(punch(person, 0))
        assert desk.courier(CsvDrop(folder)).round() == Round(done=1)
        desk.store.close()
        (new,) = (path for path in folder.iterdir() if path.name not in names)
        assert [row["person_id"] for row in rows_of(new)] == [person]
        names.append(new.name)
        if is_taken:
            new.unlink()

    assert len(list(folder.iterdir())) == (0 if is_taken else 2)


@pytest.mark.parametrize(("number", "done"), [(errno.EINVAL, Round(done=1)), (errno.EIO, Round(failed=1))])
def test_csv_folder_on_a_share_that_syncs_no_folders(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, number: int, done: Round
) -> None:
    """Its files are synced all the same; a disk that fails is told."""
    sync = os.fsync

    def sync_files_alone(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr("glancein.connect.csv_drop.os.fsync", sync_files_alone)
    desk.say(punch("A", 0))

    brought = desk.courier(CsvDrop(tmp_path)).round()

    assert (brought.done, brought.failed) == (done.done, done.failed)


def test_csv_folder_that_cannot_be_written_keeps_the_events(desk: Desk, tmp_path: Path) -> None:
    """They wait; the words name the file."""
    folder = tmp_path / "drop"
    folder.mkdir()
    remote = CsvDrop(folder)
    folder.rmdir()
    desk.say(punch("A", 0))

    assert desk.courier(remote).round().failed == 1
    assert "cannot write punches-0000000001-" in desk.words(State.FAILED)[0][1]
    with pytest.raises(SettingsError, match="does not exist"):
        CsvDrop(folder)


@pytest.fixture
def site() -> FrappeSite:
    """Frappe HR with two employees."""
    return FrappeSite({"A": "HR-EMP-1", "B": "HR-EMP-2"})


def to_frappe(desk: Desk, site: FrappeSite, rules: FrappeRules | None = None) -> Round:
    """One round of the connector."""
    with serving(site.answer) as url:
        remote = Frappe(Site(url), "key:secret", rules=rules)
        done = desk.courier(remote, fixes=False).round()
        remote.close()
    return done


def test_frappe_gets_check_ins_in_its_own_time(desk: Desk, site: FrappeSite) -> None:
    """Whole seconds, in the zone of the site, IN and OUT."""
    desk.say(punch("A", 0), punch("A", 3600, OUT), punch("B", 1))

    assert to_frappe(desk, site, FrappeRules(zone=ZoneInfo("Asia/Seoul"))) == Round(done=3)

    assert [(log["employee"], log["time"], log["log_type"]) for log in site.checkins] == [
        ("HR-EMP-1", "2026-03-02 21:00:00", "IN"),
        ("HR-EMP-1", "2026-03-02 22:00:00", "OUT"),
        ("HR-EMP-2", "2026-03-02 21:00:01", "IN"),
    ]
    assert site.checkins[0]["device_id"] == "hq/door"


@pytest.mark.parametrize("may_read", [True, False])
def test_frappe_that_took_it_before_the_connection_broke_is_not_asked_twice(
    desk: Desk, site: FrappeSite, *, may_read: bool
) -> None:
    """Killed between its commit and ours: its own duplicate check says that it is there."""
    site.may_read = may_read
    site.after = lambda response: replace(response, hang_up=True)
    desk.say(punch("A", 0))
    assert to_frappe(desk, site).failed == 1
    site.after = lambda response: response
    desk.now_s += 60

    assert to_frappe(desk, site) == Round(done=1)
    assert len(site.checkins) == 1


def test_frappe_that_has_no_such_time_refuses_that_event_alone(desk: Desk, site: FrappeSite) -> None:
    """The year 9999 in another zone is the year 10000."""
    end = datetime.max.replace(tzinfo=UTC, microsecond=0)
    desk.say(check_in("A", at=moment(0, wall=end)), punch("B", 1))

    assert to_frappe(desk, site, FrappeRules(zone=ZoneInfo("Asia/Seoul"))) == Round(done=1, refused=1)
    assert "9999-12-31T23:59:59+00:00 is no time" in desk.words(State.REFUSED)[0][1]


@pytest.mark.parametrize("answer", [b'{"data":[{}]}', b'{"data":[null]}', b'{"data":{}}', b"[]"])
def test_frappe_whose_look_up_makes_no_sense_refuses_in_its_own_words(
    desk: Desk, site: FrappeSite, answer: bytes
) -> None:
    """Nothing is found by it, and no other event is held up."""
    site.before = lambda request: Response(body=answer) if request.method == "GET" else None
    desk.say(punch("nobody", 0), punch("B", 1))

    assert to_frappe(desk, site) == Round(done=1, refused=1)


@pytest.mark.parametrize(
    ("path", "response", "words"),
    [
        ("Employee", Response(503, b"busy", {"Retry-After": "5"}), "is busy (HTTP 503)"),
        ("Employee Checkin", Response(503, b"busy"), "is busy (HTTP 503)"),
        ("Employee Checkin", Response(hang_up=True), "cannot reach"),
        ("Employee Checkin", Response(500, {"exc_type": "OperationalError"}), "does not say whether it is"),
        ("Employee", Response(401, {"exc_type": "AuthenticationError"}), "does not say whether it is"),
    ],
)
def test_frappe_whose_look_up_fails_is_asked_again(
    desk: Desk, site: FrappeSite, path: str, response: Response, words: str
) -> None:
    """What it has since an answer that got lost is not called refused because of that."""
    site.duplicate_words = "Dieser Mitarbeiter hat bereits ein Protokoll mit demselben Zeitstempel."
    site.after = lambda response: replace(response, hang_up=True)
    desk.say(punch("A", 0))
    to_frappe(desk, site)
    site.after = lambda response: response
    site.before = lambda request: response if request.path == f"/api/resource/{path}" else None
    desk.now_s += 60
    assert to_frappe(desk, site).failed == 1
    assert words in desk.words(State.FAILED)[0][1]
    site.before = lambda _: None
    desk.now_s += 60

    assert to_frappe(desk, site) == Round(done=1)
    assert len(site.checkins) == 1


def test_frappe_in_another_language_is_understood(desk: Desk, site: FrappeSite) -> None:
    """What its refusal means is looked up, not read."""
    site.duplicate_words = "이 직원은 이미 동일한 타임스탬프의 로그를 가지고 있습니다."
    site.checkins.append(
        {"employee": "HR-EMP-1", "time": "2026-03-02 12:00:00", "log_type": "IN", "name": "X"}
    )
    desk.say(punch("A", 0))

    assert to_frappe(desk, site) == Round(done=1)


def test_frappe_refuses_in_its_own_words(desk: Desk, site: FrappeSite) -> None:
    """Unknown and inactive employees; everybody else goes on. Put right there, it is tried again."""
    site.inactive.add("HR-EMP-2")
    desk.say(punch("Z", 0), punch("B", 1), punch("A", 2))

    assert to_frappe(desk, site) == Round(done=1, refused=2)
    unknown, inactive = desk.words(State.REFUSED)
    assert (
        "HTTP 417: No Employee found for the given employee field value. 'attendance_device_id': Z"
        in unknown[1]
    )
    assert "Transactions cannot be created for an Inactive Employee HR-EMP-2." in inactive[1]

    site.inactive.clear()
    desk.store.again("there", desk.held(State.REFUSED)[1].number)
    assert to_frappe(desk, site) == Round(done=1)


def test_frappe_without_hr_refuses_nothing(desk: Desk, site: FrappeSite) -> None:
    """Such as during an update of it: everything waits, and goes out when it is back."""
    site.has_hr = False
    desk.say(*(punch(person, 0) for person in ("A", "B")))

    done = to_frappe(desk, site)
    assert (done.failed, done.refused) == (1, 0)
    assert "Failed to get method for command" in (done.words or "")

    site.has_hr = True
    desk.now_s += 60
    assert to_frappe(desk, site) == Round(done=2)


def test_missing_right_for_one_person_in_frappe_holds_back_only_that_one(
    desk: Desk, site: FrappeSite
) -> None:
    """Such as by a User Permission; with the right it goes out."""
    site.hidden.add("HR-EMP-1")
    desk.say(punch("A", 0), punch("A", 3600, OUT), punch("B", 60))

    assert to_frappe(desk, site) == Round(done=1, failed=1)
    assert "HTTP 403: You do not have access to Employee HR-EMP-1." in desk.words(State.FAILED)[0][1]

    site.hidden.clear()
    desk.now_s += 60
    assert to_frappe(desk, site) == Round(done=2)


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (Response(401, {"exc_type": "AuthenticationError"}), "HTTP 401"),
        (Response(403, b"<html>firewall</html>"), "HTTP 403"),
        (Response(404, b"<html>nginx</html>"), "HTTP 404"),
        (Response(503, {"exc_type": "SessionStopped"}), "is busy (HTTP 503)"),
        (Response(429, b""), "is busy (HTTP 429)"),
        (Response(200, b"<html>login</html>"), "not as Frappe HR does"),
        (Response(200, {"message": None}), "not as Frappe HR does"),
    ],
)
def test_frappes_own_trouble_is_not_blamed_on_the_event(
    desk: Desk, site: FrappeSite, response: Response, words: str
) -> None:
    """A wrong key, what stands before it, an update: all events wait, none is refused."""
    site.before = lambda _: response
    desk.say(punch("A", 0), punch("B", 0))

    done = to_frappe(desk, site)

    assert (done.failed, done.refused) == (1, 0)
    assert words in (done.words or "")


def test_correction_after_the_fact_is_for_a_person(desk: Desk, site: FrappeSite) -> None:
    """Before: it is simply right. After: it says what to change there, and who said so."""
    desk.say(
        punch("A", 0),
        Correction(EventId("door", EPOCH, 1), OtherDirection(OUT), "mixed up", "lee", moment(1)),
    )
    assert to_frappe(desk, site) == Round(done=2)
    assert site.checkins[0]["log_type"] == "OUT"

    desk.say(Correction(EventId("door", EPOCH, 1), Voided(), "not there", "lee", moment(2)))

    assert to_frappe(desk, site) == Round(refused=1)
    assert desk.words(State.REFUSED) == [
        (3, "Frappe has the punch door #1 already; correct it there: delete it (not there; lee)")
    ]


@pytest.mark.parametrize("becomes", [Voided(), OtherTime(NOON + timedelta(hours=1))])
def test_punch_corrected_after_an_answer_got_lost_is_for_a_person(
    desk: Desk, site: FrappeSite, becomes: Voided | OtherTime
) -> None:
    """Frappe may have it as it was. Once somebody has looked, it is tried again as it is now."""
    site.after = lambda response: replace(response, hang_up=True)
    desk.say(punch("A", 0))
    assert to_frappe(desk, site).failed == 1
    site.after = lambda response: response
    desk.say(Correction(EventId("door", EPOCH, 1), becomes, "not so", "lee", moment(60)))
    desk.now_s += 60

    assert to_frappe(desk, site) == Round(done=1, refused=1)
    assert len(site.checkins) == 1
    assert "may have this punch as it was before it was corrected" in desk.words(State.REFUSED)[0][1]
    site.checkins.clear()
    desk.store.again("there", None)
    assert to_frappe(desk, site) == Round(done=1)


def test_trying_all_again_does_not_double_what_may_be_there(desk: Desk, site: FrappeSite) -> None:
    """Its answer got lost and it was corrected since; somebody tries again what is refused."""
    site.after = lambda response: replace(response, hang_up=True)
    desk.say(punch("A", 0))
    assert to_frappe(desk, site).failed == 1
    site.after = lambda response: response
    becomes = OtherTime(NOON + timedelta(hours=1))
    desk.say(Correction(EventId("door", EPOCH, 1), becomes, "not so", "lee", moment(60)))

    assert desk.store.again("there", None) == 1
    assert to_frappe(desk, site) == Round(done=1, refused=1)
    assert [log["time"] for log in site.checkins] == ["2026-03-02 12:00:00"]


def test_punch_corrected_while_nobody_listened_is_simply_right(desk: Desk, site: FrappeSite) -> None:
    """What never left needs nobody to look."""
    desk.say(punch("A", 0))
    with serving(site.answer) as url:
        pass
    desk.courier(Frappe(Site(url), "key:secret"), fixes=False).round()
    desk.say(Correction(EventId("door", EPOCH, 1), OtherDirection(OUT), "mixed up", "lee", moment(60)))
    desk.now_s += 60

    assert to_frappe(desk, site) == Round(done=2)
    assert site.checkins[0]["log_type"] == "OUT"


def test_punch_of_1970_waits_for_its_time(desk: Desk, site: FrappeSite) -> None:
    """Held until the time fix, then handed over with the true time."""
    early = replace(moment(0, wall=NOON - timedelta(days=20000), trust=ClockTrust.UNSYNCHRONISED))
    desk.say(check_in("A", at=early))
    with serving(site.answer) as url:
        remote = Frappe(Site(url), "key:secret")
        courier = desk.courier(remote, hold_s=3600, fixes=False)
        assert courier.round() == Round()
        desk.say(TimeFix(moment(60), 20000 * 86400))
        assert courier.round() == Round(done=1)
        remote.close()

    assert site.checkins[0]["time"] == "2026-03-02 12:00:00"


def test_time_fix_that_comes_too_late_is_for_a_person(desk: Desk, site: FrappeSite) -> None:
    """Once, with every punch that is there with another time; a retry hands over nothing."""
    desk.say(in_1970("A", 0), in_1970("B", 60), in_1970("Z", 90), punch("B", 120, OUT))
    assert to_frappe(desk, site) == Round(done=3, refused=1)
    desk.say(corrected(2, OtherTime(NOON)), FIX, replace(FIX, moment=moment(3601)), in_1970("A", 200))

    assert to_frappe(desk, site) == Round(done=2, refused=2)
    told = desk.words(State.REFUSED)[-1]
    words = "Frappe has punches with a clock that was not set; correct them there: "
    assert told == (6, words + "A in (door #1) was at 2026-03-02T12:00:00+00:00")
    assert desk.store.again("there", desk.held(State.REFUSED)[-1].number) == 1
    assert to_frappe(desk, site) == Round(refused=1)
    assert desk.words(State.REFUSED)[-1] == told
    assert len(site.checkins) == 4


def test_time_fix_too_late_for_many_names_the_first_and_counts_the_others(
    desk: Desk, site: FrappeSite
) -> None:
    """What a person can read, and where the rest is."""
    desk.say(*(in_1970("A", n) for n in range(52)))
    assert to_frappe(desk, site) == Round(done=52)
    desk.say(FIX)
    to_frappe(desk, site)

    ((_, words),) = desk.words(State.REFUSED)
    assert words.count("was at") == 50
    assert words.endswith("; 2 more are in the view punches, with time_is = 'fixed'")


def test_punch_whose_time_was_fixed_after_an_answer_got_lost_is_for_a_person(
    desk: Desk, site: FrappeSite
) -> None:
    """Frappe may have it as it was recorded, so it is not handed over with another time."""
    site.after = lambda response: replace(response, hang_up=True)
    desk.say(in_1970("A", 0))
    assert to_frappe(desk, site).failed == 1
    site.after = lambda response: response
    desk.say(FIX)
    desk.now_s += 60

    assert to_frappe(desk, site) == Round(done=1, refused=1)
    assert len(site.checkins) == 1
    assert "or its time fixed, for its answer got lost" in desk.words(State.REFUSED)[0][1]


def test_time_fix_that_comes_too_late_is_a_correction_in_the_csv_files(desk: Desk, tmp_path: Path) -> None:
    """A row for each punch, with an id of its own; webhooks get the time fix itself."""
    folder = tmp_path / "drop"
    folder.mkdir()
    desk.say(in_1970("A", 0), in_1970("B", 60), punch("C", 61))
    assert desk.courier(CsvDrop(folder), fixes=False).round() == Round(done=3)
    desk.say(FIX)
    assert desk.courier(CsvDrop(folder), fixes=False).round() == Round(done=1)

    rows = rows_of(max(folder.iterdir()))
    assert [row["event_id"] for row in rows] == [f"door/{EPOCH}/4+door/{EPOCH}/{n}" for n in (1, 2)]
    assert {(row["kind"], row["becomes"], row["time_is"]) for row in rows} == {
        ("correction", "time", "fixed")
    }
    assert [(row["corrects"], row["time"]) for row in rows] == [
        (f"door/{EPOCH}/1", "2026-03-02T12:00:00+00:00"),
        (f"door/{EPOCH}/2", "2026-03-02T12:01:00+00:00"),
    ]


@pytest.fixture
def odoo() -> OdooServer:
    """Odoo with two employees."""
    return OdooServer({"A": 11, "B": 12})


def to_odoo(desk: Desk, odoo: OdooServer, login: OdooLogin = LOGIN) -> Round:
    """One round of the connector."""
    with serving(odoo.answer) as url:
        remote = Odoo(Site(url), login)
        done = desk.courier(remote, fixes=False).round()
        remote.close()
    return done


def times(odoo: OdooServer) -> list[tuple[int, str, str | bool]]:
    """Employee, in and out, hours and minutes."""
    return [
        (row["employee_id"], row["check_in"][11:16], row["check_out"] and row["check_out"][11:16])
        for row in odoo.attendances.values()
    ]


def test_odoo_gets_attendances_that_open_and_close(desk: Desk, odoo: OdooServer) -> None:
    """In UTC, each person's own."""
    desk.say(punch("A", 0), punch("B", 60), punch("A", 3600, OUT), punch("A", 7200))

    assert to_odoo(desk, odoo) == Round(done=4)
    assert times(odoo) == [(11, "12:00", "13:00"), (12, "12:01", False), (11, "14:00", False)]


@pytest.mark.parametrize("method", ["create", "write"])
def test_odoo_that_took_it_before_the_connection_broke_has_it_once(
    desk: Desk, odoo: OdooServer, method: str
) -> None:
    """What is there already is looked up before anything is written."""
    odoo.after = lambda called, response: replace(response, hang_up=called == method)
    desk.say(punch("A", 0), punch("A", 3600, OUT))
    assert to_odoo(desk, odoo).failed == 1
    odoo.after = lambda _, response: response
    desk.now_s += 60
    to_odoo(desk, odoo)

    assert times(odoo) == [(11, "12:00", "13:00")]
    assert desk.held(State.FAILED) == desk.held(State.REFUSED) == []


@pytest.mark.parametrize("system", ["odoo", "frappe"])
def test_system_that_is_slow_is_not_looked_at_before_it_has_ended(
    desk: Desk, odoo: OdooServer, site: FrappeSite, monkeypatch: pytest.MonkeyPatch, *, system: str
) -> None:
    """What it makes after we gave up waiting would not be found yet, and be made a second time."""
    monkeypatch.setattr(http_link, "TIMEOUT_S", 0.2)
    goes_on = threading.Event()

    def slow(response: Response) -> Response:
        goes_on.wait(10)
        return response

    odoo.after = lambda called, response: slow(response) if called == "create" else response
    site.after = slow
    desk.say(punch("A", 0))

    with serving(odoo.answer if system == "odoo" else site.answer) as url:
        remote = Odoo(Site(url), LOGIN) if system == "odoo" else Frappe(Site(url), "key:secret")
        done = desk.courier(remote, fixes=False).round()
        goes_on.set()
        remote.close()

    assert done.failed == 1
    assert done.again_at == desk.now_s + http_link.STILL_AT_WORK_S


def test_odoo_refuses_what_its_rules_forbid_in_its_own_words(desk: Desk, odoo: OdooServer) -> None:
    """A forgotten check-out, an out without an in, an unknown badge; other people go on."""
    desk.say(punch("A", 0), punch("A", 60), punch("B", 60, OUT), punch("Z", 60), punch("B", 120))

    assert to_odoo(desk, odoo) == Round(done=2, refused=3)
    twice, without, unknown = (words for _, words in desk.words(State.REFUSED))
    assert "the employee hasn't checked out since 2026-03-02 12:00:00" in twice
    assert "no open attendance to check out of at 2026-03-02 12:01:00 UTC" in without
    assert "no employee with barcode 'Z'" in unknown


def test_odoo_does_not_close_yesterdays_attendance_with_todays_check_out(
    desk: Desk, odoo: OdooServer
) -> None:
    """Yesterday's was forgotten, so today's check-in was refused. Closed there, both are tried again."""
    desk.say(punch("A", 0), punch("A", 86_400), punch("A", 90_000, OUT))

    assert to_odoo(desk, odoo) == Round(done=1, refused=2)
    assert times(odoo) == [(11, "12:00", False)]
    assert "the check-in before this check-out was refused" in desk.words(State.REFUSED)[1][1]

    odoo.attendances[1]["check_out"] = "2026-03-02 18:00:00"
    desk.store.again("there", None)
    assert to_odoo(desk, odoo) == Round(done=2)
    assert times(odoo) == [(11, "12:00", "18:00"), (11, "12:00", "13:00")]


DAY_S = 86_400


@pytest.mark.parametrize(
    "until_out",
    [
        [punch("A", DAY_S), punch("A", DAY_S + 3500, OUT)],
        [punch("A", DAY_S), punch("A", DAY_S + 60, OUT), corrected(3, Voided())],
        [punch("A", DAY_S, OUT), corrected(2, OtherDirection(IN))],
        [punch("B", DAY_S), corrected(2, OtherPerson("A"))],
    ],
    ids=["two check-outs", "one voided between", "was an out", "was another person"],
)
def test_odoo_check_out_keeps_off_yesterday_whatever_came_between(
    desk: Desk, odoo: OdooServer, until_out: list[Body]
) -> None:
    """Only a check-in that Odoo took ends what a refused one means, by the punches as they stand."""
    desk.say(punch("A", 0))
    to_odoo(desk, odoo)

    desk.say(*until_out, punch("A", DAY_S + 3600, OUT))
    to_odoo(desk, odoo)

    assert (11, "12:00", False) in times(odoo)
    assert "the check-in before this check-out was refused" in desk.words(State.REFUSED)[-1][1]


def test_odoo_check_out_keeps_off_yesterday_after_its_refused_check_in_was_voided(
    desk: Desk, odoo: OdooServer
) -> None:
    """What Odoo has not got need not be taken back there, and says all the same that yesterday is over."""
    desk.say(punch("A", 0), punch("A", DAY_S))
    assert to_odoo(desk, odoo) == Round(done=1, refused=1)
    desk.say(corrected(2, Voided()), punch("A", DAY_S + 3600, OUT))

    assert to_odoo(desk, odoo) == Round(done=1, refused=1)
    assert times(odoo) == [(11, "12:00", False)]


def test_odoo_check_out_closes_what_was_taken_after_a_refused_check_in(desk: Desk, odoo: OdooServer) -> None:
    """Yesterday's was closed there by hand, and this morning's check-in opened another."""
    desk.say(punch("A", 0), punch("A", 3600))
    assert to_odoo(desk, odoo) == Round(done=1, refused=1)
    odoo.attendances[1]["check_out"] = "2026-03-02 18:00:00"
    desk.say(punch("A", DAY_S), punch("A", DAY_S + 3600, OUT))

    assert to_odoo(desk, odoo) == Round(done=2)
    assert times(odoo) == [(11, "12:00", "18:00"), (11, "12:00", "13:00")]


def test_odoo_check_out_waits_for_a_check_in_that_was_said_to_be_this_persons(
    desk: Desk, odoo: OdooServer
) -> None:
    """Recorded as another's, and held up at the moment."""
    trouble = OdooRaisedError("builtins.TypeError", "odd")
    odoo.before = lambda method: trouble if method == "create" else None
    desk.say(punch("B", 0), corrected(1, OtherPerson("A")), punch("A", 3600, OUT))
    assert to_odoo(desk, odoo) == Round(failed=1)
    odoo.before = lambda _: None
    desk.now_s += 60

    assert to_odoo(desk, odoo) == Round(done=3)
    assert times(odoo) == [(11, "12:00", "13:00")]


def opened_by_hand(odoo: OdooServer, at: str) -> None:
    """HR closes yesterday's attendance, which was forgotten, and opens today's instead of trying again."""
    odoo.attendances[1]["check_out"] = "2026-03-02 18:00:00"
    odoo.attendances[2] = {"employee_id": 11, "check_in": f"2026-03-03 {at}", "check_out": False}


@pytest.mark.parametrize(
    "at", ["12:00:00", "12:00:13", "12:20:00"], ids=["the minute", "the second", "later"]
)
def test_odoo_check_out_closes_what_hr_opened_for_the_refused_check_in(
    desk: Desk, odoo: OdooServer, at: str
) -> None:
    """A person typed it, to the minute of the punch or later; yesterday's stays as they closed it."""
    desk.say(punch("A", 0), punch("A", 86_413))
    assert to_odoo(desk, odoo) == Round(done=1, refused=1)

    opened_by_hand(odoo, at)
    desk.say(punch("A", 90_000, OUT))

    assert to_odoo(desk, odoo) == Round(done=1)
    assert times(odoo) == [(11, "12:00", "18:00"), (11, at[:5], "13:00")]


def test_odoo_takes_both_again_after_hr_opened_one_by_hand(desk: Desk, odoo: OdooServer) -> None:
    """The check-in is there already, typed to the minute; the check-out closes it."""
    desk.say(punch("A", 0), punch("A", 86_413), punch("A", 90_000, OUT))
    assert to_odoo(desk, odoo) == Round(done=1, refused=2)

    opened_by_hand(odoo, "12:00:00")
    desk.store.again("there", None)

    assert to_odoo(desk, odoo) == Round(done=2)
    assert times(odoo) == [(11, "12:00", "18:00"), (11, "12:00", "13:00")]


def test_odoo_check_out_leaves_what_began_before_its_refused_check_in(desk: Desk, odoo: OdooServer) -> None:
    """Forgotten this morning or opened by hand too early: nobody's hours are made up."""
    desk.say(punch("A", 0), punch("A", 86_413))
    to_odoo(desk, odoo)
    opened_by_hand(odoo, "11:59:00")
    desk.say(punch("A", 90_000, OUT))

    assert to_odoo(desk, odoo) == Round(refused=1)
    assert times(odoo)[1] == (11, "11:59", False)


def test_odoo_refuses_attendances_that_overlap(desk: Desk, odoo: OdooServer) -> None:
    """HR entered the day by hand before the kiosk's events came."""
    odoo.attendances[1] = {
        "employee_id": 11, "check_in": "2026-03-02 11:00:00", "check_out": "2026-03-02 19:00:00",
    }  # fmt: skip
    desk.say(punch("A", 0))

    assert to_odoo(desk, odoo) == Round(refused=1)
    assert "was already checked in on" in desk.words(State.REFUSED)[0][1]


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (OdooRaisedError("odoo.exceptions.AccessDenied", "Access Denied"), "Access Denied"),
        (Response(502, b"<html>bad gateway</html>"), "is busy (HTTP 502)"),
        (Response(200, b"<html>login</html>"), "not JSON-RPC"),
    ],
)
def test_odoos_own_trouble_is_not_blamed_on_the_event(
    desk: Desk, odoo: OdooServer, trouble: Response | OdooRaisedError, words: str
) -> None:
    """All events wait, none is refused."""
    odoo.before = lambda method: trouble if method == "search_read" else None
    desk.say(punch("A", 0), punch("B", 0))

    done = to_odoo(desk, odoo)

    assert (done.failed, done.refused) == (1, 0)
    assert words in (done.words or "")


def test_missing_right_for_one_person_in_odoo_holds_back_only_that_one(desk: Desk, odoo: OdooServer) -> None:
    """Such as for another company's; with the right it goes out."""
    odoo.hidden.add(11)
    desk.say(punch("A", 0), punch("A", 3600, OUT), punch("B", 60))

    assert to_odoo(desk, odoo) == Round(done=1, failed=1)
    assert "not allowed to create 'Attendance'" in desk.words(State.FAILED)[0][1]

    odoo.hidden.clear()
    desk.now_s += 60
    assert to_odoo(desk, odoo) == Round(done=2)


def test_missing_right_for_everybody_in_odoo_stops_after_a_few(desk: Desk, odoo: OdooServer) -> None:
    """It is not asked about everybody in turn; none is refused."""
    odoo.before = lambda method: (
        OdooRaisedError("odoo.exceptions.AccessError", "Not you") if method == "search_read" else None
    )
    desk.say(*(punch(f"P{n}", 0) for n in range(9)))

    done = to_odoo(desk, odoo)

    assert (done.failed, done.refused) == (3, 0)
    assert "Not you" in (done.words or "")


@pytest.mark.parametrize("error", [{}, {"result": None}, {"result": False}, {"error": "worker died"}])
@pytest.mark.parametrize("is_made", [True, False], ids=["made", "not made"])
@pytest.mark.parametrize("method", ["create", "write"])
def test_odoo_that_does_not_say_what_it_made_is_looked_at_again(
    desk: Desk, odoo: OdooServer, method: str, error: Json, *, is_made: bool
) -> None:
    """It is not done because HTTP says 200: there once in the end, made the first time or the second."""

    def odd(called: str) -> Response | None:
        return Response(body={"jsonrpc": "2.0", "id": odoo.last_id} | error) if called == method else None

    if is_made:
        odoo.after = lambda called, response: odd(called) or response
    else:
        odoo.before = odd
    desk.say(punch("A", 0), punch("A", 3600, OUT))
    assert to_odoo(desk, odoo).failed == 1
    odoo.after = lambda _, response: response
    odoo.before = lambda _: None
    desk.now_s += 60
    to_odoo(desk, odoo)

    assert times(odoo) == [(11, "12:00", "13:00")]
    assert desk.held(State.FAILED) == desk.held(State.REFUSED) == []


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("search_read", {}),
        ("search_read", {"result": [{}]}),
        ("search_read", {"result": [11]}),
        ("search_read", {"error": "worker died"}),
        ("search", {"result": [None]}),
        ("search", {"result": [{"id": 1}]}),
        ("search", {"result": False}),
    ],
)
def test_odoo_whose_look_up_makes_no_sense_is_asked_again(
    desk: Desk, odoo: OdooServer, method: str, answer: Json
) -> None:
    """Nobody is unknown, and nothing absent, because of it."""
    odoo.before = lambda called: (
        Response(body={"jsonrpc": "2.0", "id": odoo.last_id} | answer) if called == method else None
    )
    desk.say(punch("A", 0))
    assert to_odoo(desk, odoo).failed == 1
    assert "not as Odoo does" in desk.words(State.FAILED)[0][1]
    odoo.before = lambda _: None
    desk.now_s += 60

    assert to_odoo(desk, odoo) == Round(done=1)


def test_odoo_that_cannot_serialise_is_tried_again(desk: Desk, odoo: OdooServer) -> None:
    """A database conflict is nobody's fault."""
    conflict = OdooRaisedError("psycopg2.errors.SerializationFailure", "could not serialize access")
    troubles: list[OdooRaisedError] = [conflict]
    odoo.before = lambda method: troubles.pop() if method == "create" and troubles else None
    desk.say(punch("A", 0), punch("B", 0))

    assert to_odoo(desk, odoo) == Round(done=1, failed=1)
    desk.now_s += 60
    assert to_odoo(desk, odoo) == Round(done=1)


def test_odoo_with_a_wrong_password_says_so(desk: Desk, odoo: OdooServer) -> None:
    """Once, for all events."""
    desk.say(punch("A", 0))

    done = to_odoo(desk, odoo, replace(LOGIN, secret="wrong"))  # noqa: S106  # it is wrong

    assert "does not know that user, password and database" in (done.words or "")
