"""glancein connect and feed: what people and cron see of the connectors."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.device.hr_systems import Request, Response, serving
from tests.device.punches import EPOCH, chain, event, moment

from glancein.adapters.feed_store import SqliteFeedStore
from glancein.cli import main
from glancein.cli.feed import print_event
from glancein.connect.courier import Courier, Round
from glancein.domain import wire
from glancein.domain.intake import read_arrival
from glancein.types import Correction, Direction, Event, EventId, OtherDirection, TimeFix

SECRET = "whsec_" + "A" * 32
over_http = pytest.mark.skipif(find_spec("httpx") is None, reason="needs pip install glancein[connect]")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A feed's database with three punches that arrived a while ago."""
    path = tmp_path / "feed.db"
    store = SqliteFeedStore(path)
    store.now_s = lambda: 0.0
    store.commit([read_arrival(wire.encode_event(sent)) for sent in chain(3)], [])
    store.close()
    return path


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    code = main([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_csv_files_are_dropped_once(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As cron would run it, twice."""
    folder = tmp_path / "drop"
    folder.mkdir()
    words = ("connect", "csv", folder, "--sqlite", database)

    first = run(capsys, *words)
    code, out, _ = run(capsys, *words, "--json")

    assert first == (0, "csv: 3 handed over, 0 refused, 0 to be tried again\n", "")
    assert code == 0
    assert json.loads(out)["done"] == 0
    (only,) = folder.iterdir()
    assert re.fullmatch(r"punches-0000000001-[0-9a-f]{12}\.csv", only.name)


@over_http
def test_refused_event_is_shown_and_tried_again(
    database: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1, the other side's words in status, and retry."""
    monkeypatch.setenv("GLANCEIN_WEBHOOK_SECRET", SECRET)
    known = {"E1", "E3"}

    def receive(request: Request) -> Response:
        person = json.loads(request.body)["data"]["punch"]["person_id"]
        return Response(200, {}) if person in known else Response(422, {"detail": f"{person}? never heard"})

    with serving(receive) as url:
        words = ("connect", "webhook", url, "--sqlite", database, "--json")
        code, out, _ = run(capsys, *words)
        assert (code, json.loads(out)["refused"]) == (1, 1)

        _, shown, _ = run(capsys, "connect", "status", "--sqlite", database, "--json")
        (connector,) = json.loads(shown)
        assert connector["counts"] == {"done": 2, "refused": 1}
        assert connector["held"][0]["event"] == f"door/{EPOCH}/2"
        assert "HTTP 422: E2? never heard" in connector["held"][0]["words"]
        assert "never heard" in run(capsys, "connect", "status", "--sqlite", database)[1]

        known.add("E2")
        assert run(capsys, "connect", "retry", "webhook", "--sqlite", database)[1].startswith("1 events")
        assert run(capsys, *words)[0] == 0


@over_http
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("webhook", "https://x", "--sqlite", "DB"), "put it into GLANCEIN_WEBHOOK_SECRET"),
        (("frappe", "https://x", "--sqlite", "DB"), "put it into GLANCEIN_FRAPPE_TOKEN"),
        (("odoo", "https://x", "--database", "d", "--user", "u", "--sqlite", "DB"), "GLANCEIN_ODOO_SECRET"),
        (("webhook", "https://x", "--sqlite", "DB", "--secret-file", "OPEN"), "everybody may read"),
        (
            ("frappe", "https://x", "--sqlite", "DB", "--secret-file", "KEY", "--zone", "Mars/X"),
            "no time zone",
        ),
        (("frappe", "http://hr.example", "--sqlite", "DB", "--secret-file", "KEY"), "in the clear"),
        (("csv", "DIR"), "name the feed's database"),
        (("csv", "DIR/none", "--sqlite", "DB"), "does not exist"),
        (("csv", "DIR", "--sqlite", "DB", "--name", "a/b"), "--name 'a/b'"),
        (("csv", "DIR", "--postgres", "postgresql://hr:confidential@db/x"), "leave the password out"),
        (("retry", "nobody", "--sqlite", "DB"), "there is no connector 'nobody'"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    database: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    complaint: str,
) -> None:
    """What is wrong and what to do; no secret in it."""
    key, readable = tmp_path / "key", tmp_path / "readable"
    for path, mode in ((key, 0o600), (readable, 0o644)):
        path.write_text("confidential:secret\n", encoding="utf-8")
        path.chmod(mode)
    places = {"DB": str(database), "KEY": str(key), "OPEN": str(readable), "DIR": str(tmp_path)}
    given = [places.get(word, word.replace("DIR/", f"{tmp_path}/")) for word in words]

    code, out, err = run(capsys, "connect", *given)

    assert (code, out) == (2, "")
    assert complaint in err
    assert err.count("\n") == 1
    assert "confidential" not in err


def test_every_kind_of_event_is_one_line_of_the_feed() -> None:
    """A viewer meets corrections and time fixes too."""
    said = Correction(EventId("door", EPOCH, 1), OtherDirection(Direction.OUT), "mixed up", "lee", moment(60))
    events = [event(), Event("hq", "door", EPOCH, 2, wire.NO_HASH, said)]
    events.append(Event("hq", "door", EPOCH, 3, wire.NO_HASH, TimeFix(moment(90), 7.5)))

    assert [print_event(one) for one in events] == [
        "2026-03-02 12:00:00+0000 in  E1 hq/door #1 score 0.612",
        "2026-03-02 12:01:00+0000 fix direction=out of #1 hq/door #2 (mixed up; lee)",
        "2026-03-02 12:01:30+0000 clock was 7.500 s behind hq/door #3",
    ]


def test_each_round_of_a_connector_that_follows_is_one_line_of_json(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What reads it as it comes takes a line at a time, as with the kiosk and the feed."""

    def twice(courier: Courier, _stop: threading.Event, tell: Callable[[Round], None]) -> None:
        tell(courier.round())
        tell(courier.round())

    monkeypatch.setattr(Courier, "follow", twice)
    words = ("connect", "csv", tmp_path / "drop", "--sqlite", database, "--follow", "--json")
    (tmp_path / "drop").mkdir()
    code, out, _ = run(capsys, *words)

    assert code == 0
    assert [json.loads(line)["done"] for line in out.splitlines()] == [3, 0]
