"""A page that is slow, stuck or gone never holds up the kiosk."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.device.fakes import face_at
from tests.device.punches import check_in, event
from tests.web.screen.conftest import wait_until
from tests.web.screen.stage import Stage

from glancein.adapters.screen_web import (
    MAILBOX_ROOM,
    REPEAT_HUSH_S,
    Fanout,
    Mailbox,
    Message,
    WebScreen,
    message,
)
from glancein.types import Accepted, ClockTrust, Frame, Reason, Rejected
from glancein.web.screen import streams

FRAME = Frame(np.zeros((480, 640, 3), np.uint8), 1.0)


def lasting(number: int) -> Message:
    """An answer."""
    return Message("answer", str(number).encode())


def test_messages_arrive_in_order_and_passing_ones_make_room() -> None:
    """Every answer, and of what is only passing the newest."""

    async def story() -> list[bytes]:
        box = Mailbox()
        for number in range(3):
            box.put(Message("sight", b"sight%d" % number, passing=True))
            box.put(lasting(number))
        return [said.data for said in [await box.take() for _ in range(4)] if said is not None]

    assert asyncio.run(story()) == [b"0", b"1", b"2", b"sight2"]


def test_mailbox_that_nobody_empties_closes_itself() -> None:
    """So many answers behind, a page is dropped; it comes back by itself."""

    async def story() -> Message | None:
        box = Mailbox()
        for number in range(MAILBOX_ROOM + 1):
            box.put(lasting(number))
        return await box.take()

    assert asyncio.run(story()) is None


def test_oldest_page_goes_when_there_are_too_many() -> None:
    """The number of pages is bounded; whoever comes last is served."""

    async def story() -> list[bool]:
        fanout = Fanout(2)
        boxes = [fanout.open() for _ in range(3)]
        assert len(fanout) == 2
        return [box.is_closed for box in boxes]

    assert asyncio.run(story()) == [True, False, False]


def test_message_from_another_thread_wakes_the_page() -> None:
    """The kiosk's loop speaks from its own thread."""

    async def story() -> Message | None:
        fanout = Fanout(1)
        box = fanout.open()
        threading.Thread(target=fanout.send, args=(lasting(7),)).start()
        return await asyncio.wait_for(box.take(), 20)

    said = asyncio.run(story())
    assert said is not None
    assert said.data == b"7"


def test_mailbox_of_a_server_that_has_ended_is_let_go() -> None:
    """No error reaches the kiosk when the page's server is no longer there."""

    async def story() -> tuple[Fanout, Mailbox]:
        fanout = Fanout(1)
        return fanout, fanout.open()

    fanout, box = asyncio.run(story())
    fanout.send(lasting(1))

    assert box.is_closed
    assert len(fanout) == 0


def heard(screen: WebScreen, *acts: str) -> list[dict[str, object]]:
    """What a page hears while the acts happen."""

    async def story() -> list[dict[str, object]]:
        box = screen.pages.open()
        scene = Scene(screen)
        for act in acts:
            getattr(scene, act)()
        box.put(Message("end", b"end"))
        found = []
        while (said := await box.take()) is not None and said.kind != "end":
            found.append(json.loads(said.data.decode().partition("data: ")[2]))
        return found

    return asyncio.run(story())


class Scene:
    """Things that the kiosk says, by name."""

    def __init__(self, screen: WebScreen) -> None:
        self._screen = screen
        self._event = event(punch=check_in())

    def recorded(self) -> None:
        self._screen.show_recorded(self._event, "Ada <b>Lovelace")

    def recorded_without_clock(self) -> None:
        moment = replace(self._event.check_in.moment, trust=ClockTrust.UNSYNCHRONISED)
        self._screen.show_recorded(
            replace(self._event, body=replace(self._event.check_in, moment=moment)), None
        )

    def repeat(self) -> None:
        self._screen.show_repeat(self._event, "Ada <b>Lovelace")

    def failed(self) -> None:
        self._screen.show_not_recorded("the disk is full")

    def refused(self) -> None:
        self._screen.show_refusal(Reason.UNKNOWN, "")


def test_page_hears_name_direction_time_and_hours() -> None:
    """Everything the large answer needs, in one message."""
    (said,) = heard(WebScreen(hours_of=lambda _person, _at: 1.5), "recorded")

    assert said["kind"] == "recorded"
    assert said["who"] == "Ada <b>Lovelace"
    assert said["hours_today"] == 1.5
    assert said["direction"] in {"in", "out"}


def test_names_stay_off_the_screen_when_the_settings_say_so() -> None:
    """Then the id stands there."""
    (said,) = heard(WebScreen(names=False), "recorded")

    assert said["who"] == check_in().person_id


