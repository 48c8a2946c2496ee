"""The one table of the desk's routes: every page and every call, what it needs, what it takes."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from glancein.web.access import Door, Permission
from glancein.web.desk import openapi, tables
from glancein.web.desk.attendance import Attendance
from glancein.web.desk.consent import Consents
from glancein.web.desk.desk import Desk
from glancein.web.desk.health import HealthRoutes
from glancein.web.desk.page import Pages
from glancein.web.desk.people import PeopleRoutes
from glancein.web.desk.signing import Signing
from glancein.web.security import Call, Endpoint, Field, Handler, Kind

API = "/api/v1"
P = Permission
_PHOTO = Field("photo", "the picture: JPEG, PNG, WebP or BMP, 16 megapixels at most", kind="file")
_CONSENT = Field("consent", "true once the person has signed the consent", kind="boolean")
_VERSION = Field("consent_version", "the version of the text they signed, to notice a change", required=False)
_SPAN = (
    Field("month", "such as 2026-11; this month by default", required=False),
    Field("from", "first day, such as 2026-11-02", required=False),
    Field("to", "last day", required=False),
)
_PERSON = Field("id", "only this person", required=False)


def endpoints(desk: Desk) -> list[Endpoint]:
    """Every route of the desk. What is not here is not served."""
    pages = Pages(desk.zone)
    attendance = Attendance(desk, pages)
    desk.live.describe = attendance.message
    table = [
        *_signing(Signing(desk, pages)),
        *_people(PeopleRoutes(desk, pages, Consents(desk.file))),
        *_attendance(attendance),
        *_health(HealthRoutes(desk, pages)),
    ]

    def document(_: Call) -> Response:
        return JSONResponse(openapi.document(table))

    table.append(Endpoint("GET", f"{API}/openapi.json", document, Door.KNOWN, "This description."))
    return table


def _page(path: str, handler: Handler, needs: Permission | Door, summary: str) -> Endpoint:
    return Endpoint("GET", path, handler, needs, summary, Kind.PAGE, gives=("text/html",))


def _signing(signing: Signing) -> list[Endpoint]:
    name, password = Field("name", "the account's name"), Field("password", "10 to 200 characters")
    again = Field("again", "the password again")
    return [
        _page("/sign-in", signing.sign_in_page, Door.ANYBODY, "The sign-in form."),
        _page("/setup", signing.setup_page, Door.ANYBODY, "The form for an admin with the setup code."),
        _page("/me", signing.me_page, Door.SIGNED_IN, "One's own account."),
        _page("/accounts", signing.accounts_page, P.ACCOUNTS_WRITE, "Accounts and tokens."),
        Endpoint(
            "POST",
            f"{API}/sign-in",
            signing.sign_in,
            Door.ANYBODY,
            "Begin a session.",
            takes=(name, password),
            refuses=("429",),
        ),
        Endpoint(
            "POST",
            f"{API}/setup",
            signing.set_up,
            Door.ANYBODY,
            "Make an admin with the code on the console.",
            takes=(Field("code", "the setup code"), name, password, again),
            refuses=("429",),
        ),
        Endpoint("POST", f"{API}/sign-out", signing.sign_out, Door.SIGNED_IN, "End this session."),
        Endpoint(
            "POST",
            f"{API}/password",
            signing.change_own_password,
            Door.SIGNED_IN,
            "Change one's own password; every session ends.",
            takes=(Field("old", "the password so far"), password, again),
            refuses=("429",),
        ),
        Endpoint("GET", f"{API}/accounts", signing.accounts, P.ACCOUNTS_WRITE, "Every account."),
        Endpoint(
            "POST",
            f"{API}/accounts",
            signing.add_account,
            P.ACCOUNTS_WRITE,
            "Make an account.",
            takes=(name, password, Field("role", "hr, admin or auditor")),
        ),
        Endpoint(
            "DELETE",
            f"{API}/accounts/{{name}}",
            signing.remove_account,
            P.ACCOUNTS_WRITE,
            "Remove an account.",
        ),
        Endpoint(
            "GET",
            f"{API}/tokens",
            signing.tokens,
            P.ACCOUNTS_WRITE,
            "Every integration's token, without secrets.",
        ),
        Endpoint(
            "POST",
            f"{API}/tokens",
            signing.add_token,
            P.ACCOUNTS_WRITE,
            "Make a token; its secret is told this once.",
            takes=(Field("name", "what it is for"), Field("scopes", "permissions, separated by spaces")),
        ),
        Endpoint(
            "DELETE",
            f"{API}/tokens/{{number}}",
            signing.revoke_token,
            P.ACCOUNTS_WRITE,
            "Revoke a token.",
        ),
    ]


def _people(people: PeopleRoutes) -> list[Endpoint]:
    one = f"{API}/people/{{person_id}}"
    return [
        _page("/people", people.list_page, P.PEOPLE_READ, "Everybody enrolled, with a search."),
        _page("/person", people.person_page, P.PEOPLE_READ, "One person."),
        _page("/enrol", people.enrol_page, P.PEOPLE_WRITE, "Enrol from one photo or a list."),
        Endpoint(
            "GET",
            f"{API}/people",
            people.people,
            P.PEOPLE_READ,
            "Everybody enrolled.",
            asks=(Field("q", "words of the name or id", required=False),),
        ),
        Endpoint(
            "POST",
            f"{API}/people",
            people.enrol,
            P.PEOPLE_WRITE,
            "Enrol somebody from one photo.",
            takes=(
                Field("id", "the person's id, such as E1024"),
                Field("name", "the name"),
                _PHOTO,
                _CONSENT,
                _VERSION,
                Field("allow_duplicate", "why a face like an enrolled one is right (twins)", required=False),
                Field("replace", "true to enrol somebody anew", required=False, kind="boolean"),
            ),
        ),
        Endpoint(
            "POST",
            f"{API}/photos/check",
            people.judge,
            P.PEOPLE_WRITE,
            "What a photo is worth; stores nothing.",
            takes=(_PHOTO, Field("id", "whose photo it is", required=False)),
        ),
        Endpoint(
            "POST",
            f"{API}/people/bulk",
            people.bulk,
            P.PEOPLE_WRITE,
            "Enrol a whole list; answers at once with a job to ask about.",
            takes=(
                Field("list", "a CSV with id, name, photo; or a zip of it and the photos", kind="file"),
                Field("photos", "the photos beside a CSV", required=False, kind="files"),
                _CONSENT,
                _VERSION,
            ),
            keeps_files=True,
        ),
        Endpoint(
            "GET",
            f"{API}/jobs/{{number}}",
            people.job,
            P.PEOPLE_WRITE,
            "How far a list has come.",
            refuses=("404",),
        ),
        Endpoint("GET", one, people.person, P.PEOPLE_READ, "One person."),
        Endpoint("DELETE", one, people.erase, P.PEOPLE_WRITE, "Erase somebody; the answer is the receipt."),
        Endpoint(
            "GET",
            f"{one}/crop.png",
            people.crop,
            P.PEOPLE_READ,
            "The crop in use.",
            asks=(Field("size", "small: half of it, for a list", required=False),),
            refuses=("404",),
            gives=("image/png",),
        ),
        Endpoint(
            "POST",
            f"{one}/consents",
            people.note_consent,
            P.PEOPLE_WRITE,
            "Record a consent.",
            takes=(_CONSENT, _VERSION),
        ),
        Endpoint(
            "POST",
            f"{one}/pin",
            people.set_pin,
            P.PEOPLE_WRITE,
            "Set a PIN as another way in.",
            takes=(
                Field("pin", "4 to 10 digits"),
                Field("number", "what is typed before it; as it is, or the digits of the id", required=False),
            ),
        ),
        Endpoint("DELETE", f"{one}/pin", people.clear_pin, P.PEOPLE_WRITE, "Take the PIN away."),
        Endpoint("POST", f"{one}/passes", people.issue_pass, P.PEOPLE_WRITE, "Issue a QR pass."),
        Endpoint("DELETE", f"{one}/passes", people.revoke_passes, P.PEOPLE_WRITE, "Revoke every pass."),
    ]


def _attendance(attendance: Attendance) -> list[Endpoint]:
    event, why, offset = (
        Field("event", "the check-in's name: kiosk/epoch/number"),
        Field("reason", "why, in one line"),
        Field("offset", "which of two, such as +01:00, of a time that came twice", required=False),
    )
    return [
        _page("/", attendance.today_page, P.ATTENDANCE_READ, "Who is in, late or missing; the live list."),
        _page("/month", attendance.month_page, P.ATTENDANCE_READ, "A month, to be printed."),
        Endpoint("GET", f"{API}/today", attendance.today, P.ATTENDANCE_READ, "Who is in, late or missing."),
        Endpoint(
            "GET",
            f"{API}/events",
            attendance.events,
            P.ATTENDANCE_READ,
            "Check-ins of a span as they stand, with their corrections.",
            asks=(*_SPAN, _PERSON),
        ),
        Endpoint(
            "GET",
            f"{API}/stream",
            attendance.stream,
            P.ATTENDANCE_READ,
            "New events as server-sent events.",
            gives=("text/event-stream",),
        ),
        Endpoint(
            "GET",
            f"{API}/people/{{person_id}}/days",
            attendance.days,
            P.ATTENDANCE_READ,
            "One person's days with pairs of in and out.",
            asks=_SPAN,
        ),
        Endpoint(
            "POST",
            f"{API}/corrections",
            attendance.correct,
            P.ATTENDANCE_WRITE,
            "Correct a check-in by a new event.",
            takes=(
                event,
                Field("becomes", "void, direction, time or person"),
                Field("value", "in or out, a time, or a person's id", required=False),
                offset,
                why,
            ),
        ),
        Endpoint(
            "POST",
            f"{API}/events",
            attendance.add_punch,
            P.ATTENDANCE_WRITE,
            "Write down a punch that was forgotten.",
            takes=(
                Field("id", "the person's id"),
                Field("direction", "in or out"),
                Field("time", "such as 2026-11-30T17:30"),
                offset,
                why,
            ),
        ),
        Endpoint(
            "GET",
            f"{API}/export.{{kind}}",
            attendance.export,
            P.ATTENDANCE_READ,
            "The days as a table: export.csv or export.xlsx.",
            asks=(*_SPAN, _PERSON),
            gives=("text/csv", tables.XLSX),
        ),
    ]


def _health(health: HealthRoutes) -> list[Endpoint]:
    wanted = (Field("fpir", "wanted share of strangers taken for somebody", required=False),)
    before = (Field("before", "continue below this number", required=False),)
    return [
        _page("/health", health.page, P.HEALTH_READ, "Checks, refusals, the threshold explorer."),
        _page("/audit", health.audit_page, P.AUDIT_READ, "Who looked at or changed what."),
        Endpoint("GET", f"{API}/health", health.health, P.HEALTH_READ, "Every check."),
        Endpoint(
            "GET",
            f"{API}/attempts",
            health.attempts,
            P.HEALTH_READ,
            "Refusals of the week; who needs several tries.",
        ),
        Endpoint(
            "GET",
            f"{API}/threshold",
            health.threshold,
            P.HEALTH_READ,
            "What a wanted rate of wrong names costs in refusals.",
            asks=wanted,
        ),
        Endpoint(
            "GET",
            f"{API}/threshold.svg",
            health.plot,
            P.HEALTH_READ,
            "The same as a drawing.",
            asks=wanted,
            gives=("image/svg+xml",),
        ),
        Endpoint("GET", f"{API}/audit", health.audit, P.AUDIT_READ, "The audit log.", asks=before),
    ]
