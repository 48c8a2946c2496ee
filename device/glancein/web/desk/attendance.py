"""Today, days and months, corrections, exports, and the live stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from starlette.responses import JSONResponse, Response, StreamingResponse

from glancein.domain.local_time import local_moment
from glancein.domain.person import check_person_id
from glancein.domain.punches import settle
from glancein.domain.workdays import Presence
from glancein.errors import InputError, NotRecorded
from glancein.types import (
    Becomes,
    CheckIn,
    Correction,
    Direction,
    Event,
    Method,
    OtherDirection,
    OtherPerson,
    OtherTime,
    TimeFix,
    Voided,
)
from glancein.web.desk import tables
from glancein.web.desk.desk import Desk
from glancein.web.desk.page import Pages
from glancein.web.desk.record import (
    Json,
    Sheet,
    event_id,
    event_json,
    punch_json,
    sheet_json,
    standing_json,
)
from glancein.web.security import Call

LONGEST_SPAN = timedelta(days=400)
STREAM_S = 600.0  # then the page asks again, so that an ended session or a lost right ends the stream too
HEARTBEAT_S = 20.0
LATEST = 12


@dataclass(frozen=True, slots=True)
class Attendance:
    """The routes about who was there when."""

    desk: Desk
    pages: Pages

    def today_page(self, call: Call) -> Response:
        """Who is in, late or missing, and what happens at the door."""
        self.desk.audit.note_look(call.who.name, "looked at today")
        names = self._names()
        people = self.desk.record.standings(names)
        counts = {presence.value: sum(p.presence is presence for p in people) for presence in Presence}
        counts["late"] = sum(bool(p.today.late_by) for p in people)
        context = {
            "people": people,
            "names": names,
            "counts": counts,
            "events": [self._described(event) for event in self._latest()],
            "now": self.desk.now(),
            "risk": self.desk.home.settings.delivery == "puback",
        }
        return self.pages.show(call, "today.html", context)

    def month_page(self, call: Call) -> Response:
        """A month of one person, day by day, or of everybody in a table; made to be printed."""
        first, end = self._month(call.query("month"))
        person_id, names = call.query("id"), self._names()
        context: dict[str, object] = {
            "first": first,
            "before": (first - timedelta(days=1)).strftime("%Y-%m"),
            "after": end.strftime("%Y-%m"),
            "hours": self.desk.hours,
            "now": self.desk.now(),
            "names": names,
        }
        self.desk.audit.note(
            call.who.name, "looked at a month", about=person_id, detail=first.strftime("%Y-%m")
        )
        if not person_id:
            context["sheets"] = self.desk.record.sheets(names, first, end)
            return self.pages.show(call, "month.html", context)
        sheet = self._sheet(person_id, (first, end))
        context["sheet"] = sheet
        context["calendar"] = [first + timedelta(days=n) for n in range((end - first).days)]
        context["corrected"] = [
            punch
            for day in sheet.days
            for pair in day.pairs
            for punch in (pair.came, pair.left)
            if punch is not None and punch.corrections
        ]
        context["by_day"] = {day.day: day for day in sheet.days}
        return self.pages.show(call, "days.html", context)

    def today(self, call: Call) -> Response:
        """Everybody enrolled: where they are, since when, how late."""
        self.desk.audit.note_look(call.who.name, "looked at today")
        names = self._names()
        rows = [standing_json(p, names[p.person_id]) for p in self.desk.record.standings(names)]
        return JSONResponse({"at": self.desk.now().isoformat(), "people": rows})

    def days(self, call: Call) -> Response:
        """One person's days with pairs of in and out, and every correction."""
        first, end = self._span(call)
        person_id = call.request.path_params["person_id"]
        sheet = self._sheet(person_id, (first, end))
        self._note_look(call, "looked at days", person_id, (first, end))
        return JSONResponse(sheet_json(sheet, first, end))

    def events(self, call: Call) -> Response:
        """Every check-in of a span as it stands now, with its corrections."""
        first, end = self._span(call)
        rows = [punch_json(p) for p in self.desk.record.punches(first, end, call.query("id") or None)]
        self._note_look(call, "looked at events", call.query("id"), (first, end))
        return JSONResponse({"from": str(first), "to": str(end - timedelta(days=1)), "events": rows})

    def correct(self, call: Call) -> Response:
        """Say what a check-in should have been; it stays, the correction is an event of its own."""
        fields = call.fields
        correction = Correction(
            event_id(fields["event"]),
            self._becomes(fields),
            reason=tables.one_line(fields["reason"], "the reason"),
            by=_by(call),
            moment=self.desk.clock.now(),
            method=Method.MANUAL,
        )
        about, becomes = fields["event"], fields["becomes"]
        with self.desk.audit.noting(call.who.name, "corrected", about=about, detail=becomes):
            try:
                event = self.desk.ledger.record(correction)
            except NotRecorded as err:
                if isinstance(err.__cause__, InputError):  # what was asked for is at fault, not the disk
                    raise err.__cause__ from err
                raise
        return JSONResponse({"event": event.id.word}, 201)

    def add_punch(self, call: Call) -> Response:
        """Write down a punch that nobody made at the kiosk, such as a forgotten check-out.

        When it is noted and when it was are two things: the second is said by a correction, with the reason.
        """
        fields = call.fields
        person_id, _ = self._in_the_record(fields["id"])
        now, wall = self.desk.clock.now(), self._time(fields, "time")
        reason = tables.one_line(fields["reason"], "the reason")
        noted = CheckIn(
            person_id=person_id,
            direction=_direction(fields["direction"]),
            moment=now,
            score_cos=0.0,
            threshold_cos=0.0,
            model_sha256="",
            method=Method.MANUAL,
            reason="manual",
        )
        self._check_new(noted, wall)
        detail = f"{fields['direction']} {wall:%Y-%m-%d %H:%M}"
        with self.desk.audit.noting(call.who.name, "noted a punch", about=person_id, detail=detail):
            event = self.desk.ledger.note(
                noted, lambda name: Correction(name, OtherTime(wall), reason=reason, by=_by(call), moment=now)
            )
        return JSONResponse({"event": event.id.word}, 201)

    def export(self, call: Call) -> Response:
        """The days of everybody, or of one person, as CSV or XLSX; no cell is a formula."""
        first, end = self._span(call)
        person_id, kind = call.query("id"), call.request.path_params["kind"]
        if person_id:
            sheets = [self._sheet(person_id, (first, end))]
        else:
            sheets = self.desk.record.sheets(self._names(), first, end)
        rows = tables.day_rows(sheets, self.pages.words_for(call), zone=self.desk.zone)
        if kind not in tables.KINDS:
            raise InputError("a table is export.csv or export.xlsx")
        self._note_look(call, f"exported {kind}", person_id, (first, end))
        write, media = tables.KINDS[kind]
        name = f"attendance-{first}-{end - timedelta(days=1)}.{kind}"
        disposition = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(write(rows), media_type=media, headers=disposition)

    async def stream(self, _: Call) -> Response:
        """New events as server-sent events, as they are recorded."""
        listener = self.desk.live.listen()

        async def messages() -> AsyncIterator[bytes]:
            loop = asyncio.get_running_loop()
            ends = loop.time() + STREAM_S
            try:
                yield b"retry: 2000\n: hello\n\n"
                while (left := ends - loop.time()) > 0:
                    try:
                        yield await asyncio.wait_for(listener.queue.get(), min(HEARTBEAT_S, left))
                    except TimeoutError:
                        yield b": still here\n\n"
            finally:
                self.desk.live.leave(listener)

        headers = {"x-accel-buffering": "no"}
        return StreamingResponse(messages(), media_type="text/event-stream", headers=headers)

    def message(self, event: Event) -> bytes:
        """An event as a server-sent event."""
        return f"event: punch\ndata: {json.dumps(self._described(event), ensure_ascii=False)}\n\n".encode()

    def _described(self, event: Event) -> Json:
        name = self.desk.people.name_of(event.body.person_id) if isinstance(event.body, CheckIn) else None
        return event_json(event, name or "", self.desk.hours)

    def _names(self) -> dict[str, str]:
        """Id -> name of everybody enrolled."""
        return {person.person_id: person.name for person in self.desk.people.people()}

    def _latest(self) -> list[Event]:
        where = self.desk.ledger.position()
        events = self.desk.ledger.replay(where.epoch, max(1, where.seq - LATEST + 1), LATEST)
        day_ago = self.desk.now() - timedelta(days=1)
        recent = [event for event in reversed(events) if event.body.moment.wall >= day_ago]
        return [event for event in recent if not isinstance(event.body, TimeFix)]

    def _note_look(self, call: Call, did: str, about: str, span: tuple[date, date]) -> None:
        self.desk.audit.note(call.who.name, did, about=about, detail=f"from {span[0]} to before {span[1]}")

    def _sheet(self, person_id: str, span: tuple[date, date]) -> Sheet:
        return self.desk.record.sheet(*self._in_the_record(person_id), *span)

    def _in_the_record(self, text: str) -> tuple[str, str]:
        """Id and name of who is enrolled, or of a leaver with punches, who has no name. Raises InputError."""
        person_id = check_person_id(text)
        name = self.desk.people.name_of(person_id)
        if name is None and not self.desk.ledger.latest_of(person_id, 1):
            raise InputError(f"nobody is enrolled as {person_id}")
        return person_id, name or ""

    def _enrolled(self, text: str) -> str:
        person_id = check_person_id(text)
        if self.desk.people.name_of(person_id) is None:
            raise InputError(f"nobody is enrolled as {person_id}")
        return person_id

    def _check_new(self, noted: CheckIn, wall: datetime) -> None:
        """Raises InputError where the person has a punch of that direction and minute that counts."""
        begin = wall.astimezone(UTC).replace(second=0, microsecond=0)
        end = begin + timedelta(minutes=1)
        for punch in settle(self.desk.ledger.between(begin, end, noted.person_id), first=begin, end=end):
            same = (punch.person_id, punch.direction) == (noted.person_id, noted.direction)
            if same and not punch.is_void:
                raise InputError("this punch is noted already")

    def _month(self, text: str) -> tuple[date, date]:
        try:
            first = date.fromisoformat(f"{text}-01") if text else self.desk.now().date().replace(day=1)
            end = (first + timedelta(days=32)).replace(day=1)
            self._check_calendar(first, end)
        except (ValueError, OverflowError):
            raise InputError(f"month {text[:20]!r} is not written as 2026-11") from None
        return first, end

    def _span(self, call: Call) -> tuple[date, date]:
        """From a day on and before another; this month unless said."""
        first, end = self._month(call.query("month"))
        try:
            if call.query("from"):
                first = date.fromisoformat(call.query("from"))
                end = first + timedelta(days=1)
            if call.query("to"):
                end = date.fromisoformat(call.query("to")) + timedelta(days=1)
            self._check_calendar(first, end)
        except (ValueError, OverflowError):
            raise InputError("days are written as 2026-11-30") from None
        if not first < end <= first + LONGEST_SPAN:
            raise InputError(f"the last day is before the first, or it is more than {LONGEST_SPAN.days} days")
        return first, end

    def _check_calendar(self, first: date, end: date) -> None:
        """Raises ValueError or OverflowError where the calendar has no room around the span."""
        for day in (first - timedelta(days=3), end + timedelta(days=3)):
            self.desk.record.midnight(day).timestamp()

    def _time(self, fields: Mapping[str, str], name: str) -> datetime:
        """The moment of a browser's field, with the offset that may stand beside it. Raises InputError."""
        text = fields.get(name, "").strip()
        offset = fields.get("offset", "").strip()
        moment = local_moment(f"{text}{offset}", self.desk.zone)
        try:
            self._check_calendar(moment.date(), moment.date())
        except (ValueError, OverflowError):
            raise InputError(f"{text[:40]!r} is not a time such as 2026-11-30T17:30") from None
        if moment > self.desk.now():
            raise InputError("this time is still to come")
        return moment

    def _becomes(self, fields: Mapping[str, str]) -> Becomes:
        value = fields.get("value", "").strip()
        match fields["becomes"]:
            case "void":
                return Voided()
            case "direction":
                return OtherDirection(_direction(value))
            case "time":
                return OtherTime(self._time(fields, "value"))
            case "person":
                return OtherPerson(self._enrolled(value))
        raise InputError("becomes is one of void, direction, time, person")


def _direction(text: str) -> Direction:
    try:
        return Direction(text)
    except ValueError:
        raise InputError("a direction is in or out") from None


def _by(call: Call) -> str:
    return f"desk:{call.who.name}"[:64]