def test_clock_that_was_never_set_is_said() -> None:
    """So that nobody is surprised by the time in HR's list."""
    (said,) = heard(WebScreen(), "recorded_without_clock")

    assert said["clock_unset"] is True


def test_repeat_right_after_the_thanks_is_not_shown() -> None:
    """Who used a pass and is then also recognised keeps reading the thanks; later they are told."""
    now = [100.0]
    screen = WebScreen(mono_s=lambda: now[0])

    assert [said["kind"] for said in heard(screen, "recorded", "repeat")] == ["recorded"]
    now[0] += REPEAT_HUSH_S
    assert [said["kind"] for said in heard(screen, "repeat")] == ["repeat"]


def test_failures_are_counted_until_one_punch_succeeds() -> None:
    """The red band stays that long."""
    screen = WebScreen()
    heard(screen, "failed", "failed")
    assert screen.unrecorded == 2

    heard(screen, "recorded")

    assert screen.unrecorded == 0


def test_page_that_comes_back_sees_the_answer_that_is_up() -> None:
    """For some seconds; an old one is not shown again."""
    now = [100.0]
    screen = WebScreen(mono_s=lambda: now[0])
    heard(screen, "refused")
    now[0] += 2.5
    (said,) = screen.standing()
    assert json.loads(said.data.decode().partition("data: ")[2])["age_s"] == 2.5

    now[0] += 60

    assert screen.standing() == []


def test_box_is_mirrored_and_in_shares_of_the_picture() -> None:
    """A face at the left of the camera's picture stands at the right of the mirror."""

    async def story() -> dict[str, object]:
        screen = WebScreen()
        box = screen.pages.open()
        face = face_at(100, 240, 60)
        screen.see(FRAME, face, Rejected(Reason.TOO_SMALL))
        said = await box.take()
        assert said is not None
        return dict(json.loads(said.data.decode().partition("data: ")[2]))

    said = asyncio.run(story())
    shares = said["face"]
    assert isinstance(shares, list)
    left, top, width, height = shares
    assert left + width / 2 == pytest.approx(540 / 640, abs=0.01)
    assert 0 < top < top + height < 1
    assert said["reason"] == "too_small"


def test_nothing_is_made_while_nobody_looks() -> None:
    """Without a page a frame costs a glance at an empty list."""
    screen = WebScreen()

    screen.see(FRAME, face_at(100, 240, 60), Accepted("E1", 0.9))

    assert screen._sight is None


def test_message_cannot_break_out_of_its_line() -> None:
    """A name with line breaks stays one event."""
    said = message("answer", {"who": "a\n\nevent: x\u2028\r\n"})

    assert said.data.count(b"\n") == 3
    assert said.data.endswith(b"\n\n")


def test_page_that_takes_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that does not move for some seconds ends, and its mailbox with it."""
    monkeypatch.setattr(streams, "SEND_PATIENCE_S", 0.05)

    async def story() -> Mailbox:
        box = Mailbox()
        answer = streams.MailboxStream(lambda: box, "text/event-stream", lambda: b"hello")
        never = asyncio.Event()

        async def receive() -> MutableMapping[str, Any]:  # Any: what ASGI says
            await never.wait()
            return {"type": "http.disconnect"}

        async def send(part: MutableMapping[str, Any]) -> None:  # Any: as above
            if part["type"] == "http.response.body":
                await never.wait()

        await asyncio.wait_for(answer({}, receive, send), 20)
        return box

    assert asyncio.run(story()).is_closed


def test_page_that_leaves_closes_its_mailbox() -> None:
    """A closed tab is noticed although nothing is being sent."""

    async def story() -> Mailbox:
        box = Mailbox()
        answer = streams.MailboxStream(lambda: box, "text/event-stream", lambda: b"hello")

        async def receive() -> MutableMapping[str, Any]:  # Any: what ASGI says
            return {"type": "http.disconnect"}

        async def send(_part: MutableMapping[str, Any]) -> None:  # Any: as above
            return None

        await asyncio.wait_for(answer({}, receive, send), 20)
        return box

    assert asyncio.run(story()).is_closed


@pytest.mark.heavy
def test_stuck_page_is_dropped_and_the_kiosk_goes_on(kiosk: Stage) -> None:
    """A page that reads nothing loses its place; frames go on being looked at meanwhile."""
    stuck = socket.socket()
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.connect(("127.0.0.1", int(kiosk.url.rpartition(":")[2])))
    stuck.sendall(b"GET /live.mjpeg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    wait_until(lambda: kiosk.preview_viewers() >= 1)
    before = kiosk.kiosk.health.frames

    wait_until(lambda: kiosk.preview_viewers() == 0)

    assert kiosk.preview_viewers() == 0
    assert kiosk.kiosk.health.frames > before
    stuck.close()
