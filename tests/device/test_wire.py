"""Payloads and topics: golden, round trip, schema, and hostile bytes."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.device.punches import EPOCH, chain, check_in, correction_of, event, moment

from glancein.domain import wire
from glancein.domain.event_body import as_sent
from glancein.domain.strict_json import LARGEST_SEQ
from glancein.errors import FeedError, InputError, SettingsError
from glancein.types import (
    Becomes,
    Body,
    CheckIn,
    ClockTrust,
    Correction,
    Direction,
    Event,
    EventId,
    Method,
    Moment,
    OtherDirection,
    OtherPerson,
    OtherTime,
    TimeFix,
    Voided,
)

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden"
SCHEMAS = HERE.parents[1] / "docs" / "schemas"
BERLIN = ZoneInfo("Europe/Berlin")
# With the wide space of a Japanese keyboard, a no-break space, a joiner, a letter of a company's own font.
NAMES = ["김철수", "山田\u3000太郎", "Jean\u00a0Dupont", "ශ්\u200dරී", "渡\ue000"]

words = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=20).filter(
    str.isprintable
)
ids = words.map(lambda text: unicodedata.normalize("NFC", text)).filter(str.isprintable)
cosines = st.floats(-1, 1)
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.builds(
    Moment,
    wall=st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=offsets),  # noqa: DTZ001
    mono_s=st.floats(0, 1e9),
    boot_id=words,
    trust=st.sampled_from(ClockTrust),
)
check_ins = st.builds(
    CheckIn,
    person_id=ids,
    direction=st.sampled_from(Direction),
    moment=moments,
    score_cos=cosines,
    threshold_cos=cosines,
    model_sha256=st.sampled_from(["", "0f" * 32]),
    method=st.sampled_from(Method),
    reason=words,
)
corrections = st.builds(
    Correction,
    of=st.builds(EventId, st.just("door-1"), st.just(EPOCH), st.integers(1, LARGEST_SEQ)),
    becomes=st.one_of(
        st.builds(Voided),
        st.builds(OtherPerson, ids),
        st.builds(OtherDirection, st.sampled_from(Direction)),
        st.builds(OtherTime, st.datetimes(datetime(1970, 1, 2), timezones=offsets)),  # noqa: DTZ001
    ),
    reason=words,
    by=words,
    moment=moments,
    method=st.sampled_from(Method),
)
time_fixes = st.builds(TimeFix, moments, st.floats(-1e9, 1e9))
bodies: st.SearchStrategy[Body] = st.one_of(check_ins, corrections, time_fixes)


def with_seq(body: Body, seq: int, name: str | None) -> Event:
    """An event that says this."""
    return Event("hq", "door-1", EPOCH, seq, "cd" * 32, as_sent(body), name)


@pytest.mark.parametrize("utc", [(10, 25, 0, 30), (10, 25, 1, 30), (3, 29, 0, 59), (3, 29, 1, 0)], ids=str)
def test_time_around_the_change_of_clocks_survives_the_wire(utc: tuple[int, int, int, int]) -> None:
    """In the hour that comes twice, and on both sides of the one that never comes."""
    wall = datetime(2026, *utc, tzinfo=UTC).astimezone(BERLIN)

    sent = with_seq(check_in(at=moment(wall=wall)), 1, None)

    assert wire.decode_event(wire.encode_event(sent)) == sent
    assert sent.body.moment.wall.isoformat() == wall.isoformat()


@pytest.mark.parametrize("text", ["2025-10-26T02:30", "2025-03-30T02:30"])
def test_correction_to_a_time_that_came_twice_or_never_survives_the_wire(text: str) -> None:
    """HR's page has no way to say which; Python takes the first, or counts on from before the gap."""
    wall = datetime.fromisoformat(text).replace(tzinfo=BERLIN)

    sent = with_seq(correction_of(event(), OtherTime(wall)), 2, None)

    assert wire.decode_event(wire.encode_event(sent)) == sent


@pytest.mark.parametrize("name", [7, ["Ada"], "", "x" * 201, "A\nda", "a\x1b[31m", "A\u2028da"], ids=repr)
def test_name_that_cannot_be_enrolled_is_refused(name: object) -> None:
    """By the rules of enrolment, which end at what would break a line."""
    payload = json.loads(wire.encode_event(chain(1)[0])) | {"name": name}

    with pytest.raises(FeedError, match="name"):
        wire.decode_event(json.dumps(payload).encode())


@given(body=bodies, seq=st.integers(1, LARGEST_SEQ), name=st.none() | st.sampled_from(NAMES))
def test_event_survives_the_wire(body: Body, seq: int, name: str | None) -> None:
    """Whatever can be recorded reads back equal, and encoding it again gives the same bytes."""
    sent = with_seq(body, seq, name)

    payload = wire.encode_event(sent)

    assert wire.decode_event(payload) == sent
    assert wire.encode_event(wire.decode_event(payload)) == payload


