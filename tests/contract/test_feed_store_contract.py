"""What every feed store promises: a SQLite file and a PostgreSQL database keep the same words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.device.postgres_server import PostgresServer
from tests.device.punches import EPOCH, NOON, chain, check_in, moment

from glancein.adapters.feed_store import SqliteFeedStore
from glancein.domain import wire
from glancein.domain.delivery import Line, Punch, Slip, Standing, State
from glancein.domain.intake import read_arrival
from glancein.errors import InputError, StoreError
from glancein.storage import feed_sql as sql
from glancein.types import (
    Arrival,
    Body,
    ClockTrust,
    Correction,
    Direction,
    Event,
    EventId,
    Head,
    OtherDirection,
    OtherPerson,
    OtherTime,
    StreamKey,
    StreamTrouble,
    TimeFix,
    TroubleKind,
    Voided,
)

if TYPE_CHECKING:
    from glancein.storage.feed_tables import FeedTables, Row, Values

KEY = StreamKey("door", EPOCH)
HOOK = Line("webhook")
UNSURE = ClockTrust.UNSYNCHRONISED


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One PostgreSQL server for all; each test finds it empty."""
    running = PostgresServer()
    try:
        running.start()
        yield running
    finally:
        running.remove()


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FeedTables]:
    """Each store in turn, empty."""
    if request.param == "sqlite":
        opened: FeedTables = SqliteFeedStore(tmp_path / "feed.db")
    else:
        server: PostgresServer = request.getfixturevalue("server")  # skips where the extra is not installed
        from glancein.adapters.feed_postgres import PostgresFeedStore  # noqa: PLC0415  # an extra

        opened = PostgresFeedStore(server.empty())
    opened.now_s = lambda: 0.0
    yield opened
    opened.close()


def arrivals(*events: Event) -> list[Arrival]:
    """As they come over the feed."""
    return [read_arrival(wire.encode_event(event)) for event in events]


def stream(*bodies: Body, epoch: str = EPOCH) -> list[Event]:
    """Events of one kiosk that say these things, one after the other."""
    events: list[Event] = []
    previous = wire.NO_HASH
    for seq, body in enumerate(bodies, 1):
        events.append(Event("hq", "door", epoch, seq, previous, body))
        previous = wire.event_hash(events[-1])
    return events


def correction(of: Event, becomes: Voided | OtherPerson | OtherDirection | OtherTime) -> Correction:
    """Somebody says otherwise."""
    return Correction(EventId(of.kiosk, of.epoch, of.seq), becomes, "forgot", "hr-1", moment(900))


def punches(store: FeedTables) -> list[tuple[str, str, str, str]]:
    """Person, direction, UTC time and where the time is from, as payroll reads them."""
    standing = [parcel.punch for parcel in store.after(0, 99) if parcel.punch is not None]
    return [
        (punch.person_id, punch.direction.value, punch.time.astimezone(UTC).isoformat(), punch.time_is)
        for punch in standing
    ]


def at(seconds: float) -> str:
    """So many seconds after noon."""
    return (NOON + timedelta(seconds=seconds)).isoformat()


def test_committed_events_are_there_for_good(store: FeedTables) -> None:
    """Heads, hashes and the events themselves, in order."""
    events = chain(3)

    store.commit(arrivals(*events), [])

    assert store.heads() == {KEY: Head(3, wire.event_hash(events[-1]))}
    assert store.hash_of(KEY, 2) == wire.event_hash(events[1])
    assert store.hash_of(KEY, 4) is None
    assert [parcel.event for parcel in store.after(0, 9)] == events
    assert [parcel.event for parcel in store.after(store.after(0, 1)[0].number, 1)] == events[1:2]


def test_committing_again_changes_nothing(store: FeedTables) -> None:
    """At least once on the wire is exactly once here; the head never goes back."""
    events = chain(3)

    store.commit(arrivals(*events), [])
    store.commit(arrivals(*events[:2]), [])

    assert len(store.after(0, 9)) == 3
    assert store.heads()[KEY].seq == 3


def test_failed_commit_writes_nothing(store: FeedTables) -> None:
    """All or nothing."""
    good, bad = arrivals(*chain(2))
    impossible = replace(bad, chained=None)  # type: ignore[arg-type]  # what no store can write

    with pytest.raises(Exception, match=r".+"):
        store.commit([good, impossible], [])

    assert store.heads() == {}
    assert store.after(0, 9) == []


