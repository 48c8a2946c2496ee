"""What every feed store does with its tables; the SQL is one text that SQLite and PostgreSQL both read."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from glancein.domain import wire
from glancein.domain.delivery import Held, Line, Parcel, Punch, Slip, Standing, State, Tally, punch_of
from glancein.domain.event_body import kind_of
from glancein.domain.punches import settle, true_time
from glancein.storage import feed_sql as sql
from glancein.types import (
    Arrival,
    CheckIn,
    ClockTrust,
    Correction,
    Direction,
    Event,
    Head,
    Moment,
    OtherDirection,
    OtherPerson,
    OtherTime,
    StreamKey,
    StreamTrouble,
    TimeFix,
    TroubleKind,
    Voided,
)

Values = Mapping[str, object]
Row = tuple[object, ...]
ENLISTED_AT_ONCE = 1000
# Whoever can publish can fill this table: of what strangers can cause, so many rows are kept.
MOST_STRANGE = 10_000
STRANGE = (TroubleKind.UNREADABLE, TroubleKind.FORGED, TroubleKind.FOREIGN)


class Engine(Protocol):
    """A database behind the tables. Named parameters are written ``:name``; failures are StoreError."""

    def rows(self, statement: str, values: Values | None = None) -> list[Row]:
        """Run one statement; its rows, if it has any."""

    def many(self, statement: str, batch: Sequence[Values]) -> None:
        """Run one statement for each set of values."""

    def transaction(self) -> AbstractContextManager[object]:
        """All or nothing, durable when the block has ended; two blocks never run at the same time."""

    def only_one(self, name: str) -> AbstractContextManager[object]:
        """The only holder of that name on this database; raises InputError."""

    def close(self) -> None:
        """Let the database go."""


class FeedTables:
    """Implements the ports FeedStore, Shelf and Deliveries on an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.now_s: Callable[[], float] = time.time  # when an event arrives

    def only_one(self, connector: str) -> AbstractContextManager[object]:
        """Nobody else runs that connector on this database meanwhile; raises InputError if somebody does."""
        return self._engine.only_one(connector)

    def close(self) -> None:
        """Let the database go."""
        self._engine.close()

    def heads(self) -> dict[StreamKey, Head]:
        """The last committed event of every stream."""
        rows = self._engine.rows(sql.HEADS)
        return {StreamKey(_text(r[0]), _text(r[1])): Head(_whole(r[2]), _text(r[3])) for r in rows}

    def hash_of(self, key: StreamKey, seq: int) -> str | None:
        """The hash of one committed event, None if it is not here."""
        rows = self._engine.rows(
            sql.HASH_OF,
            {"kiosk": key.kiosk, "epoch": key.epoch, "seq": seq},
        )
        return _text(rows[0][0]) if rows else None

    def commit(self, arrivals: Sequence[Arrival], troubles: Sequence[StreamTrouble]) -> None:
        """Write all of it in one transaction; raises StoreError, and then nothing is written.

        An event that is here already changes nothing.
        """
        with self._engine.transaction():
            self._engine.many(sql.INSERT_EVENT, [self._event_values(arrival) for arrival in arrivals])
            self._engine.many(sql.MOVE_HEAD, [_head_values(arrival) for arrival in arrivals])
            for arrival in arrivals:
                self._consequences(arrival.event)
            self._put_right([arrival.event for arrival in arrivals])
            self._engine.many(sql.INSERT_TROUBLE, [_trouble_values(trouble) for trouble in troubles])
            self._engine.many(sql.MOVE_HEAD, [_passed_values(t) for t in troubles if t.passed is not None])

    def troubles(self, most: int) -> list[StreamTrouble]:
        """What was wrong with the streams, the latest last."""
        rows = self._engine.rows(sql.TROUBLES, {"most": most})
        return [
            StreamTrouble(TroubleKind(_text(r[0])), _text(r[1]), _text(r[2]), _whole(r[3]), _text(r[4]))
            for r in reversed(rows)
        ]

    def after(self, number: int, most: int) -> list[Parcel]:
        """Stored events behind this number, in the order of arrival."""
        return [_parcel(row) for row in self._engine.rows(sql.AFTER, {"number": number, "most": most})]

    def bookmark(self, reader: str) -> int:
        """The number of the last event this reader has done with, 0 if it is new."""
        rows = self._engine.rows(sql.BOOKMARK, {"reader": reader})
        return _whole(rows[0][0]) if rows else 0

    def set_bookmark(self, reader: str, number: int) -> None:
        """This reader has done with every event up to this number; never goes back."""
        with self._engine.transaction():
            self._engine.rows(sql.SET_BOOKMARK, {"reader": reader, "number": number})

    def enlist(self, line: Line) -> Standing:
        """Take new events into a connector's list, and say how it stands. An unknown connector begins."""
        with self._engine.transaction():
            self._engine.rows(sql.BEGIN_CONNECTOR, {"name": line.name, "only_new": int(line.only_new)})
            while self._enlist_some(line):
                pass
            row = self._engine.rows(sql.STANDING, {"name": line.name})[0]
        return _standing(row)

    def due(
        self, connector: str, *, now_s: float, most: int, latest_s: float = math.inf, begun: bool = False
    ) -> list[Parcel]:
        """What to hand over now: in order, and nothing that waits behind an earlier event of its lane.

        What waits for a time behind ``latest_s`` is due: a wrong clock set it. ``begun``: only what belongs
        to a batch that was under way.
        """
        values = {
            "connector": connector,
            "now": now_s,
            "latest": latest_s,
            "most": most,
            "begun": int(begun),
        }
        return [self._completed(connector, _parcel(row)) for row in self._engine.rows(sql.DUE, values)]

    def settle(self, connector: str, slips: Sequence[Slip], standing: Standing) -> None:
        """Write down what became of events and how the connector stands, in one transaction."""
        with self._engine.transaction():
            self._engine.many(
                sql.SETTLE,
                [
                    {
                        "connector": connector,
                        "number": slip.number,
                        "state": slip.state.value,
                        "retry_at": slip.retry_at,
                        "label": slip.label,
                        "words": slip.words,
                        "as_of": slip.as_of,
                        "tried": int(slip.state is not State.PENDING),
                        "at": _now(),
                    }
                    for slip in slips
                ],
            )
            self._engine.rows(
                sql.STAND,
                {
                    "name": connector,
                    "failures": standing.failures,
                    "retry_at": standing.retry_at,
                    "words": standing.words,
                },
            )

    def tallies(self) -> list[Tally]:
        """How many events stand where, for every connector."""
        counts: dict[str, dict[State, int]] = {}
        for name, state, count in self._engine.rows(sql.COUNTS):
            counts.setdefault(_text(name), {})[State(_text(state))] = _whole(count)
        return [
            Tally(_text(row[0]), _standing(row[1:]), counts.get(_text(row[0]), {}))
            for row in self._engine.rows(sql.STANDINGS)
        ]

    def held(self, connector: str, state: State, *, most: int) -> list[Held]:
        """Events that stand there, oldest first."""
        rows = self._engine.rows(sql.HELD, {"connector": connector, "state": state.value, "most": most})
        return [
            Held(
                _whole(row[0]),
                state,
                wire.decode_event(_text(row[1]).encode()),
                _whole(row[2]),
                _real(row[3]),
                _text(row[4] or ""),
            )
            for row in rows
        ]

    def again(self, connector: str, number: int | None) -> int:
        """Try refused and failed events again, one or all of them; returns how many."""
        with self._engine.transaction():
            rows = self._engine.rows(sql.AGAIN, {"connector": connector, "number": number or 0, "at": _now()})
            self._engine.rows(sql.FORGIVE, {"name": connector})
        return len(rows)

    def _completed(self, connector: str, parcel: Parcel) -> Parcel:
        """With what few have: in a batch under way the punch of then, what a time fix came too late for."""
        match parcel.event.body:
            case CheckIn() if parcel.label is not None:
                return replace(parcel, punch=self._punch_as_of(parcel.event, parcel.as_of))
            case TimeFix():
                return replace(parcel, late=tuple(self._late(connector, parcel)))
            case _:
                return parcel

    def _late(self, connector: str, fix: Parcel) -> Iterator[Parcel]:
        """The check-ins that were handed over before that time fix, and whose time follows from it."""
        values = {"connector": connector, "number": fix.number}
        for number, payload, lane in self._engine.rows(sql.LATE, values):
            event = wire.decode_event(_text(payload).encode())
            punch = self._punch_as_of(event, fix.as_of)
            if punch is not None and punch.time_is == "fixed":
                yield Parcel(_whole(number), event, _text(payload).encode(), _text(lane), punch)

    def _punch_as_of(self, event: Event, number: int) -> Punch | None:
        """What a check-in was by the events up to this number."""
        values = {
            "of_kiosk": event.kiosk,
            "of_epoch": event.epoch,
            "of_seq": event.seq,
            "boot_id": event.body.moment.boot_id,
            "as_of": number,
        }
        rows = self._engine.rows(sql.SAID_BY_THEN, values)
        (standing,) = settle(wire.decode_event(_text(row[0]).encode()) for row in rows)
        return punch_of(standing)

    def _enlist_some(self, line: Line) -> bool:
        """One helping of new events; False when there are no more."""
        values: dict[str, object] = {"name": line.name, "most": ENLISTED_AT_ONCE}
        top = self._engine.rows(sql.TOP, values)[0][0]
        if top is None:
            return False
        values = {
            "name": line.name,
            "top": top,
            "hold_s": max(line.hold_s, line.settle_s),
            "settle_s": line.settle_s,
            "fixes": int(line.fixes),
            "now": self.now_s(),
        }
        self._engine.rows(sql.ENLIST, values)
        self._engine.rows(sql.SEEN, {"name": line.name, "top": top})
        return True

    def _event_values(self, arrival: Arrival) -> Values:
        event, moment = arrival.event, arrival.event.body.moment
        common: dict[str, object] = {
            "kind": kind_of(event.body),
            "kiosk": event.kiosk,
            "epoch": event.epoch,
            "seq": event.seq,
            "site": event.site,
            "lane": "",
            "name": event.name,
            **_time_values("time", moment.wall),
            "clock": moment.trust.value,
            "boot_id": moment.boot_id,
            "mono_ms": round(moment.mono_s * 1000),
            "chained": int(arrival.chained),
            "hash": arrival.hash,
            "payload": arrival.payload.decode(),
            "received_s": self.now_s(),
        }
        match event.body:
            case CheckIn() as punch:
                return (
                    _NO_CHECK_IN
                    | common
                    | {
                        "lane": punch.person_id,
                        "person_id": punch.person_id,
                        "direction": punch.direction.value,
                        "score": punch.score_cos,
                        "threshold": punch.threshold_cos,
                        "model_sha256": punch.model_sha256,
                        "method": punch.method.value,
                        "reason": punch.reason,
                    }
                )
            case Correction() as correction:
                return (
                    _NO_CHECK_IN
                    | common
                    | {
                        "method": correction.method.value,
                        "reason": correction.reason,
                    }
                )
            case TimeFix():
                return _NO_CHECK_IN | common

    def _consequences(self, event: Event) -> None:
        """What an event says about others; of times see ``_put_right``."""
        if isinstance(correction := event.body, Correction):
            of = _of_values(correction)
            self._engine.rows(sql.INSERT_CORRECTION, _correction_values(event, correction))
            self._engine.rows(sql.LANE_OF_CORRECTION, _name_values(event) | of)
            if isinstance(correction.becomes, OtherPerson):
                self._engine.rows(sql.LANE_OF_OTHER_PERSON, of)
                self._engine.rows(sql.LANE_OF_DELIVERIES, of)

    def _put_right(self, events: Sequence[Event]) -> None:
        """Give these check-ins the times that time fixes prove; where a fix is new, its whole start's."""
        starts: dict[tuple[str, str], list[Event]] = {}
        for event in events:
            moment = event.body.moment
            if isinstance(event.body, CheckIn) and moment.trust is not ClockTrust.SYNCHRONISED:
                starts.setdefault((event.kiosk, moment.boot_id), []).append(event)
        whole = {(e.kiosk, e.body.moment.boot_id) for e in events if isinstance(e.body, TimeFix)}
        for kiosk, boot_id in whole | starts.keys():
            whose = {"kiosk": kiosk, "boot_id": boot_id}
            fixes = [
                TimeFix(_moment(boot_id, at, mono, ClockTrust.SYNCHRONISED), 0.0)
                for at, mono in self._engine.rows(sql.FIXES, whose)
            ]
            if (kiosk, boot_id) in whole:
                self._fix(boot_id, fixes, self._engine.rows(sql.TO_FIX, whose))
            elif fixes:
                for event in starts[kiosk, boot_id]:
                    name = whose | _name_values(event)
                    self._fix(boot_id, fixes, self._engine.rows(sql.ONE_TO_FIX, name))

    def _fix(self, boot_id: str, fixes: Sequence[TimeFix], rows: Sequence[Row]) -> None:
        """Give check-ins of one start of a kiosk the times that its time fixes prove."""
        fixed: list[Values] = []
        for number, at, mono, before in rows:
            true = true_time(_moment(boot_id, at, mono, ClockTrust.UNSYNCHRONISED), fixes)
            if true is not None and true.isoformat() != before:
                fixed.append({"number": number, **_time_values("fixed", true)})
        self._engine.many(sql.FIX, fixed)
        self._engine.many(sql.RELEASE, [{"number": values["number"]} for values in fixed])


