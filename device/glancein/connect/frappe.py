"""Frappe HR's check-in endpoint, as in frappe/hrms, employee_checkin.py (read at 0fc7450)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo

from glancein.connect.http_link import HttpLink, Reply, Site, may_have_done_it, plain, words_of
from glancein.domain.delivery import Answer, Done, Later, Parcel, Punch, Refused, answer_without_punch

METHOD = "hrms.hr.doctype.employee_checkin.employee_checkin.add_log_based_on_employee_field"
# frappe.exceptions: ValidationError 417, DoesNotExistError 404, DuplicateEntryError 409. 404 is also what a
# site without HR answers, so it counts as the event's fault only when Frappe says so.
ABOUT_THE_EVENT = frozenset({404, 409, 417})
# What a look-up says when there is none, or none that this user may read; anything else says nothing.
NOTHING_FOUND = frozenset({200, 403, 404})
SAME_TIMESTAMP = "already has a log with the same timestamp"


@dataclass(frozen=True, slots=True)
class FrappeRules:
    """How Frappe knows people and time.

    ``field`` of Employee holds our person ids. ``zone`` is the time zone of the site's System Settings, in
    which Frappe keeps times without an offset; None: as the kiosk's clock shows.
    """

    field: str = "attendance_device_id"
    zone: tzinfo | None = None


class Frappe:
    """Implements the port Remote: check-ins become Employee Checkin records.

    The endpoint itself refuses a second log of one employee, time and direction; whether a refusal means
    that is asked of Frappe, since its words are in the language of its user.
    """

    most = 1

    def __init__(self, site: Site, token: str, *, rules: FrappeRules | None = None) -> None:
        self._rules = rules or FrappeRules()
        self._link = HttpLink(site, headers={"Authorization": f"token {token}"}, looks_first=True)

    def deliver(self, parcels: Sequence[Parcel]) -> Answer:
        """Hand over one event."""
        (parcel,) = parcels
        if parcel.punch is None or parcel.changed_since:
            return answer_without_punch(parcel, "Frappe")
        try:
            log = self._log(parcel, parcel.punch)
        except OverflowError:
            return Refused(
                f"{parcel.punch.time.isoformat()} is no time that Frappe's zone has; correct it there"
            )
        reply = self._link.post(f"/api/method/{METHOD}", json.dumps(log).encode())
        return reply if isinstance(reply, Later) else self._judge(log, reply)

    def close(self) -> None:
        """Hang up."""
        self._link.close()

    def _judge(self, log: dict[str, str], reply: Reply) -> Answer:
        if reply.status == 200:
            name = _name_in(reply)
            words = f"{self._link} answered HTTP 200, but not as Frappe HR does: {words_of(reply)}"
            return Later(words) if name is None else Done(label=name)
        words = f"{self._link} answered HTTP {reply.status}: {_words(reply)}"
        if METHOD in _words(reply):  # the site has no Frappe HR just now, such as during its update
            return Later(words)
        if reply.status in ABOUT_THE_EVENT and _is_frappe(reply):
            return self._already_there(log, reply) or Refused(words)
        # Some rights are a user's for some employees only; whoever has none for anybody fails at each.
        is_about_all = reply.status < 500 and not _is_about_rights(reply)
        return self._link.busy(reply) or Later(
            words, is_about_all=is_about_all, may_be_there=may_have_done_it(reply)
        )

    def _log(self, parcel: Parcel, punch: Punch) -> dict[str, str]:
        local = punch.time if self._rules.zone is None else punch.time.astimezone(self._rules.zone)
        return {
            "employee_field_value": punch.person_id,
            "timestamp": f"{local:%Y-%m-%d %H:%M:%S}",  # whole seconds: newer versions cut them anyway
            "device_id": f"{parcel.event.site}/{parcel.event.kiosk}",
            "log_type": punch.direction.value.upper(),
            "employee_fieldname": self._rules.field,
        }

    def _already_there(self, log: dict[str, str], refusal: Reply) -> Done | Later | None:
        """What became of an earlier attempt whose answer got lost; Later if nobody says."""
        employee = self._first("Employee", [[self._rules.field, "=", log["employee_field_value"]]])
        if isinstance(employee, Later):
            return employee
        if employee is None:  # no such employee, or one that this user may not read
            return Done(words="it was there already") if SAME_TIMESTAMP in _words(refusal) else None
        same = [
            ["employee", "=", employee],
            ["time", "=", log["timestamp"]],
            ["log_type", "=", log["log_type"]],
        ]
        found = self._first("Employee Checkin", same)
        return Done(found, "it was there already") if isinstance(found, str) else found

    def _first(self, doctype: str, filters: list[list[str]]) -> str | Later | None:
        """The name of the first document like that; None if there is none or it may not be read."""
        query = {"filters": json.dumps(filters), "fields": '["name"]', "limit_page_length": "1"}
        reply = self._link.get(f"/api/resource/{doctype}", query)
        if not isinstance(reply, Later) and reply.status not in NOTHING_FOUND:
            words = f"{self._link} does not say whether it is there: HTTP {reply.status}: {_words(reply)}"
            reply = self._link.busy(reply) or Later(words, is_about_all=False)
        if isinstance(reply, Later):
            return replace(reply, may_be_there=False)  # to ask makes nothing
        match reply.json() if reply.status == 200 else None:
            case {"data": [{"name": str(name)}, *_]}:
                return name
            case _:
                return None


def _is_frappe(reply: Reply) -> bool:
    found = reply.json()
    return isinstance(found, dict) and bool(
        found.keys() & {"exc_type", "exc", "_server_messages", "exception"}
    )


def _is_about_rights(reply: Reply) -> bool:
    found = reply.json()
    return reply.status == 403 and isinstance(found, dict) and found.get("exc_type") == "PermissionError"


def _name_in(reply: Reply) -> str | None:
    found = reply.json()
    message = found.get("message") if isinstance(found, dict) else None
    return str(message["name"]) if isinstance(message, dict) and "name" in message else None


def _words(reply: Reply) -> str:
    """Frappe's own sentence: ``_server_messages`` is JSON in JSON in JSON, ``exception`` a Python line."""
    found = reply.json()
    if not isinstance(found, dict):
        return words_of(reply)
    try:
        messages = [json.loads(message) for message in json.loads(found["_server_messages"])]
        said = " ".join(str(message["message"]) for message in messages if isinstance(message, dict))
    except (KeyError, TypeError, ValueError):
        said = str(found.get("exception") or found.get("exc_type") or "").rpartition("Error: ")[2]
    return plain(said) or words_of(reply)
