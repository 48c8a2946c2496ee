"""Odoo's attendances over JSON-RPC; the rules are those of hr_attendance.py (read at 00ca984)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from glancein.connect.http_link import HttpLink, Site, may_have_done_it, plain, words_of
from glancein.domain.delivery import Answer, Done, Later, Parcel, Punch, Refused, answer_without_punch
from glancein.types import Direction

ABOUT_THE_EVENT = frozenset({"ValidationError", "UserError", "MissingError", "RedirectWarning"})
# AccessError is not among them: some rights are a user's for some employees only.
ABOUT_ALL = frozenset({"AccessDenied", "SessionExpiredException"})


@dataclass(frozen=True, slots=True)
class OdooLogin:
    """Whose rights are used. ``secret`` is a password or, better, an API key of that user."""

    database: str
    user: str
    secret: str = field(repr=False)
    employee_field: str = "barcode"  # Badge ID: the field of hr.employee that holds our person ids


class OdooError(Exception):
    """Odoo's own error: the Python class there, and its sentence."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


class NotNowError(Exception):
    """There was no answer to make sense of."""

    def __init__(self, later: Later) -> None:
        super().__init__(later.words)
        self.later = later


class Odoo:
    """Implements the port Remote: an in opens an attendance, an out closes the person's open one.

    Odoo allows one open attendance for each employee and no two that overlap. What is there already is
    looked up first, so handing over again changes nothing.
    """

    most = 1

    def __init__(self, site: Site, login: OdooLogin) -> None:
        self._login = login
        self._link = HttpLink(site, looks_first=True)
        self._user_id: int | None = None
        self._calls = 0

    def deliver(self, parcels: Sequence[Parcel]) -> Answer:
        """Hand over one event."""
        (parcel,) = parcels
        if parcel.punch is None or parcel.changed_since:
            return answer_without_punch(parcel, "Odoo")
        try:
            return self._record(parcel, parcel.punch)
        except NotNowError as err:
            return err.later
        except OdooError as err:
            words = f"{self._link}: {err}"
            if err.kind in ABOUT_THE_EVENT:
                return Refused(words)
            self._user_id = None
            return Later(words, is_about_all=err.kind in ABOUT_ALL)

    def close(self) -> None:
        """Hang up."""
        self._link.close()

    def _record(self, parcel: Parcel, punch: Punch) -> Answer:
        employees = self._model(
            "hr.employee", "search_read", [[[self._login.employee_field, "=", punch.person_id]]],
            fields=["id"], limit=2,
        )  # fmt: skip
        match employees:
            case [{"id": int(employee)}] if _is_id(employee):
                pass
            case [] | [{"id": int()}, {"id": int()}]:
                what = "more than one employee" if employees else "no employee"
                return Refused(f"{self._link}: {what} with {self._login.employee_field} {punch.person_id!r}")
            case _:
                raise self._odd("search_read", employees)
        if punch.direction is Direction.IN:
            return self._open(employee, punch.time)
        return self._close_open_one(employee, _utc(punch.time), refused_in=parcel.refused_in)

    def _open(self, employee: int, time: datetime) -> Answer:
        at = _utc(time)
        found = self._search([["employee_id", "=", employee], ["check_in", "in", [at, _minute(time)]]])
        if found is not None:
            return Done(f"hr.attendance {found}", "it was there already")
        made = self._model("hr.attendance", "create", [{"employee_id": employee, "check_in": at}])
        if not _is_id(made):
            raise self._odd("create", made, may_be_there=True)
        return Done(f"hr.attendance {made}")

    def _close_open_one(self, employee: int, at: str, *, refused_in: datetime | None) -> Answer:
        found = self._search([["employee_id", "=", employee], ["check_out", "=", at]])
        if found is not None:
            return Done(f"hr.attendance {found}", "it was there already")
        is_open: list[list[object]] = [["employee_id", "=", employee], ["check_out", "=", False]]
        is_open.append(["check_in", "<=", at])
        if refused_in is not None:
            # An older one is of an earlier day, its check-out forgotten; this one was put in by hand instead.
            is_open.append(["check_in", ">=", _minute(refused_in)])
        still_open = self._search(is_open)
        if still_open is None and refused_in is not None:
            return Refused(
                f"{self._link}: the check-in before this check-out was refused; put that right there, then "
                "try both again"
            )
        if still_open is None:
            return Refused(
                f"{self._link}: there is no open attendance to check out of at {at} UTC; add the check-in "
                "there, then try again"
            )
        written = self._model("hr.attendance", "write", [[still_open], {"check_out": at}])
        if written is not True:
            raise self._odd("write", written, may_be_there=True)
        return Done(f"hr.attendance {still_open}")

    def _search(self, domain: list[list[object]]) -> int | None:
        found = self._model("hr.attendance", "search", [domain], order="check_in desc", limit=1)
        match found:
            case []:
                return None
            case [int(first)] if _is_id(first):
                return first
            case _:
                raise self._odd("search", found)

    def _odd(self, method: str, answer: object, *, may_be_there: bool = False) -> NotNowError:
        """For an answer that Odoo does not give; what was done all the same is looked up the next time."""
        said = plain(json.dumps(answer, ensure_ascii=False))[:100]
        words = f"{self._link} answered {method} with {said}, not as Odoo does"
        return NotNowError(Later(words, is_about_all=False, may_be_there=may_be_there))

    def _model(self, model: str, method: str, arguments: list[object], **options: object) -> object:
        """Call a model's method with the user's rights; logs in when needed."""
        login = self._login
        if self._user_id is None:
            user_id = self._call("common", "authenticate", [login.database, login.user, login.secret, {}])
            if not (isinstance(user_id, int) and _is_id(user_id)):
                raise NotNowError(Later(f"{self._link} does not know that user, password and database"))
            self._user_id = user_id
        rights = [login.database, self._user_id, login.secret]
        return self._call("object", "execute_kw", [*rights, model, method, arguments, options])

    def _call(self, service: str, method: str, arguments: list[object]) -> object:
        self._calls += 1
        request = {
            "jsonrpc": "2.0",
            "method": "call",
            "id": self._calls,
            "params": {"service": service, "method": method, "args": arguments},
        }
        reply = self._link.post("/jsonrpc", json.dumps(request).encode())
        if isinstance(reply, Later):
            raise NotNowError(reply)
        found = reply.json()
        if not isinstance(found, dict) or found.get("id") != self._calls:
            words = f"{self._link} answered HTTP {reply.status}, not JSON-RPC: {words_of(reply)}"
            raise NotNowError(self._link.busy(reply) or Later(words, may_be_there=may_have_done_it(reply)))
        error = found.get("error")
        if isinstance(error, dict):
            data = error.get("data")
            said = data if isinstance(data, dict) else error
            words = plain(str(said.get("message") or "no reason given"))
            raise OdooError(str(said.get("name") or "").rpartition(".")[2], words)
        if error is not None:
            words = f"{self._link} answered with an error, but not as Odoo does: {words_of(reply)}"
            raise NotNowError(Later(words, may_be_there=True))
        return found.get("result")


def _is_id(answer: object) -> bool:
    return isinstance(answer, int) and not isinstance(answer, bool) and answer > 0


def _utc(time: datetime) -> str:
    """As Odoo keeps it: UTC without an offset, to the second."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _minute(time: datetime) -> str:
    """The full minute, which is what people type."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:00}"