def _parcel(row: Row) -> Parcel:
    number, payload, lane, attempts, label, person_id, direction, time, time_is, as_of, *rest = row
    came_late, changed_since, refused_in = rest
    punch = None
    if person_id is not None:
        moment = datetime.fromisoformat(_text(time))
        punch = Punch(_text(person_id), Direction(_text(direction)), moment, _text(time_is))
    event = wire.decode_event(_text(payload).encode())
    return Parcel(
        number=_whole(number),
        event=event,
        payload=_text(payload).encode(),
        lane=_text(lane),
        punch=punch,
        attempts=_whole(attempts),
        label=None if label is None else _text(label),
        as_of=_whole(as_of),
        came_late=came_late != 0,
        changed_since=changed_since != 0,
        refused_in=None if refused_in is None else datetime.fromisoformat(_text(refused_in)),
    )


def _standing(row: Row) -> Standing:
    return Standing(_whole(row[0]), _real(row[1]), None if row[2] is None else _text(row[2]))


def _moment(boot_id: str, time: object, mono_ms: object, trust: ClockTrust) -> Moment:
    return Moment(datetime.fromisoformat(_text(time)), _whole(mono_ms) / 1000, boot_id, trust)


def _name_values(event: Event) -> dict[str, object]:
    return {"kiosk": event.kiosk, "epoch": event.epoch, "seq": event.seq}


