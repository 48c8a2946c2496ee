"""What the page may ask, and of whom it is taken: every route of the screen, none left out."""

from __future__ import annotations

import http.client
import json
import socket
from http.cookies import SimpleCookie

import pytest
from tests.web.screen.stage import PIN, Stage

from glancein.domain.attendance import Recognised
from glancein.domain.choice import Question
from glancein.punch_clock import _Asked
from glancein.types import Direction, EventId
from glancein.web.access import Door
from glancein.web.screen.lookout import Lookout
from glancein.web.screen.routes import endpoints
from glancein.web.screen.serve import take_pass
from glancein.web.security import SECURITY_HEADERS

JSON = {"Content-Type": "application/json"}


def call(
    kiosk: Stage, method: str, path: str, *, body: object = None, headers: dict[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """One request; of an answer without end only its head is read."""
    host, port = kiosk.url.removeprefix("http://").split(":")
    line = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        line.request(method, path, None if body is None else json.dumps(body), {**JSON, **(headers or {})})
        answer = line.getresponse()
        ends = answer.getheader("content-length") is not None
        return answer.status, answer.headers, answer.read() if ends else b""
    finally:
        line.close()


def own_page(kiosk: Stage) -> dict[str, str]:
    """The headers that only the kiosk's own page can send."""
    _, headers, body = call(kiosk, "GET", "/")
    cookie = SimpleCookie(headers["set-cookie"])
    name, value = next((name, morsel.value) for name, morsel in cookie.items())
    csrf = body.decode().split('data-csrf="')[1].split('"')[0]
    return {"Cookie": f"{name}={value}", "X-CSRF-Token": csrf}


def table(kiosk: Stage) -> list[tuple[str, str]]:
    """Method and path of every route."""
    assert all(endpoint.needs is Door.ANYBODY for endpoint in endpoints(kiosk.parts))
    return [(endpoint.method, endpoint.path) for endpoint in endpoints(kiosk.parts)]


def test_screen_listens_on_this_machine_only(kiosk: Stage) -> None:
    """Its address is the loopback; nobody else on the network can ask it anything."""
    assert kiosk.url.startswith("http://127.0.0.1:")
    with socket.create_connection(("127.0.0.1", int(kiosk.url.rpartition(":")[2])), timeout=5) as line:
        assert line.getpeername()[0] == "127.0.0.1"


def test_every_route_refuses_a_foreign_host(kiosk: Stage) -> None:
    """A page elsewhere that points its own name at this machine gets nothing."""
    answers = {path: call(kiosk, m, path, headers={"Host": "evil.example"})[0] for m, path in table(kiosk)}

    assert set(answers.values()) == {400}


def test_every_act_refuses_a_request_without_the_page_token(kiosk: Stage) -> None:
    """Another site open in the same browser can press nothing."""
    acts = [path for method, path in table(kiosk) if method == "POST"]
    assert len(acts) == 3

    assert {path: call(kiosk, "POST", path, body={})[0] for path in acts} == dict.fromkeys(acts, 403)
    foreign = {**own_page(kiosk), "Origin": "http://evil.example"}
    assert {call(kiosk, "POST", path, body={}, headers=foreign)[0] for path in acts} == {403}


def test_every_answer_carries_the_security_headers(kiosk: Stage) -> None:
    """Pages, streams and refusals alike."""
    for method, path in table(kiosk):
        headers = call(kiosk, method, path, body={} if method == "POST" else None)[1]
        assert {name: headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS, path


@pytest.mark.parametrize("path", ["/", "/people", "/accounts", "/export", "/docs", "/openapi.json"])
def test_screen_serves_nothing_of_the_desk(kiosk: Stage, path: str) -> None:
    """The screen's address knows its own page and nothing else."""
    assert call(kiosk, "GET", path)[0] == (200 if path == "/" else 404)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/pin", {}),
        ("/pin", {"number": "1001"}),
        ("/pin", {"number": {"$gt": ""}, "pin": "1"}),
        ("/direction", {"token": "x", "direction": "up"}),
        ("/direction", {"token": "x", "direction": "in"}),
        ("/not-you", {"kiosk": "front-door", "epoch": "x", "seq": "-1"}),
        ("/not-you", {"kiosk": "front-door", "epoch": "x", "seq": "1; DROP TABLE events"}),
        ("/not-you", {"kiosk": "front-door", "epoch": "x", "seq": 99}),
    ],
)
def test_nonsense_is_refused_in_words(kiosk: Stage, path: str, body: dict[str, object]) -> None:
    """Missing, wrong or out-of-date fields: a sentence, and nothing recorded."""
    before = kiosk.ledger.position().seq

    status, _, answer = call(kiosk, "POST", path, body=body, headers=own_page(kiosk))

    assert status == 422
    assert json.loads(answer)["error"]
    assert kiosk.ledger.position().seq == before


def test_punch_that_was_not_made_here_just_now_cannot_be_taken_back(kiosk: Stage) -> None:
    """The page voids what it thanked for seconds ago, never any event it can name."""
    name = EventId("front-door", kiosk.ledger.position().epoch, 1)
    kiosk.kiosk.punches._recent.clear()

    body = {"kiosk": name.kiosk, "epoch": name.epoch, "seq": name.seq}
    status, _, _ = call(kiosk, "POST", "/not-you", body=body, headers=own_page(kiosk))

    assert status == 422


def test_pin_and_pass_wait_while_somebody_else_is_asked(
    kiosk: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pad says so, and a pass that is still held up is told again."""
    before, punches = kiosk.ledger.position().seq, kiosk.parts.punches
    question = Question("token", "E9", None, Direction.IN, 12.0)
    monkeypatch.setattr(punches, "_asked", _Asked(question, Recognised("E9", 0.6, 0.4, ""), float("inf")))
    told: list[bool] = []

    def seen(text: str) -> bool:
        told.append(take_pass(kiosk.parts, text))
        return told[-1]

    lookout = Lookout(lambda: None, seen)
    held = kiosk.passes.issue("E1001", at=kiosk.now())

    pin = {"number": "1001", "pin": PIN}
    status, _, answer = call(kiosk, "POST", "/pin", body=pin, headers=own_page(kiosk))
    lookout._tell(held)
    lookout._tell(held)

    assert (status, json.loads(answer)) == (409, {"refused": "pin_busy"})
    assert told == [False, False]
    assert kiosk.ledger.position().seq == before