@given(body=bodies)
def test_every_event_fits_the_published_schema(body: Body) -> None:
    """The JSON Schema in the documentation describes what is really sent."""
    _validator("event").validate(json.loads(wire.encode_event(with_seq(body, 7, None))))


def test_golden_event_is_unchanged(*, update_golden: bool) -> None:
    """Subscribers in the field read exactly these bytes."""
    first = chain(1)[0]
    second = Event(
        "hq",
        "door",
        EPOCH,
        2,
        wire.event_hash(first),
        as_sent(
            CheckIn(
                "E1024",
                Direction.OUT,
                Moment(
                    datetime(2026, 3, 2, 18, 5, 9, 120000, timezone(timedelta(hours=9))),
                    86_400.5,
                    "34dfe272-9c93-4de3-9131-e4a7bc861f0a",
                    ClockTrust.HOLDOVER,
                ),
                0.70494,
                0.4,
                "ab" * 32,
            )
        ),
        "Zoë 김",
    )

    _golden("event_first.json", wire.encode_event(first), update=update_golden)
    _golden("event_with_name.json", wire.encode_event(second), update=update_golden)


@pytest.mark.parametrize(
    ("name", "becomes"),
    [
        ("void", Voided()),
        ("person", OtherPerson("E2")),
        ("direction", OtherDirection(Direction.OUT)),
        ("time", OtherTime(datetime(2026, 3, 2, 8, 55, tzinfo=UTC))),
    ],
)
def test_golden_correction_is_unchanged(name: str, becomes: Becomes, *, update_golden: bool) -> None:
    """What a correction makes of a check-in, byte for byte."""
    first = chain(1)[0]
    said = Correction(first.id, becomes, "forgot the badge", "hr.lee", moment(60))
    correction = Event("hq", "door", EPOCH, 2, wire.event_hash(first), as_sent(said))

    _golden(f"event_correction_{name}.json", wire.encode_event(correction), update=update_golden)


def test_golden_time_fix_is_unchanged(*, update_golden: bool) -> None:
    """The true time at an instant of the monotonic clock, byte for byte."""
    first = chain(1)[0]
    fix = Event("hq", "door", EPOCH, 2, wire.event_hash(first), TimeFix(moment(600), -7_776_000.25))

    _golden("event_time_fix.json", wire.encode_event(fix), update=update_golden)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("becomes", {}),
        ("becomes", {"void": False}),
        ("becomes", {"void": True, "person_id": "E2"}),
        ("becomes", {"colour": "red"}),
        ("becomes", {"direction": "up"}),
        ("becomes", {"time": "yesterday"}),
        ("becomes", "void"),
        ("of", 3),
        ("of", {"kiosk": "door", "epoch": EPOCH, "seq": 0}),
        ("by", ""),
        ("reason", "x" * 201),
        ("method", "guess"),
        ("kind", "rumour"),
    ],
)
def test_correction_with_a_wrong_field_is_refused_in_words(field: str, value: object) -> None:
    """Half a correction corrects nothing."""
    said = Correction(event().id, Voided(), "double", "hr.lee", moment())
    body = json.loads(wire.encode_event(Event("hq", "door", EPOCH, 2, "ab" * 32, said))) | {field: value}

    with pytest.raises(FeedError):
        wire.decode_event(json.dumps(body).encode())


def test_correction_that_no_reader_would_accept_is_not_sent() -> None:
    """The error comes where it is made, not at HR."""
    with pytest.raises(InputError, match="reason"):
        as_sent(Correction(event().id, Voided(), "", "hr.lee", moment()))
    with pytest.raises(InputError, match="offset"):
        as_sent(Correction(event().id, OtherTime(datetime(2026, 3, 2)), "late", "hr", moment()))  # noqa: DTZ001


def test_golden_control_messages_are_unchanged(*, update_golden: bool) -> None:
    """Acknowledgement, refusal, resend, state and last will, byte for byte."""
    state = wire.KioskState("hq", "door", online=True, epoch=EPOCH, seq=9, history_from=1, backlog=2)
    ack = wire.Acknowledgement(EPOCH, 9, "cd" * 32, "payroll")

    _golden("ack.json", wire.encode_acknowledgement(ack), update=update_golden)
    refusal = wire.Refusal(EPOCH, 9, "cd" * 32, wire.RefusedFor.FORK, "number 9 came before", "payroll")
    _golden("refuse.json", wire.encode_refusal(refusal), update=update_golden)
    _golden("resend.json", wire.encode_resend(wire.Resend(3, 8, EPOCH)), update=update_golden)
    left_out = wire.LeftOut("hq", event().id, wire.NO_HASH, "cd" * 32, "Packet too large")
    _golden("left-out.json", wire.encode_left_out(left_out), update=update_golden)
    lost = replace(left_out, words="its record is damaged", is_lost=True)
    _golden("left-out_lost.json", wire.encode_left_out(lost), update=update_golden)
    _golden(
        "ack_batch.json",
        wire.encode_acknowledgement(replace(ack, batch=wire.LARGEST_BATCH)),
        update=update_golden,
    )
    _golden("state_online.json", wire.encode_state(state), update=update_golden)
    _golden(
        "state_will.json",
        wire.encode_state(wire.KioskState("hq", "door", online=False)),
        update=update_golden,
    )


