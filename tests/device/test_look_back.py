"""A feed without a store: what waits at the kiosk is shown once and stays there."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace

import pytest
from rich.console import Console
from tests.contract.fake_broker import URL
from tests.device.punches import EPOCH, chain
from tests.device.test_feed import ONCE, Script, after_connecting, send

from glancein.adapters.feed_mqtt import Feed, FeedRules
from glancein.cli.feed import say_what_waits, show_live
from glancein.domain import look_back, wire
from glancein.domain.intake import Intake
from glancein.domain.look_back import ANSWER_WITHIN_S, Unanswered, waiting_numbers
from glancein.domain.sequence import Missing
from glancein.errors import SettingsError
from glancein.mqtt.link import Message
from glancein.types import Event

STATE_TOPIC = wire.topic("hq", "door", "state")


def state(seq: int, backlog: int, *, online: bool = True, laid_aside: int = 0, oldest: int = 1) -> bytes:
    """The kiosk's word."""
    return wire.encode_state(
        wire.KioskState(
            "hq", "door", online=online, epoch=EPOCH, seq=seq, history_from=oldest, backlog=backlog,
            laid_aside=laid_aside,
        )
    )  # fmt: skip


def script(history: list[Event], told: bytes | None) -> Script:
    """A kiosk with that retained state, which sends again what is in the history."""
    made = Script(history)
    if told is not None:
        made.broker.route(Message(STATE_TOPIC, told, retain=True))
    return made


def seen(intake: Intake, at_s: float, *messages: tuple[str, bytes]) -> list[int]:
    """The numbers that an intake hands out after these messages."""
    for topic, payload in messages:
        intake.take(topic, payload, now_s=at_s)
    return [arrival.event.seq for arrival in intake.finish(now_s=at_s).arrivals]


def sent(event: Event) -> tuple[str, bytes]:
    """As it comes over the feed."""
    return wire.topic("hq", "door", "event"), wire.encode_event(event)


def test_what_waits_is_shown_and_not_acknowledged() -> None:
    """The first look at a kiosk shows its outbox, no more than that, and takes nothing out of it."""
    events = chain(5)
    kiosk = script(events, state(5, 2))

    assert [received.event for received in kiosk.feed(None)] == events[3:]
    assert kiosk.asked == [wire.Resend(4, 5, EPOCH, wire.LARGEST_BATCH)]
    assert kiosk.acknowledged == []


def test_punch_that_comes_first_does_not_hide_what_waits() -> None:
    """Somebody checks in while the kiosk is being asked: it is shown after what waited."""
    events = chain(6)
    kiosk = script(events[:5], state(5, 2))
    feed = kiosk.feed(None)
    after_connecting(feed, kiosk.broker, lambda: send(kiosk.broker, events[5]))

    assert [received.event for received in feed] == events[3:]


def test_reader_that_looks_again_goes_on_where_it_stopped() -> None:
    """What it was not handed the first time comes the second time, and is asked for anew."""
    events = chain(5)
    kiosk = script(events, state(5, 4))
    feed = kiosk.feed(None)

    first = next(received.event for received in feed)

    assert first == events[1]
    assert [received.event for received in feed] == events[2:]
    assert kiosk.asked[-1].from_seq == 3


def test_request_is_signed_with_the_readers_key() -> None:
    """Or a kiosk that trusts certain readers only would not hear it."""
    intake = Intake({}, consumer="hr", seal=wire.Seal(sign=lambda _: "signed by hr"))
    intake.take(STATE_TOPIC, state(2, 2), now_s=0.0)

    ((topic, payload),) = intake.finish(now_s=0.0).answers

    assert topic == "glancein/v1/hq/door/resend"
    assert b'"signature":"signed by hr"' in payload


def test_kiosk_that_does_not_answer_holds_nothing_up() -> None:
    """Two seconds later a look at its stream begins with what has come, and it is told how many wait."""
    intake, events = Intake({}, consumer="hr", only_looks=True), chain(7)

    assert seen(intake, 0.0, (STATE_TOPIC, state(5, 2)), sent(events[5])) == []
    assert intake.is_awaiting
    intake.take(*sent(events[6]), now_s=ANSWER_WITHIN_S)
    turn = intake.finish(now_s=ANSWER_WITHIN_S)

    assert [arrival.event.seq for arrival in turn.arrivals] == [6, 7]
    assert turn.unanswered == [Unanswered("hq", "door", 2)]
    assert not intake.is_awaiting


def test_answer_that_comes_late_is_waited_for_by_who_may_acknowledge() -> None:
    """Or the first commit would let the kiosk forget what it had not sent yet."""
    intake, events = Intake({}, consumer="hr"), chain(6)
    asked, told = [], []
    intake.take(STATE_TOPIC, state(5, 4), now_s=0.0)
    intake.take(*sent(events[5]), now_s=0.5)
    for second in range(120):
        turn = intake.finish(now_s=float(second))
        assert turn.arrivals == []
        asked += [(second, wire.decode_resend(payload).from_seq) for _, payload in turn.answers]
        told += [(second, one) for one in turn.unanswered]

    assert asked == [(second, 2) for second in (0, 2, 6, 14, 30, 62)]
    assert told == [(ANSWER_WITHIN_S, Unanswered("hq", "door", 4))]
    assert not intake.is_awaiting
    assert seen(intake, 120.0, *map(sent, events[1:5])) == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("only_looks", [True, False])
def test_commit_of_who_only_looks_tells_the_kiosk_nothing(*, only_looks: bool) -> None:
    """What waits may not have come yet."""
    events = chain(2)
    kiosk = script(events, state(2, 2))
    for received in kiosk.feed(None, replace(ONCE, only_looks=only_looks)):
        received.commit()

    assert [said.up_to for said in kiosk.acknowledged] == ([] if only_looks else [2])