def test_trouble_is_kept_once(store: FeedTables) -> None:
    """The same words about the same event are one row, however long they are."""
    trouble = StreamTrouble(TroubleKind.FORK, "door", EPOCH, 2, "가" * 3000 + "\x00\ud800")

    for _ in range(3):
        store.commit([], [trouble])
    store.commit(arrivals(*chain(1)), [replace(trouble, seq=3)])

    assert store.heads()[KEY].seq == 1


def test_refused_number_counts_as_taken_and_may_still_come(store: FeedTables) -> None:
    """The stream goes on behind an event that was refused; should it come after all, there is room for it."""
    events = arrivals(*chain(3))
    refused = StreamTrouble(TroubleKind.UNREADABLE, "door", EPOCH, 2, "no kind", passed=events[1].hash)

    store.commit([events[0], events[2]], [refused])
    assert store.heads()[KEY].seq == 3
    assert store.hash_of(KEY, 2) is None

    store.commit([events[1]], [])
    assert store.heads()[KEY].seq == 3
    assert store.hash_of(KEY, 2) == events[1].hash


@pytest.mark.parametrize("fix_comes_first", [False, True])
def test_time_fix_gives_the_true_time_and_leaves_the_original(
    store: FeedTables, *, fix_comes_first: bool
) -> None:
    """A kiosk that woke up in 1970 learned the time ten minutes later; the monotonic clock knows the rest."""
    asleep = NOON - timedelta(days=20000)
    early = check_in(at=moment(0, wall=asleep, trust=UNSURE))
    late = check_in("E2", at=moment(300, wall=asleep + timedelta(seconds=300), trust=UNSURE))
    elsewhen = check_in("E3", at=moment(5, wall=asleep, boot="boot-0", trust=UNSURE))
    fix = TimeFix(moment(600), 20000 * 86400)
    bodies: list[Body] = [fix, early, late, elsewhen] if fix_comes_first else [early, late, elsewhen, fix]

    for arrival in arrivals(*stream(*bodies)):
        store.commit([arrival], [])

    assert punches(store) == [
        ("E1", "in", at(0), "fixed"),
        ("E2", "in", at(300), "fixed"),
        ("E3", "in", asleep.isoformat(), "recorded"),
    ]
    recorded = {p.event.check_in.moment.wall for p in store.after(0, 9) if p.punch is not None}
    assert recorded == {asleep, asleep + timedelta(seconds=300)}