def test_golden_batch_has_the_same_bytes_as_its_events_alone(*, update_golden: bool) -> None:
    """A line for each event, and every line is an event of the published schema."""
    alone = [wire.encode_event(one) for one in chain(2)]

    _golden("batch.jsonl", wire.join_batch(alone), update=update_golden)
    lines = wire.split_batch((GOLDEN / "batch.jsonl").read_bytes().rstrip())
    assert lines == alone
    for line in lines:
        _validator("event").validate(json.loads(line))


def test_batch_larger_than_anybody_asks_for_is_refused() -> None:
    """Before it is taken apart."""
    with pytest.raises(FeedError, match="bytes"):
        wire.split_batch(b"{}\n" * wire.LARGEST_BATCH)


def test_what_stands_in_for_an_event_survives_the_wire() -> None:
    """And is told from an event."""
    left_out = wire.LeftOut("hq", event().id, "ab" * 32, "cd" * 32, "Packet too large")

    assert wire.decode_left_out(wire.encode_left_out(left_out)) == left_out
    lost = replace(left_out, is_lost=True)
    assert wire.decode_left_out(wire.encode_left_out(lost)) == lost
    assert wire.decode_left_out(wire.encode_event(event())) is None
    with pytest.raises(FeedError, match="kind"):
        wire.decode_event(wire.encode_left_out(left_out))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.name)
def test_golden_payload_fits_its_schema(path: Path) -> None:
    """Every golden payload is described by the schema that is named after its message."""
    kind = path.stem.split("_")[0]

    _validator(kind).validate(json.loads(path.read_bytes()))


def test_control_messages_survive_the_wire() -> None:
    """Acknowledgement, refusal, resend and state read back equal."""
    ack = wire.Acknowledgement(EPOCH, 12, None, "hr", 4096)
    resend = wire.Resend(5, batch=4096)
    refusal = wire.Refusal(EPOCH, 4, "0f" * 32, wire.RefusedFor.UNACCEPTABLE)
    state = wire.KioskState("hq", "door", online=True, epoch=EPOCH, seq=0, backlog=0, last_error="no broker")
    state = replace(state, laid_aside=2, second_copy="there is none")

    assert wire.decode_acknowledgement(wire.encode_acknowledgement(ack)) == ack
    assert wire.decode_resend(wire.encode_resend(resend)) == resend
    assert wire.decode_refusal(wire.encode_refusal(refusal)) == refusal
    assert wire.decode_state(wire.encode_state(state)) == state


def test_hash_does_not_depend_on_name_or_signature() -> None:
    """Whoever receives the payload can compute the hash from it, with or without the name."""
    plain = event()
    named = Event("hq", "door", EPOCH, 1, wire.NO_HASH, plain.check_in, "Ada")

    core, signature = wire.payload_core(wire.encode_event(named, signer=lambda _: "signed"))

    assert wire.event_hash(plain) == wire.event_hash(named) == hashlib.sha256(core).hexdigest()
    assert signature == "signed"
    assert core == wire.encode_event(plain)


def test_hash_covers_every_other_field() -> None:
    """A change of any field changes the hash, also of one this version does not know."""
    payload = json.loads(wire.encode_event(event()))
    hashes = {wire.hash_of_core(wire.payload_core(json.dumps(payload).encode())[0])}
    for key in payload:
        changed = {**payload, key: "changed"}
        hashes.add(wire.hash_of_core(wire.payload_core(json.dumps(changed).encode())[0]))
    hashes.add(wire.hash_of_core(wire.payload_core(json.dumps({**payload, "new": 1}).encode())[0]))

    assert len(hashes) == len(payload) + 2


def test_numbers_have_one_spelling() -> None:
    """Whole numbers have no fraction and none has an exponent, so every JSON library writes them alike."""
    payload = wire.encode_event(event(punch=as_sent(check_in(score_cos=1.0))))
    small = wire.encode_event(event(punch=as_sent(check_in(score_cos=0.00004))))
    smallest = wire.encode_event(event(punch=as_sent(check_in(score_cos=0.0001))))

    assert b'"score":1,' in payload
    assert b'"score":0,' in small
    assert b'"score":0.0001,' in smallest


