"""Photos from a browser: judged, enrolled, one or a whole roster; decoded in memory only."""

from __future__ import annotations

import logging
import secrets
import threading
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from glancein import wiring
from glancein.domain import roster
from glancein.domain.gallery import gather
from glancein.domain.roster import BAD_PHOTO, BadRow, RosterRow
from glancein.enrolment import BAD_ROW, Portrait, RowReport, RowStatus, crop_png, enrol_rows, examine
from glancein.errors import GlanceinError, InputError, PhotoError
from glancein.types import Candidate, Finding, Pixels, Quality, Reason
from glancein.web.security import LARGEST_PHOTO
from glancein.wiring import Home

if TYPE_CHECKING:
    from glancein.adapters.image_gate import PictureGate
    from glancein.adapters.people_sqlite import SqlitePeople
    from glancein.enrolment import Enroller
    from glancein.wiring import Recogniser

_log = logging.getLogger(__name__)
LARGEST_ROSTER = 20_000_000
MOST_MEMBERS = 10_000
LARGEST_UNPACKED = 2_000_000_000
LARGEST_RATIO = 200  # photos hardly shrink: what unpacks to more than this is a bomb
JOBS_KEPT = 20
IN_EVERY_WORKBOOK = "[Content_Types].xml"  # a .xlsx is a zip too
ZIP_SAYS_UTF8 = 1 << 11  # the flag bit; without it a zip keeps to itself how its names are written
ZIP_NAMES_ELSE = "cp437"  # what zipfile then takes them for
ZIP_NAMES_TOO = ("utf-8", "cp949")  # what macOS and Windows in Korean write


@dataclass(frozen=True, slots=True)
class Judged:
    """What a photo is worth before anybody is enrolled from it.

    ``live_cos`` is what a glance at the kiosk must reach today: a colleague as close as that is too close.
    """

    quality: Quality | None
    warnings: tuple[Finding, ...]
    findings: tuple[Finding, ...]
    crop_png: bytes | None
    like: Candidate | None
    live_cos: float
    duplicate_cos: float
    reason: Reason | None = None  # why it would be refused
    message: str = ""

    @property
    def is_too_like(self) -> bool:
        """True if a colleague is as close to this photo as a normal live match."""
        return self.like is not None and self.like.score_cos >= self.live_cos


class EnrolmentDesk:
    """Both networks and the bounded decoder, opened at the first photo; one photo at a time."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._kit: tuple[Recogniser, PictureGate, SqlitePeople] | None = None

    def judge(self, photo: bytes, *, name: str, person_id: str = "") -> Judged:
        """Look at a photo, store nothing. ``person_id``: who it is of, not a colleague of themselves.

        Raises PhotoError if it cannot be read.
        """
        with self._lock:
            recogniser, gate, people = self._opened()
            data, called = gate.fetch(photo)
            pixels = gate.decode(data, tidy_name(name) or called)
            templates = people.templates(recogniser.embedder.model_sha256)
            limits = wiring.enrolment_limits(self._home, recogniser.embedder.card, len(templates))
            examined = examine(pixels, recogniser.finder, recogniser.embedder, limits)
            live_cos = recogniser.limits_for(len(templates), self._home.settings).accept_cos
            duplicate_cos = limits.duplicate_cos
        crop = crop_png(examined.crop) if examined.crop is not None else None
        if not isinstance(examined, Portrait):
            return Judged(
                examined.quality,
                (),
                () if examined.quality is None else examined.findings,  # its sentence says the rest
                crop,
                None,
                live_cos,
                duplicate_cos,
                examined.reason,
                examined.message,
            )
        others = [t for t in templates if t.person_id != person_id]
        nearest = gather(others).rank(examined.vector, 1)
        return Judged(
            examined.quality,
            examined.warnings,
            (),
            crop,
            nearest[0] if nearest else None,
            live_cos,
            duplicate_cos,
        )

    @contextmanager
    def enroller(self) -> Iterator[Enroller]:
        """An enroller that knows everybody who is enrolled now. Raises ModelError, StoreError."""
        with self._lock:
            recogniser, gate, people = self._opened()
            yield wiring.enroller_of(self._home, recogniser, gate, people)

    def limits(self) -> tuple[Recogniser, int]:
        """The networks and how many people are enrolled for them."""
        with self._lock:
            recogniser, _, people = self._opened()
            return recogniser, len(people.templates(recogniser.embedder.model_sha256))

    def close(self) -> None:
        """End the decoder's process."""
        with self._lock:
            if self._kit is not None:
                self._kit[1].close()
                self._kit[2].close()
                self._kit = None

    def _opened(self) -> tuple[Recogniser, PictureGate, SqlitePeople]:
        from glancein.adapters.image_gate import PictureGate  # noqa: PLC0415  # only when a photo comes

        if self._kit is None:
            recogniser = wiring.open_recogniser(self._home)
            self._kit = recogniser, PictureGate(), wiring.open_people(self._home)
        return self._kit