def test_each_state_is_asked_about_once_and_only_for_what_is_new() -> None:
    """A kiosk whose broker loses punches is asked for those; one that says the same again is left alone."""
    intake, events = Intake({}, consumer="hr"), chain(4)
    asked = []
    for at_s, said in enumerate([state(2, 2), state(2, 2), state(4, 4), state(4, 4)]):
        intake.take(STATE_TOPIC, said, now_s=float(at_s))
        turn = intake.finish(now_s=float(at_s))
        asked += [wire.decode_resend(payload) for _, payload in turn.answers]
        seen(intake, float(at_s), *map(sent, events[:2]))

    assert [(one.from_seq, one.to_seq) for one in asked] == [(1, 2), (3, 4)]


def test_gap_is_asked_for_without_a_store() -> None:
    """What the broker lost on the way is no reason to show nothing more."""
    events = chain(4)
    kiosk = Script(events)
    feed = kiosk.feed(None)
    after_connecting(feed, kiosk.broker, lambda: send(kiosk.broker, events[0], events[3]))

    assert [received.event for received in feed] == events
    assert kiosk.acknowledged == []


@pytest.mark.parametrize(
    ("said", "numbers"),
    [
        (state(9, 3), Missing(7, 9)),
        (state(9, 3, laid_aside=1), Missing(6, 9)),
        (state(9, 9, oldest=4), Missing(4, 9)),
        (state(2, 5), Missing(1, 2)),  # three wait in an earlier epoch
        (state(9, 0), None),
        (state(0, 5), None),
        (state(9, 3, online=False), None),
    ],
)
def test_numbers_that_may_wait(said: bytes, numbers: Missing | None) -> None:
    """The last of the stream, never fewer than wait, never what the kiosk no longer keeps."""
    assert waiting_numbers(wire.decode_state(said)) == numbers


def test_following_feed_says_that_a_kiosk_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, with how many wait and who gets them."""
    monkeypatch.setattr(look_back, "ANSWER_WITHIN_S", 0.0)
    kiosk, words = script([], state(5, 2)), list[str]()

    def note(said: str) -> None:
        words.append(said)
        feed.stop()

    rules = FeedRules(consumer="hr", idle_s=0.1)
    feed = Feed(URL, rules=rules, connect=kiosk.broker.connect, on_error=note)

    assert list(feed) == []
    (told,) = words
    assert told.startswith("kiosk hq/door: 2 events wait there, and did not come when asked for")


@pytest.mark.parametrize(
    ("history", "said_by_kiosk", "said"),
    [
        (
            0,
            None,
            (
                "no kiosk has been at this broker; is one connected, are --site and --kiosk right, "
                "does its access list name this feed?"
            ),
        ),
        (0, state(5, 0), "nothing waits at the kiosks; --follow shows what comes"),
        (
            0,
            state(5, 2),
            "2 wait at kiosk hq/door, which does not answer: does it trust this feed's --signing-key?",
        ),
        (
            3,
            state(9, 9),
            "6 more wait at kiosk hq/door until a feed with a file or database takes the first ones",
        ),
        (
            0,
            state(5, 2, online=False),
            "kiosk hq/door is not connected; what waits there comes when it is back",
        ),
        (2, state(2, 2), ""),
    ],
    ids=["no kiosk", "nothing", "silent", "many", "away", "all shown"],
)
def test_feed_that_ends_says_what_waits(
    history: int,
    said_by_kiosk: bytes | None,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On standard error, one line; nothing where all of it was shown."""
    monkeypatch.setattr(look_back, "ANSWER_WITHIN_S", 0.0)
    kiosk = script(chain(history), said_by_kiosk)
    feed = kiosk.feed(None)
    shown = Counter((received.event.site, received.event.kiosk) for received in feed)

    say_what_waits(feed, shown)

    assert capsys.readouterr().err == (f"glancein: {said}\n" if said else "")


def test_kiosks_of_two_sites_with_one_name_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """What was shown of one is not taken for shown of the other."""
    feed = script([], None).feed(None)
    for site in ("seoul", "busan"):
        feed.states[site, "kiosk-1"] = wire.KioskState(
            site, "kiosk-1", online=True, epoch=EPOCH, seq=3, backlog=3
        )

    say_what_waits(feed, Counter({("seoul", "kiosk-1"): 3}))

    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("glancein: 3 wait at kiosk busan/kiosk-1, which does not answer")


def test_live_view_says_on_one_line_that_it_waits() -> None:
    """Before the first punch there is no table whose columns could hold a title."""
    terminal = io.StringIO()
    show_live(iter([]), Console(file=terminal, force_terminal=True, width=80))

    assert "waiting for punches" in terminal.getvalue()
    assert "┃" not in terminal.getvalue()


@pytest.mark.parametrize("rules", [{"site": "a/b"}, {"kiosk": "#"}, {"kiosk": ""}])
def test_names_that_no_topic_can_hold_are_refused(rules: dict[str, str]) -> None:
    """Before anything is connected or written."""
    with pytest.raises(SettingsError, match="cannot be part of a topic"):
        FeedRules(site=rules.get("site", "+"), kiosk=rules.get("kiosk", "+"))


def test_feed_that_ends_soon_waits_for_who_owes_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is not left out because the feed was about to end."""
    monkeypatch.setattr(look_back, "ANSWER_WITHIN_S", 0.3)
    events = chain(6)
    kiosk = script([], state(5, 2))
    feed = kiosk.feed(None, replace(ONCE, only_looks=True))
    after_connecting(feed, kiosk.broker, lambda: send(kiosk.broker, events[5]))

    assert [received.event for received in feed] == events[5:]
