"""Small HR systems for the tests: HTTP servers that refuse what the real ones refuse, in their words.

Frappe HR: frappe/hrms employee_checkin.py at 0fc7450 (whole seconds, duplicate check by employee, time and
log type), status codes of frappe/exceptions.py, bodies as of frappe/utils/response.py. Odoo: odoo/odoo
hr_attendance.py at 00ca984 (``_check_validity``, ``_check_validity_check_in_check_out``), error bodies of
its JSON-RPC dispatcher. Nothing of their text is taken but the sentences that clients see.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

# Any: the JSON of somebody else's protocol.
Json = Any
METHOD = "hrms.hr.doctype.employee_checkin.employee_checkin.add_log_based_on_employee_field"


@dataclass(slots=True)
class Request:
    """What came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Response:
    """What goes back; ``hang_up`` closes the connection after the work is done and before it is said."""

    status: int = 200
    body: Json = None
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False


Handler = Callable[[Request], Response]


@contextmanager
def serving(handler: Handler) -> Iterator[str]:
    """The address of a server on this machine that answers like that."""

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            size = int(self.headers.get("Content-Length", "0"))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(
                self.command,
                unquote(parts.path),
                dict(parse_qsl(parts.query)),
                headers,
                self.rfile.read(size),
            )
            response = handler(request)
            if response.hang_up:
                self.close_connection = True
                return
            text = response.body if isinstance(response.body, bytes) else json.dumps(response.body).encode()
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST  # noqa: N815  # http.server's names

        def log_message(self, *_words: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def dripping(beginning: bytes) -> Iterator[str]:
    """The address of a server that begins its answer like that and goes on with a blank, again and again."""
    done = threading.Event()

    class Dripping(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            with contextlib.suppress(OSError):  # the other side has had enough
                self.request.sendall(beginning)
                while not done.wait(0.02):
                    self.request.sendall(b" ")

    server = ThreadingTCPServer(("127.0.0.1", 0), Dripping)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        done.set()
        server.shutdown()
        thread.join()
        server.server_close()


class FrappeError(Exception):
    """``frappe.throw``: a sentence, the class of the exception and its HTTP status."""

    def __init__(self, words: str, kind: str = "ValidationError", status: int = 417) -> None:
        super().__init__(words)
        self.kind = kind
        self.status = status


@dataclass(slots=True)
class FrappeSite:
    """A site with HR. ``employees``: attendance device id -> name; ``before`` can answer first."""

    employees: dict[str, str] = field(default_factory=dict)
    inactive: set[str] = field(default_factory=set)
    token: str = "key:secret"  # noqa: S105  # of a server that lives for one test
    checkins: list[dict[str, str]] = field(default_factory=list)
    before: Callable[[Request], Response | None] = lambda _: None
    after: Callable[[Response], Response] = lambda response: response
    may_read: bool = True
    has_hr: bool = True
    hidden: set[str] = field(default_factory=set)  # employees that this user has no right to
    duplicate_words: str = "This employee already has a log with the same timestamp.<Br>"

    def answer(self, request: Request) -> Response:
        """What the site says."""
        early = self.before(request)
        if early is not None:
            return early
        try:
            return self.after(Response(body=self._dispatch(request)))
        except FrappeError as err:
            message = json.dumps({"message": str(err), "title": "Message", "indicator": "red"})
            body = {
                "exception": f"frappe.exceptions.{err.kind}: {err}",
                "exc_type": err.kind,
                "_server_messages": json.dumps([message]),
            }
            return Response(err.status, body)

    def _dispatch(self, request: Request) -> Json:
        if request.headers.get("authorization") != f"token {self.token}":
            raise FrappeError("", "AuthenticationError", 401)
        if request.path == f"/api/method/{METHOD}" and request.method == "POST":
            if not self.has_hr:
                words = f"Failed to get method for command {METHOD} with App hrms is not installed"
                raise FrappeError(words)
            return {"message": self._add_log(json.loads(request.body))}
        if request.path.startswith("/api/resource/") and request.method == "GET":
            return {"data": self._list(request.path.rsplit("/", 1)[1], json.loads(request.query["filters"]))}
        raise FrappeError(f"{request.path} not found", "DoesNotExistError", 404)

    def _add_log(self, given: dict[str, str]) -> dict[str, str]:
        if not given.get("employee_field_value") or not given.get("timestamp"):
            raise FrappeError("'employee_field_value' and 'timestamp' are required.")
        assert given.get("employee_fieldname") == "attendance_device_id"
        employee = self.employees.get(given["employee_field_value"])
        if employee is None:
            raise FrappeError(
                "No Employee found for the given employee field value. "
                f"'attendance_device_id': {given['employee_field_value']}"
            )
        if employee in self.hidden:
            raise FrappeError(f"You do not have access to Employee {employee}.", "PermissionError", 403)
        at = datetime.fromisoformat(given["timestamp"])
        assert at.tzinfo is None, "Frappe keeps times of the site's zone, without an offset"
        if employee in self.inactive:
            raise FrappeError(
                f"Transactions cannot be created for an Inactive Employee {employee}.",
                "InactiveEmployeeStatusError",
            )
        log = {"employee": employee, "time": f"{at:%Y-%m-%d %H:%M:%S}", "log_type": given["log_type"]}
        if any(log.items() <= known.items() for known in self.checkins):
            raise FrappeError(self.duplicate_words)
        made = log | {"name": f"EMP-CKIN-{len(self.checkins) + 1:04d}", "device_id": given["device_id"]}
        self.checkins.append(made)
        return made

    def _list(self, doctype: str, filters: list[list[str]]) -> list[dict[str, str]]:
        if not self.may_read:
            raise FrappeError("Insufficient Permission for Employee", "PermissionError", 403)
        if doctype == "Employee":
            rows = [{"attendance_device_id": k, "name": v} for k, v in self.employees.items()]
        else:
            rows = self.checkins
        return [
            {"name": row["name"]}
            for row in rows
            if all(row[name] == value and operator == "=" for name, operator, value in filters)
        ]


class OdooRaisedError(Exception):
    """An exception of Odoo's: its class with module, and its sentence."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


def invalid(words: str) -> OdooRaisedError:
    """A constraint that does not hold."""
    return OdooRaisedError("odoo.exceptions.ValidationError", words)


@dataclass(slots=True)
class OdooServer:
    """A database with attendances. ``employees``: badge id -> id of hr.employee."""

    employees: dict[str, int] = field(default_factory=dict)
    database: str = "hr"
    user: str = "clock"
    password: str = "api-key"  # noqa: S105  # of a server that lives for one test
    attendances: dict[int, dict[str, Json]] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)  # employees that this user has no right to
    before: Callable[[str], Response | OdooRaisedError | None] = lambda _: None
    after: Callable[[str, Response], Response] = lambda _, response: response
    last_id: int = 0  # of a call

    def answer(self, request: Request) -> Response:
        """What the server says; ``before`` and ``after`` hear the method that is called."""
        assert request.path == "/jsonrpc"
        call = json.loads(request.body)
        self.last_id = call["id"]
        params = call["params"]
        method = params["args"][4] if params["service"] == "object" else params["method"]
        envelope = {"jsonrpc": "2.0", "id": call["id"]}
        try:
            early = self.before(method)
            if isinstance(early, Response):
                return early
            if early is not None:
                raise early
            result = self._dispatch(params["service"], params["args"], method)
            return self.after(method, Response(body=envelope | {"result": result}))
        except OdooRaisedError as err:
            data = {"name": err.kind, "message": str(err), "arguments": [str(err)], "debug": "Traceback …"}
            error = {"code": 200, "message": "Odoo Server Error", "data": data}
            return Response(body=envelope | {"error": error})

    def _dispatch(self, service: str, given: list[Json], method: str) -> Json:
        if service == "common":
            known = given[:3] == [self.database, self.user, self.password]
            return 7 if method == "authenticate" and known else False
        if given[:3] != [self.database, 7, self.password]:
            raise OdooRaisedError("odoo.exceptions.AccessDenied", "Access Denied")
        model, arguments, options = given[3], given[5], given[6]
        match model, method:
            case "hr.employee", "search_read":
                ((name, operator, value),) = arguments[0]
                assert (name, operator, options["fields"]) == ("barcode", "=", ["id"])
                return [{"id": self.employees[value]}] if value in self.employees else []
            case "hr.attendance", "search":
                return self._search(arguments[0])[: options.get("limit")]
            case "hr.attendance", "create":
                return self._create(arguments[0])
            case "hr.attendance", "write":
                return self._write(arguments[0], arguments[1])
        raise OdooRaisedError("builtins.AttributeError", f"type object {model!r} has no attribute {method!r}")

    def _search(self, domain: list[list[Json]]) -> list[int]:
        """``order="check_in desc"``."""
        found = [i for i, row in self.attendances.items() if all(_holds(row, term) for term in domain)]
        return sorted(found, key=lambda i: str(self.attendances[i]["check_in"]), reverse=True)

    def _create(self, values: dict[str, Json]) -> int:
        if values["employee_id"] in self.hidden:
            words = "Uh-oh! You are not allowed to create 'Attendance' (hr.attendance) records."
            raise OdooRaisedError("odoo.exceptions.AccessError", words)
        number = len(self.attendances) + 1
        row = {"employee_id": values["employee_id"], "check_in": values["check_in"], "check_out": False}
        self._check(number, row)
        self.attendances[number] = row
        return number

    def _write(self, numbers: list[int], values: dict[str, Json]) -> bool:
        for number in numbers:
            row = self.attendances[number] | values
            self._check(number, row)
            self.attendances[number] = row
        return True

    def _check(self, number: int, row: dict[str, Json]) -> None:
        """The two constraints of hr.attendance, in their order."""
        if row["check_out"] and row["check_out"] < row["check_in"]:
            raise invalid('"Check Out" time cannot be earlier than "Check In" time.')
        others = [
            other
            for i, other in self.attendances.items()
            if i != number and other["employee_id"] == row["employee_id"]
        ]
        others.sort(key=lambda other: str(other["check_in"]))
        before = [other for other in others if other["check_in"] <= row["check_in"]]
        who = "Cannot create new attendance record for Ada"
        if before and before[-1]["check_out"] and before[-1]["check_out"] > row["check_in"]:
            raise invalid(f"{who}, the employee was already checked in on {row['check_in']}")
        if not row["check_out"]:
            still_open = [other for other in others if not other["check_out"]]
            if still_open:
                raise invalid(f"{who}, the employee hasn't checked out since {still_open[-1]['check_in']}")
            return
        before_out = [other for other in others if other["check_in"] < row["check_out"]]
        if before_out and before_out[-1:] != before[-1:]:
            raise invalid(f"{who}, the employee was already checked in on {before_out[-1]['check_in']}")


def _holds(row: dict[str, Json], term: list[Json]) -> bool:
    name, operator, value = term
    match operator:
        case "=":
            return bool(row[name] == value)
        case "<=":
            return bool(row[name] and row[name] <= value)
        case ">=":
            return bool(row[name] and row[name] >= value)
        case "in":
            return row[name] in value
    raise AssertionError(operator)