@dataclass(frozen=True, slots=True)
class ArchivePictures:
    """Photos by the name that a roster gives them; decoding stays with the bounded child process."""

    gate: PictureGate
    photos: Mapping[str, Callable[[], bytes]]

    def fetch(self, source: Path | str | bytes) -> tuple[bytes, str]:
        """The bytes of a photo of the archive. Raises PhotoError."""
        if isinstance(source, bytes):
            return self.gate.fetch(source)
        data, _ = self.gate.fetch(self.photos[str(source)]())
        return data, tidy_name(str(source))

    def decode(self, data: bytes, name: str) -> Pixels:
        """Upright RGB. Raises PhotoError."""
        return self.gate.decode(data, name)


@dataclass(slots=True)
class Job:
    """A roster on its way: how many rows of how many, and what became of each."""

    number: str
    total: int
    by: str
    reports: list[RowReport] = field(default_factory=list)
    is_done: bool = False
    error: str = ""


class Jobs:
    """Rosters are worked through one after another, in a thread; the last few reports are kept."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, work: Callable[[], Iterator[RowReport]], total: int, *, by: str) -> Job:
        """Begin; raises InputError while another roster is on its way."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                raise InputError("another list is being enrolled: wait until it is done")
            job = Job(secrets.token_urlsafe(9), total, by)
            self._jobs[job.number] = job
            while len(self._jobs) > JOBS_KEPT:
                self._jobs.pop(next(iter(self._jobs)))
            self._thread = threading.Thread(
                target=self._run, args=(job, work), name="desk-roster", daemon=True
            )
            self._thread.start()
        return job

    def find(self, number: str) -> Job | None:
        """A job by its number."""
        return self._jobs.get(number)

    def close(self) -> None:
        """Stop after the row that is being worked on."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10)

    def _run(self, job: Job, work: Callable[[], Iterator[RowReport]]) -> None:
        try:
            for report in work():
                job.reports.append(report)
                if self._stop.is_set():
                    job.error = "the desk was stopped before the end: upload the list again"
                    break
        except GlanceinError as err:
            job.error = str(err)
        except Exception:  # noqa: BLE001  # the top of a thread
            _log.exception("a roster could not be worked through")
            job.error = "an error of ours stopped it: see the log"
        finally:
            job.is_done = True


Photos = dict[str, Callable[[], bytes]]


@dataclass(frozen=True, slots=True)
class Bulk:
    """A roster with its photos, checked as far as that goes without decoding one."""

    rows: list[RosterRow | BadRow]
    photos: Photos
    close: Callable[[], None]


def read_bulk(
    table: IO[bytes], table_name: str, photos: Mapping[str, IO[bytes]], *, close: Callable[[], None]
) -> Bulk:
    """A zip with one CSV and the photos in it, or a CSV with the photos beside it. Raises InputError.

    ``close`` lets the files go, once the list has been worked through.
    """
    head = table.read(4)
    table.seek(0)
    if head[:4] == b"PK\3\4":
        return _read_zip(table, close)
    text = _decoded(_bounded(table, LARGEST_ROSTER, table_name), tidy_name(table_name))
    named = {
        _key(PurePosixPath(name.replace("\\", "/")).name): _reader(file) for name, file in photos.items()
    }
    return Bulk(_placed(text, named, is_flat=True), named, close)


def report_json(report: RowReport, explain: Callable[[str, str], str]) -> dict[str, object]:
    """One line of the report as JSON values; ``explain`` words a sentence with its reason's code."""
    warned = "; ".join(explain(f"{w.reason}: {w.advice}", w.reason) for w in report.warnings)
    return {
        "line": report.line,
        "id": report.person_id,
        "status": str(report.status),
        "reason": str(report.reason),
        "message": explain(report.message, report.reason) if report.message else warned,
        "quality": report.overall,
    }


