"""Who opens lines to the server and says nothing keeps nobody out."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from tests.web.desk.office import Office

from glancein.types import Direction
from glancein.web import line
from glancein.web.access import Permission
from glancein.web.app import Address, WebServer
from glancein.web.desk.build import desk_app

PATIENCE_S = 120.0  # a loaded machine; nothing is expected to take so long
HEAD = b"POST /api/v1/sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture
def server(office: Office) -> Iterator[WebServer]:
    """A desk that answers over a real socket."""
    served = WebServer(desk_app(office.desk), Address())
    served.start()
    yield served
    served.stop()


def dial(server: WebServer) -> socket.socket:
    """A new line to it."""
    at = urlsplit(server.url)
    return socket.create_connection((at.hostname or "", at.port or 0), timeout=PATIENCE_S)


@pytest.mark.parametrize(
    "said", [b"", HEAD, HEAD + b'Content-Length: 9\r\n\r\n{"'], ids=["nothing", "half a head", "half a body"]
)
def test_line_that_falls_silent_is_ended(
    said: bytes, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server closes it, whatever the rest would have been."""
    monkeypatch.setattr(line, "PATIENCE_S", 0.05)
    with dial(server) as silent:
        silent.sendall(said)
        while silent.recv(4096):
            pass


def test_live_page_outlives_the_patience(
    office: Office, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has asked and listens: a line opened after it is ended, and it still hears of a punch."""
    monkeypatch.setattr(line, "PATIENCE_S", 0.05)
    raw = office.desk.accounts.make_token("stream", frozenset({Permission.ATTENDANCE_READ}), by="test")
    bearer = {"authorization": f"Bearer {raw}"}
    question = Request(f"{server.url}/api/v1/stream", headers=bearer)  # noqa: S310  # our own server
    with urlopen(question, timeout=PATIENCE_S) as stream:  # noqa: S310  # as above
        head = [stream.readline() for _ in range(3)]
        with dial(server) as silent:
            ended = silent.recv(1)
        settled = threading.Event()
        while not office.desk.live.has_looked:
            settled.wait(0.01)
        office.punch("E1", Direction.IN)
        message = stream.readline()

    assert head[0].startswith(b"retry:")
    assert ended == b""
    assert message == b"event: punch\n"


def test_one_address_does_not_take_every_line(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than its share is ended at once; those before it are answered."""
    monkeypatch.setattr(line, "MOST_OF_ONE", 3)
    with ExitStack() as lines:
        first, *_, last = [lines.enter_context(dial(server)) for _ in range(4)]
        try:
            ended = last.recv(1)
        except ConnectionResetError:
            ended = b""
        first.sendall(b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = first.recv(12)

    assert ended == b""
    assert answer == b"HTTP/1.1 200"