def test_check_in_of_a_holdover_clock_costs_no_more_after_many(
    store: FeedTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A week without a time server is stored as fast at its end as at its beginning."""
    ask, read = store._engine.rows, list[int]()

    def counted(statement: str, values: Values | None = None) -> list[Row]:
        rows = ask(statement, values)
        read[-1] += len(rows)
        return rows

    monkeypatch.setattr(store._engine, "rows", counted)
    punched = [check_in(at=moment(60 * n, trust=ClockTrust.HOLDOVER)) for n in range(30)]

    for arrival in arrivals(*stream(TimeFix(moment(-60), 0.0), *punched)):
        read.append(0)
        store.commit([arrival], [])

    assert len(set(read[1:])) == 1
    assert [time_is for *_, time_is in punches(store)] == ["fixed"] * 30


def test_time_fix_among_others_puts_its_whole_start_right_once(
    store: FeedTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came before it and what comes with it, however many come with it."""
    ask, asked = store._engine.rows, list[str]()

    def noted(statement: str, values: Values | None = None) -> list[Row]:
        asked.append(statement)
        return ask(statement, values)

    punched = [check_in(at=moment(60 * n, trust=UNSURE)) for n in range(9)]
    events = arrivals(*stream(*punched[:3], TimeFix(moment(200, wall=NOON), 0.0), *punched[3:]))
    store.commit(events[:2], [])
    monkeypatch.setattr(store._engine, "rows", noted)

    store.commit(events[2:], [])

    assert asked.count(sql.TO_FIX) == 1
    assert punches(store) == [("E1", "in", at(60 * n - 200), "fixed") for n in range(9)]


def test_time_fix_at_the_end_of_the_calendar_stops_nothing(store: FeedTables) -> None:
    """The punch stays as it was recorded, and what comes behind it is taken."""
    end = datetime.max.replace(tzinfo=UTC, microsecond=0)
    unset = check_in(at=moment(3600, trust=UNSURE))
    bodies: list[Body] = [TimeFix(moment(0, wall=end), 0.0), unset, check_in("E2", at=moment(60))]

    store.commit(arrivals(*stream(*bodies)), [])

    assert punches(store) == [("E1", "in", at(3600), "recorded"), ("E2", "in", at(60), "recorded")]


def test_synchronised_time_is_never_touched(store: FeedTables) -> None:
    """A time fix speaks of what nobody could believe."""
    store.commit(arrivals(*stream(check_in(), TimeFix(moment(60), 5.0))), [])

    assert punches(store) == [("E1", "in", at(0), "recorded")]


def test_corrections_show_in_the_punches_and_nowhere_else(store: FeedTables) -> None:
    """The last word on each matter counts; a voided punch does not count; the check-in stays as it was."""
    first, second, third = stream(check_in(), check_in("E2"), check_in("E3"))
    events = stream(
        check_in(),
        check_in("E2"),
        check_in("E3"),
        correction(first, OtherPerson("E8")),
        correction(first, OtherPerson("E9")),
        correction(first, OtherTime(NOON - timedelta(hours=1))),
        correction(second, OtherDirection(Direction.OUT)),
        correction(third, Voided()),
    )

    store.commit(arrivals(*events), [])

    assert punches(store) == [("E9", "in", at(-3600), "corrected"), ("E2", "out", at(0), "recorded")]
    assert [parcel.event for parcel in store.after(0, 99)] == events


def test_bookmark_only_goes_forward(store: FeedTables) -> None:
    """A program of somebody's own goes on where it was."""
    assert store.bookmark("payroll") == 0
    store.set_bookmark("payroll", 7)
    store.set_bookmark("payroll", 3)

    assert (store.bookmark("payroll"), store.bookmark("door-sign")) == (7, 0)


def numbers(store: FeedTables, *, now_s: float = 0.0, line: Line = HOOK) -> list[int]:
    """The sequence numbers of what is due."""
    store.enlist(line)
    return [parcel.event.seq for parcel in store.due(line.name, now_s=now_s, most=99)]


def number_of(store: FeedTables, seq: int) -> int:
    """The store's own number of an event."""
    return next(parcel.number for parcel in store.after(0, 999) if parcel.event.seq == seq)


def test_every_event_is_due_until_it_is_settled(store: FeedTables) -> None:
    """Done and refused events do not come again; what comes later does."""
    store.commit(arrivals(*chain(3)), [])
    assert numbers(store) == [1, 2, 3]

    slips = [Slip(number_of(store, 1), State.DONE), Slip(number_of(store, 2), State.REFUSED, words="no")]
    store.settle("webhook", slips, Standing())
    store.commit(arrivals(*chain(4)), [])

    assert numbers(store) == [3, 4]
    assert numbers(store, line=Line("other")) == [1, 2, 3, 4]
    assert numbers(store, line=Line("late", only_new=True)) == []


def test_failed_event_waits_and_holds_back_its_own_person_only(store: FeedTables) -> None:
    """What follows of the same person must not overtake it."""
    store.commit(arrivals(*stream(check_in("A"), check_in("B"), check_in("A"), check_in("B"))), [])
    numbers(store)

    store.settle("webhook", [Slip(number_of(store, 1), State.FAILED, 100.0, words="busy")], Standing())

    assert numbers(store, now_s=99) == [2, 4]
    assert numbers(store, now_s=100) == [1, 2, 3, 4]


def test_time_that_only_a_wrong_clock_set_holds_back_nothing(store: FeedTables) -> None:
    """Neither the event nor its person's next ones; a time that may be meant still does."""
    store.commit(arrivals(*stream(check_in("A"), check_in("B"), check_in("A"), check_in("B"))), [])
    numbers(store)
    slips = [Slip(number_of(store, 1), State.FAILED, 1e9), Slip(number_of(store, 2), State.FAILED, 1e5)]
    store.settle("webhook", slips, Standing())

    due = store.due("webhook", now_s=0, latest_s=1e5, most=9)

    assert [parcel.event.seq for parcel in due] == [1, 3]


def test_event_from_the_future_waits_no_longer_than_one_of_now(store: FeedTables) -> None:
    """The clock of this machine was ahead when it came."""
    line = Line("odoo", hold_s=3600, settle_s=30)
    unsure = check_in("E2", at=moment(0, trust=UNSURE))
    store.now_s = lambda: 1e9
    store.commit(arrivals(*stream(check_in(), unsure)), [])
    store.now_s = lambda: 100.0

    assert numbers(store, line=line, now_s=129) == []
    assert numbers(store, line=line, now_s=130) == [1]
    assert numbers(store, line=line, now_s=3700) == [1, 2]


def test_unbelievable_time_is_held_until_it_is_fixed_or_the_patience_ends(store: FeedTables) -> None:
    """Payroll does not get a punch of 1970 if the true time comes within the hour."""
    line = Line("odoo", hold_s=3600, fixes=False)
    unsure = check_in(at=moment(0, wall=NOON - timedelta(days=9), trust=UNSURE))
    events = stream(unsure, check_in("E2"), TimeFix(moment(600), 9 * 86400))
    store.commit(arrivals(*events[:2]), [])

    assert numbers(store, line=line, now_s=3599) == [2]
    assert numbers(store, line=line, now_s=3600) == [1, 2]
    store.commit(arrivals(events[2]), [])
    assert numbers(store, line=line, now_s=11) == [1, 2]


def test_time_fix_tells_what_was_handed_over_before_it(store: FeedTables) -> None:
    """Also to a connector that takes none otherwise, such as when nothing was handed over yet."""
    line, asleep = Line("odoo", fixes=False), NOON - timedelta(days=9)
    unsure = [check_in(who, at=moment(0, wall=asleep, trust=UNSURE)) for who in ("A", "B")]
    events = stream(*unsure, TimeFix(moment(600), 9 * 86400), TimeFix(moment(700), 9 * 86400))
    store.commit(arrivals(*events[:2]), [])
    numbers(store, line=line)
    (first, _) = store.due("odoo", now_s=0, most=9)
    store.settle("odoo", [Slip(first.number, State.DONE, as_of=first.as_of)], Standing())
    store.commit(arrivals(*events[2:]), [])

    assert numbers(store, line=line) == [2, 3, 4]
    assert numbers(store, line=Line("new", fixes=False)) == [1, 2]
    due = {parcel.event.seq: parcel for parcel in store.due("odoo", now_s=0, most=9)}
    (late,) = due[3].late
    assert (late.event, late.punch) == (events[0], Punch("A", Direction.IN, NOON, "fixed"))
    assert due[2].late == due[4].late == ()


def test_batch_under_way_has_the_punches_of_when_it_was_put_together(store: FeedTables) -> None:
    """A connector that was killed makes of it what it made before."""
    said = stream(check_in("A"), check_in("B", at=moment(0, wall=NOON - timedelta(days=9), trust=UNSURE)))
    changes = (OtherPerson("C"), OtherPerson("D"), OtherTime(NOON + timedelta(hours=1)), Voided())
    corrections = [correction(said[0], change) for change in changes]
    events = stream(*(e.body for e in said), *corrections, TimeFix(moment(600), 9 * 86400))
    store.commit(arrivals(*events[:3]), [])
    numbers(store, line=Line("csv", fixes=False))
    before = store.due("csv", now_s=0, most=9)
    slips = [Slip(p.number, State.PENDING, label="1", as_of=p.as_of) for p in before]
    store.settle("csv", slips, Standing())
    store.commit(arrivals(*events[3:]), [])

    after = store.due("csv", now_s=0, most=9, begun=True)

    assert [(p.number, p.punch, p.as_of) for p in after] == [(p.number, p.punch, p.as_of) for p in before]
    assert after[0].punch == Punch("C", Direction.IN, NOON, "recorded")


def test_punch_waits_for_being_taken_back(store: FeedTables) -> None:
    """What somebody disowns at the kiosk a moment later never leaves; corrections themselves do not wait."""
    line = Line("odoo", settle_s=30)
    first = stream(check_in())[0]
    store.commit(arrivals(*stream(check_in(), check_in("E2"), correction(first, Voided()))), [])

    assert numbers(store, line=line, now_s=29) == []
    assert numbers(store, line=line, now_s=30) == [1, 2, 3]
    assert store.due("odoo", now_s=30, most=1)[0].punch is None


def test_connector_runs_once_whichever_link_leads_to_the_file(tmp_path: Path) -> None:
    """Cron by one path, the service by another."""
    first = SqliteFeedStore(tmp_path / "feed.db")
    (tmp_path / "link.db").symlink_to(tmp_path / "feed.db")
    second = SqliteFeedStore(tmp_path / "link.db")

    with (
        first.only_one("odoo"),
        pytest.raises(InputError, match="running already"),
        second.only_one("odoo"),
    ):
        pass

    first.close()
    second.close()


def test_what_ends_a_connector_is_not_blamed_on_the_database(store: FeedTables) -> None:
    """Such as the reader of its output, who has gone."""
    with pytest.raises(BrokenPipeError), store.only_one("odoo"):
        raise BrokenPipeError


def test_connector_runs_once_at_a_time(store: FeedTables, tmp_path: Path) -> None:
    """A second one of that name is told; another name is free."""
    if isinstance(store, SqliteFeedStore):
        second: FeedTables = SqliteFeedStore(tmp_path / "feed.db")
    else:
        from glancein.adapters.feed_postgres import PostgresFeedStore  # noqa: PLC0415  # an extra

        second = PostgresFeedStore(store.dsn)  # type: ignore[attr-defined]  # it is one
    with store.only_one("odoo"):
        with pytest.raises(InputError, match="running already"), second.only_one("odoo"):
            pass
        with second.only_one("frappe"):
            pass
    with second.only_one("odoo"):
        pass
    second.close()


def cut_off(server: PostgresServer) -> None:
    """End every connection of ours, as a restart of the server does."""
    import psycopg  # noqa: PLC0415  # an extra

    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        ours = "FROM pg_stat_activity WHERE application_name = 'glancein'"
        connection.execute(f"SELECT pg_terminate_backend(pid, 60000) {ours}")


def test_connector_that_lost_its_connection_still_runs_once(server: PostgresServer) -> None:
    """PostgreSQL lets its lock go with the connection, so the next one takes it again."""
    from glancein.adapters.feed_postgres import PostgresFeedStore  # noqa: PLC0415  # an extra

    first = PostgresFeedStore(server.empty())
    with first.only_one("odoo"):
        cut_off(server)
        with pytest.raises(StoreError):
            first.heads()
        first.heads()
        second = PostgresFeedStore(server.dsn())
        with pytest.raises(InputError, match="running already"), second.only_one("odoo"):
            pass
    with second.only_one("odoo"):
        pass
    first.close()
    second.close()


def test_connector_whose_place_was_taken_meanwhile_does_nothing(server: PostgresServer) -> None:
    """It goes on once the other one has ended."""
    from glancein.adapters.feed_postgres import PostgresFeedStore  # noqa: PLC0415  # an extra

    first = PostgresFeedStore(server.empty())
    with first.only_one("odoo"):
        cut_off(server)
        with pytest.raises(StoreError):
            first.heads()
        second = PostgresFeedStore(server.dsn())
        with second.only_one("odoo"), pytest.raises(StoreError, match="its place is taken"):
            first.heads()
        assert first.heads() == {}
    first.close()
    second.close()


@pytest.mark.parametrize(("given", "patience_ms"), [("", "30000"), ("&tcp_user_timeout=9000", "9000")])
def test_server_that_vanishes_without_a_word_is_waited_for_half_a_minute(
    server: PostgresServer, given: str, patience_ms: str
) -> None:
    """Or as the address says. The system itself would wait for a quarter of an hour, or two hours."""
    from glancein.adapters.feed_postgres import PostgresFeedStore  # noqa: PLC0415  # an extra

    store = PostgresFeedStore(server.empty() + given)
    options = store._engine._connection.info.get_parameters()  # type: ignore[attr-defined]  # PostgreSQL's
    store.close()

    assert options["tcp_user_timeout"] == patience_ms
    assert [options[f"keepalives_{what}"] for what in ("idle", "interval", "count")] == ["15", "5", "3"]


def test_standing_and_tallies_tell_how_it_goes(store: FeedTables) -> None:
    """For ``glancein connect status``: numbers, and the other side's words."""
    store.commit(arrivals(*chain(4)), [])
    numbers(store)
    slips = [
        Slip(number_of(store, 1), State.DONE, label="HR-1"),
        Slip(number_of(store, 2), State.REFUSED, words="no such employee"),
        Slip(number_of(store, 3), State.FAILED, 50.0, words="away"),
    ]
    store.settle("webhook", slips, Standing(2, 50.0, "away"))

    (tally,) = store.tallies()
    (refused,) = store.held("webhook", State.REFUSED, most=9)

    assert tally.standing == store.enlist(HOOK) == Standing(2, 50.0, "away")
    assert tally.counts == {State.DONE: 1, State.REFUSED: 1, State.FAILED: 1, State.PENDING: 1}
    assert (refused.event.seq, refused.words, refused.attempts) == (2, "no such employee", 1)


def test_refused_events_can_be_tried_again(store: FeedTables) -> None:
    """After a person has put right what was wrong there."""
    store.commit(arrivals(*chain(3)), [])
    numbers(store)
    slips = [Slip(number_of(store, seq), State.REFUSED, words="no") for seq in (1, 2, 3)]
    store.settle("webhook", slips, Standing(1, 99.0, "no"))

    assert store.again("webhook", number_of(store, 2)) == 1
    assert numbers(store) == [2]
    assert store.again("webhook", None) == 2
    assert numbers(store) == [1, 2, 3]


def test_label_of_a_batch_under_way_survives(store: FeedTables) -> None:
    """A connector that was killed knows which events it had put together."""
    store.commit(arrivals(*chain(2)), [])
    numbers(store)

    store.settle("webhook", [Slip(number_of(store, 1), State.PENDING, label="batch-1")], Standing())

    parcels = store.due("webhook", now_s=0, most=9)
    assert [(parcel.label, parcel.attempts) for parcel in parcels] == [("batch-1", 0), (None, 0)]


def test_correction_of_what_was_handed_over_is_told_apart(store: FeedTables) -> None:
    """What arrived before the handing over is in it; what came after is for a person to see to."""
    first, second = stream(check_in("A"), check_in("B"))
    early = correction(first, OtherDirection(Direction.OUT))
    late = correction(first, Voided())
    events = stream(check_in("A"), check_in("B"), early, late, correction(second, Voided()))
    store.commit(arrivals(*events[:3]), [])
    numbers(store)
    parcels = store.due("webhook", now_s=0, most=9)
    slips = [Slip(p.number, State.DONE, as_of=p.as_of) for p in parcels if p.event.seq == 1]
    store.settle("webhook", slips, Standing())
    store.commit(arrivals(*events[3:]), [])
    numbers(store)

    due = {parcel.event.seq: parcel for parcel in store.due("webhook", now_s=0, most=9)}

    assert {seq: parcel.came_late for seq, parcel in due.items()} == {2: False, 3: False, 4: True, 5: False}
    assert due[2].punch is None
    assert [due[seq].lane for seq in (2, 3, 4, 5)] == ["B", "A", "A", "B"]


def test_check_in_said_to_be_another_persons_waits_among_that_ones_events(store: FeedTables) -> None:
    """With all that was said about it, taken into the list already or not; by the last word on it."""
    first = stream(check_in("A"))[0]
    becomes = (OtherDirection(Direction.OUT), OtherPerson("B"), OtherPerson("C"), Voided())
    events = stream(check_in("A"), check_in("A"), *(correction(first, change) for change in becomes))
    store.commit(arrivals(*events[:3]), [])
    numbers(store)
    store.commit(arrivals(*events[3:]), [])
    store.commit(arrivals(events[3]), [])

    numbers(store)
    due = store.due("webhook", now_s=0, most=9)

    assert [parcel.lane for parcel in due] == ["C", "A", "C", "C", "C", "C"]
    store.settle("webhook", [Slip(due[0].number, State.FAILED, 100.0)], Standing())
    assert numbers(store, now_s=50) == [2]


def test_strangers_cannot_fill_the_disk(store: FeedTables, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what anybody can cause by publishing nonsense, a bounded number is kept."""
    monkeypatch.setattr("glancein.storage.feed_tables.MOST_STRANGE", 5)
    strange = [StreamTrouble(TroubleKind.UNREADABLE, "door", "", 0, f"nonsense {n}") for n in range(20)]

    store.commit([], strange)

    assert len(store.troubles(99)) == 5