def tidy_name(name: str) -> str:
    """The last part of a file's name without what could not be shown; never used to open a file."""
    last = name.replace("\\", "/").rpartition("/")[2][:80]
    return "".join(character if character.isprintable() else "?" for character in last)


# What is done about one row: the row, and what enrols it.
One = Callable[[RosterRow | BadRow, Callable[[], RowReport]], RowReport]


def work_through(home: Home, bulk: Bulk, *, one: One) -> Iterator[RowReport]:
    """Enrol each row by ``one`` with networks of its own, so that the desk stays free."""
    from glancein.adapters.image_gate import PictureGate  # noqa: PLC0415  # only when a list comes

    try:
        recogniser = wiring.open_recogniser(home)
        with PictureGate() as gate, closing(wiring.open_people(home)) as people:
            pictures = ArchivePictures(gate, bulk.photos)
            rows = _Rows(people, lambda: wiring.enroller_of(home, recogniser, pictures, people))
            for row in bulk.rows:
                yield one(row, partial(rows.enrol, row))
    finally:
        bulk.close()


def taken(person_id: str) -> InputError:
    """Why nobody else is enrolled under an id."""
    return InputError(f"{person_id} is enrolled already: open that person to take another photo")


class _Rows:
    """Enrols one row after another; whom others enrol meanwhile the next row knows, and does not replace."""

    def __init__(self, people: SqlitePeople, fresh: Callable[[], Enroller]) -> None:
        self._people, self._fresh = people, fresh
        self._version = people.version()
        self._ours = self._ids()  # who may be replaced: there before the list, or come with it
        self._others: set[str] = set()
        self._enroller = fresh()

    def enrol(self, row: RosterRow | BadRow) -> RowReport:
        """What became of a row. Raises StoreError."""
        self._look()
        if isinstance(row, RosterRow) and row.person_id in self._others:
            why = str(taken(row.person_id))
            return RowReport(row.line, row.person_id, RowStatus.REFUSED, BAD_ROW, why)
        report = next(enrol_rows([row], self._enroller))
        if report.status in {RowStatus.ENROLLED, RowStatus.RE_ENROLLED}:
            self._version += 1  # one change, ours; a second one beside it shows at the next row
            self._ours.add(row.person_id)
        return report

    def _look(self) -> None:
        if (version := self._people.version()) == self._version:
            return
        there = self._ids()
        self._ours &= there
        self._others = there - self._ours
        self._version, self._enroller = version, self._fresh()

    def _ids(self) -> set[str]:
        return {person.person_id for person in self._people.people()}


def _read_zip(file: IO[bytes], close: Callable[[], None]) -> Bulk:
    try:
        archive = zipfile.ZipFile(file)
        members = [m for m in archive.infolist() if not m.is_dir() and not _is_litter(m.filename)]
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        raise InputError("the zip is damaged: make it again") from None
    _check_members(members)
    if IN_EVERY_WORKBOOK in {member.filename for member in members}:
        raise InputError("this is an Excel file: save the table as CSV UTF-8, and upload that")
    tables = [m for m in members if m.filename.lower().endswith(".csv")]
    if len(tables) != 1:
        raise InputError(f"the zip must hold one CSV with id, name and photo; this one holds {len(tables)}")
    lock = threading.Lock()
    with _reading_zip():
        text = _decoded(_unpacked(archive, tables[0], LARGEST_ROSTER), tidy_name(tables[0].filename))
    photos: Photos = {}
    for member in (member for member in members if member is not tables[0]):
        for name, beside in zip(_spellings(member), _spellings(tables[0]), strict=False):
            path, base = PurePosixPath(_key(name)), PurePosixPath(_key(beside)).parent
            if path.is_relative_to(base):
                photos.setdefault(str(path.relative_to(base)), _member_reader(archive, member, lock))
    return Bulk(_placed(text, photos), photos, close)


def _spellings(member: zipfile.ZipInfo) -> list[str]:
    """What a member may be called: the list says which it is. One name where the zip says it itself."""
    if member.flag_bits & ZIP_SAYS_UTF8:
        return [member.filename]
    raw = member.orig_filename.encode(ZIP_NAMES_ELSE)
    return [member.filename, *(raw.decode(encoding, "replace") for encoding in ZIP_NAMES_TOO)]


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MOST_MEMBERS:
        raise InputError(f"the zip holds more than {MOST_MEMBERS} files: split it")
    if sum(m.file_size for m in members) > LARGEST_UNPACKED:
        raise InputError(f"the zip unpacks to more than {LARGEST_UNPACKED // 1_000_000} MB: split it")
    for member in members:
        if member.flag_bits & 1:
            raise InputError("the zip is encrypted: make it again without a password")