def _head_values(arrival: Arrival) -> Values:
    return _name_values(arrival.event) | {"hash": arrival.hash}


def _of_values(correction: Correction) -> dict[str, object]:
    of = correction.of
    return {"of_kiosk": of.kiosk, "of_epoch": of.epoch, "of_seq": of.seq}


def _correction_values(event: Event, correction: Correction) -> Values:
    changes: dict[str, object] = {
        "voided": 0, "person_id": None, "direction": None, "time": None, "time_utc": None,
    }  # fmt: skip
    match correction.becomes:
        case Voided():
            changes["voided"] = 1
        case OtherPerson(person_id):
            changes["person_id"] = person_id
        case OtherDirection(direction):
            changes["direction"] = direction.value
        case OtherTime(wall):
            changes |= _time_values("time", wall)
    said = {"reason": correction.reason, "by_whom": correction.by}
    return _name_values(event) | _of_values(correction) | changes | said


def _trouble_values(trouble: StreamTrouble) -> Values:
    return {
        "kind": trouble.kind.value,
        "kiosk": trouble.kiosk,
        "epoch": trouble.epoch,
        "seq": trouble.seq,
        "detail": trouble.detail[:2000].replace("\x00", "\\0").encode(errors="replace").decode(),
        "most": MOST_STRANGE if trouble.kind in STRANGE else 2**31,
    }


def _passed_values(trouble: StreamTrouble) -> Values:
    return {"kiosk": trouble.kiosk, "epoch": trouble.epoch, "seq": trouble.seq, "hash": trouble.passed}


def _time_values(name: str, wall: datetime) -> dict[str, object]:
    plain = "fixed_time" if name == "fixed" else name
    return {plain: wall.isoformat(), f"{name}_utc": wall.astimezone(UTC).isoformat()}


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _text(value: object) -> str:
    return str(value)


def _whole(value: object) -> int:
    return int(str(value))


def _real(value: object) -> float:
    return float(str(value))


_NO_CHECK_IN: dict[str, object] = dict.fromkeys(
    ("person_id", "direction", "score", "threshold", "model_sha256", "method", "reason")
)