def test_odd_offset_is_sent_as_utc() -> None:
    """An offset with seconds (Seoul before 1908) is not RFC 3339; the moment stays the same."""
    odd = datetime(2026, 3, 2, 12, 0, tzinfo=timezone(timedelta(hours=8, minutes=27, seconds=52)))

    sent = as_sent(check_in(at=moment(wall=odd)))

    assert sent.moment.wall == odd
    assert sent.moment.wall.utcoffset() == timedelta(0)


@pytest.mark.parametrize("mono_ms", [-1, 2**53 - 1, 1.5])
def test_monotonic_clock_that_no_machine_has_is_refused(mono_ms: float) -> None:
    """Longer than a hundred years since the start of the machine; the published schema says the same."""
    body = json.loads(wire.encode_event(event())) | {"mono_ms": mono_ms}

    with pytest.raises(FeedError, match="mono_ms"):
        wire.decode_event(json.dumps(body).encode())
    with pytest.raises(jsonschema.ValidationError):
        _validator("event").validate(body)


@pytest.mark.parametrize("person_id", ["", "a/b", "a+b", "#", "x" * 65, "a\nb", " a", "a\x00"])
def test_check_in_nobody_could_read_is_refused_before_recording(person_id: str) -> None:
    """A poison event never enters the ledger."""
    with pytest.raises(InputError):
        as_sent(check_in(person_id))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b"\xff\xfe",
        b"{}" * 9000,
        b"[" * 10_000,
        b'{"a":' * 3000,
        b'{"schema":"glancein/v1","schema":"glancein/v1"}',
        b'{"schema":NaN}',
        b'{"schema":1e999}',
        b'{"schema":"\\ud800"}',
        b'{"schema":' + b"9" * 5000 + b"}",
    ],
    ids=lambda payload: repr(payload[:24]),
)
def test_hostile_bytes_are_refused_in_words(payload: bytes) -> None:
    """Every reader answers nonsense with one sentence, never with a traceback of something else."""
    for read in (
        wire.decode_event,
        wire.decode_acknowledgement,
        wire.decode_resend,
        wire.decode_refusal,
        wire.decode_state,
    ):
        with pytest.raises(FeedError) as refusal:
            read(payload)
        assert len(str(refusal.value)) < 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(data=st.data())
def test_event_with_a_mutated_field_is_read_or_refused_in_words(data: st.DataObject) -> None:
    """Whatever stands in a field, the reader gives an event or a FeedError."""
    body = json.loads(wire.encode_event(event()))
    target: dict[str, Any] = data.draw(st.sampled_from([body, body["id"]]))  # Any: it is JSON
    target[data.draw(st.sampled_from(sorted(target)))] = data.draw(json_values)

    try:
        read = wire.decode_event(json.dumps(body).encode())
    except FeedError:
        return
    assert wire.decode_event(wire.encode_event(read)) == read


@given(payload=st.binary(max_size=200))
def test_random_bytes_never_escape_as_another_error(payload: bytes) -> None:
    """A FeedError or nothing."""
    with pytest.raises(FeedError):
        wire.decode_event(payload)


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "a b", "-a", "x" * 65, "büro", "a\n"])
def test_site_or_kiosk_that_cannot_stand_in_a_topic_is_refused(name: str) -> None:
    """The settings are told which characters may be used."""
    with pytest.raises(SettingsError, match="cannot be part of a topic"):
        wire.check_segment("kiosk", name)


def test_topic_can_be_taken_apart_again() -> None:
    """Site, kiosk and leaf come back; other topics are refused."""
    assert wire.split_topic(wire.topic("hq", "door-1", "event")) == ("hq", "door-1", "event")
    for wrong in ("glancein/v1/hq/event", "glancein/v2/hq/door/event", "a/b/c/d/e", ""):
        with pytest.raises(FeedError):
            wire.split_topic(wrong)


def test_check_in_without_offset_is_refused() -> None:
    """A time that does not say where it was read is no time."""
    with pytest.raises(InputError, match="offset"):
        as_sent(check_in(at=moment(wall=datetime(2026, 3, 2, 12, 0))))  # noqa: DTZ001
    assert as_sent(check_in(at=moment(wall=datetime(2026, 3, 2, 12, 0, tzinfo=UTC)))) is not None


def _golden(name: str, payload: bytes, *, update: bool) -> None:
    path = GOLDEN / name
    if update:
        path.write_bytes(payload + b"\n")
    assert payload + b"\n" == path.read_bytes()


def _validator(kind: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{kind}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    return jsonschema.Draft202012Validator(schema, format_checker=checker)