def _member_reader(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, lock: threading.Lock
) -> Callable[[], bytes]:
    def read() -> bytes:
        with lock, _reading_zip(member.filename):
            return _unpacked(archive, member, LARGEST_PHOTO)

    return read


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, largest: int) -> bytes:
    """The bytes of one member, never more than allowed, whatever its header says. Raises PhotoError."""
    name = tidy_name(member.filename)
    if member.file_size > largest or member.file_size > LARGEST_RATIO * max(member.compress_size, 1024):
        raise PhotoError(Reason.TOO_LARGE, f"{name} unpacks to {member.file_size // 1_000_000} MB")
    with archive.open(member) as file:
        data = file.read(largest + 1)
    if len(data) > largest:
        raise PhotoError(Reason.TOO_LARGE, f"{name} unpacks to more than {largest // 1_000_000} MB")
    return data


@contextmanager
def _reading_zip(name: str = "the zip") -> Iterator[None]:
    try:
        yield
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        EOFError,
        OSError,
        RuntimeError,
        ValueError,
        LookupError,
    ) as err:
        raise PhotoError(
            Reason.UNREADABLE, f"{tidy_name(name)} cannot be unpacked ({err}): make the zip again"
        ) from None
    except Exception as err:
        if type(err).__module__ in {"zlib", "lzma", "_lzma", "bz2"}:
            raise PhotoError(Reason.UNREADABLE, f"{tidy_name(name)} is damaged: make the zip again") from None
        raise


def _placed(text: str, photos: Photos, *, is_flat: bool = False) -> list[RosterRow | BadRow]:
    """The rows of a CSV text, those without a photo among ``photos`` as bad ones. Raises InputError.

    ``is_flat``: a browser sends photos without their folders, so ``photos/x.jpg`` is ``x.jpg``, unless the
    list has an ``x.jpg`` in another folder too.
    """
    rows = list(roster.parse(text))
    if not rows:
        raise InputError("the list holds no rows")
    paths = {_key(row.photo) for row in rows if isinstance(row, RosterRow)} if is_flat else set()
    times = Counter(PurePosixPath(path).name for path in paths)
    return [row if isinstance(row, BadRow) else _with_photo(row, photos, times) for row in rows]


def _with_photo(row: RosterRow, photos: Photos, times: Mapping[str, int]) -> RosterRow | BadRow:
    """The row with the key of its photo; ``times``: in how many folders the list has a photo of that name."""
    key = _key(row.photo)
    last = PurePosixPath(key).name
    if key not in photos and times.get(last) == 1:
        key = last
    if key in photos:
        return replace(row, photo=Path(key))
    why = f"photo {str(row.photo)!r} was not uploaded"
    if times.get(last, 0) > 1 and last in photos:
        why = f"the list names {last!r} in several folders: upload one zip of the list and the folders"
    return BadRow(row.line, row.person_id, BAD_PHOTO, why)


def _key(name: object) -> str:
    """A photo's name or path in normal form (NFC): a Mac takes accents and Hangul syllables apart."""
    return unicodedata.normalize("NFC", str(name))


def _decoded(data: bytes, name: str) -> str:
    from glancein.adapters.roster_csv import decode_text  # noqa: PLC0415  # only here

    return decode_text(data, name)


def _bounded(file: IO[bytes], largest: int, name: str) -> bytes:
    data = file.read(largest + 1)
    if len(data) > largest:
        raise InputError(f"{tidy_name(name)} is larger than {largest // 1_000_000} MB: split it")
    return data


def _reader(file: IO[bytes]) -> Callable[[], bytes]:
    def read() -> bytes:
        file.seek(0)
        data = file.read(LARGEST_PHOTO + 1)
        if len(data) > LARGEST_PHOTO:
            raise PhotoError(Reason.TOO_LARGE, f"the photo is larger than {LARGEST_PHOTO // 1_000_000} MB")
        return data

    return read


def _is_litter(name: str) -> bool:
    """What file managers add: __MACOSX folders and dot files."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or any(part.startswith(".") for part in parts)
