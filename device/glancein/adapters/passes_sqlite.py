"""PINs and QR passes of the enrolled people, in the kiosk's SQLite file. Hashes only, never a PIN."""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from sqlite_utils import Database

from glancein.domain.passes import (
    PIN_LONGEST,
    SERIAL_BYTES,
    PinAnswer,
    Tries,
    after_wrong,
    check_pin,
    is_locked,
    number_of,
    read_pass,
    write_pass,
)
from glancein.errors import InputError, StoreError
from glancein.storage.database import scalar, storage_errors, transaction
from glancein.storage.handle import Handle

KEY_BYTES = 32
GENERATED_DIGITS = 6
NUMBER_LIMIT = 64
# Whatever the numbers typed, the whole kiosk looks at so many wrong PINs a minute and no more.
WRONG_PER_MINUTE = 20
MINUTE_S = 60.0
# RFC 9106 and OWASP's smallest: 19 MiB and two passes take about 0.1 s on a Raspberry Pi 4.
HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def new_pin() -> str:
    """A random PIN of six digits that may be used."""
    while True:
        pin = f"{secrets.randbelow(10**GENERATED_DIGITS):0{GENERATED_DIGITS}d}"
        with suppress(InputError):
            return check_pin(pin)


@dataclass(frozen=True, slots=True)
class WaysIn:
    """Which ways without a face a person has; ``number`` is typed before the PIN, None without one."""

    number: str | None
    locked_until: datetime | None
    passes: int  # valid ones


class SqlitePasses:
    """PINs and passes on one SQLite file, for several threads at a time. ``mono_s`` is a monotonic clock."""

    def __init__(self, path: Path, *, mono_s: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.RLock()
        self._file = Handle(path)
        self._mono_s = mono_s
        self._wrong_s: deque[float] = deque(maxlen=WRONG_PER_MINUTE)
        self._nobodys_hash = HASHER.hash(secrets.token_hex(8))

    def set_pin(self, person_id: str, pin: str, *, at: datetime, number: str | None = None) -> str:
        """Give an enrolled person this PIN; returns the number to type before it.

        Without a ``number`` they keep theirs, at first the digits of the id. A lock is lifted. Raises
        InputError: nobody of that id, a weak PIN, a PIN equal to the number, or a number that somebody else
        has.
        """
        check_pin(pin)
        row = {"id": person_id, "hash": HASHER.hash(pin), "at": at.isoformat()}
        with self._open() as database, transaction(database):
            _expect_person(database, person_id)
            typed = _checked_number(number or _kept_number(database, person_id), pin)
            row["number"] = typed
            holder = scalar(database, "SELECT person_id FROM pins WHERE number = :number", {"number": typed})
            if holder is not None and holder != person_id:
                raise InputError(f"{holder} has the number {typed} already: give another number")
            database.execute(
                """
                INSERT OR REPLACE INTO pins (person_id, number, hash, set_at, wrong, locked_until)
                VALUES (:id, :number, :hash, :at, 0, NULL)
                """,
                row,
            )
        return typed

    def clear_pin(self, person_id: str) -> bool:
        """Take the PIN away; False if there was none."""
        with self._open() as database, transaction(database):
            gone = database.execute("DELETE FROM pins WHERE person_id = :id", {"id": person_id}).rowcount
        return gone > 0

    def who_types(self, number: str, pin: str, *, at: datetime) -> str | PinAnswer:
        """The person of this number and PIN, or why not.

        A try is counted before it is looked at, so that neither a crash nor many tries at once come free.
        An unknown number takes as long as a known one. Raises StoreError.
        """
        with self._lock:
            if len(number) > NUMBER_LIMIT or len(pin) > PIN_LONGEST:
                return PinAnswer.WRONG
            if self._is_too_fast():
                return PinAnswer.TOO_FAST
            found = self._charge(number.strip().upper(), at)
            if found is PinAnswer.LOCKED:
                return found
            person_id, stored = found if isinstance(found, tuple) else (None, self._nobodys_hash)
            if not _matches(stored, pin) or person_id is None:
                self._wrong_s.append(self._mono_s())
                return PinAnswer.WRONG
            self._refund(person_id)
            return person_id

    def issue(self, person_id: str, *, at: datetime) -> str:
        """A new pass for an enrolled person, as the text of its QR code. Raises InputError."""
        with self._open() as database, transaction(database):
            _expect_person(database, person_id)
            key = _own_key(database)
            text = write_pass(secrets.token_bytes(SERIAL_BYTES), key)
            database.execute(
                "INSERT INTO passes (serial, person_id, issued_at) VALUES (:serial, :id, :at)",
                {"serial": read_pass(text, key), "id": person_id, "at": at.isoformat()},
            )
        return text

    def revoke(self, person_id: str, *, at: datetime) -> int:
        """Make every pass of a person worthless; returns how many were valid."""
        with self._open() as database, transaction(database):
            return database.execute(
                "UPDATE passes SET revoked_at = :at WHERE person_id = :id AND revoked_at IS NULL",
                {"at": at.isoformat(), "id": person_id},
            ).rowcount

    def who_shows(self, text: str) -> str | None:
        """Whose valid pass this is, None for a forged, foreign or revoked one. Raises StoreError."""
        with self._open() as database:
            key = _stored_key(database)
            serial = None if key is None else read_pass(text, key)
            if serial is None:
                return None
            found = scalar(
                database,
                "SELECT person_id FROM passes WHERE serial = :serial AND revoked_at IS NULL",
                {"serial": serial},
            )
        return found if isinstance(found, str) else None

    def ways_of(self, person_id: str) -> WaysIn:
        """What HR sees: number, lock, how many passes."""
        who = {"id": person_id}
        with self._open() as database:
            row = database.execute(
                "SELECT number, locked_until FROM pins WHERE person_id = :id", who
            ).fetchone()
            valid = scalar(
                database, "SELECT count(*) FROM passes WHERE person_id = :id AND revoked_at IS NULL", who
            )
        number, until = row or (None, None)
        return WaysIn(number, _time(until), valid if isinstance(valid, int) else 0)

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            self._file.close()

    def _is_too_fast(self) -> bool:
        return len(self._wrong_s) == WRONG_PER_MINUTE and self._mono_s() - self._wrong_s[0] < MINUTE_S

    def _charge(self, number: str, at: datetime) -> tuple[str, str] | PinAnswer | None:
        """Count a try; person and hash, the lock, or None for a number that nobody has."""
        with self._open() as database, transaction(database):
            row = database.execute(
                "SELECT person_id, hash, wrong, locked_until FROM pins WHERE number = :number",
                {"number": number},
            ).fetchone()
            if row is None:
                return None
            person_id, stored, wrong, until = row
            tries = Tries(wrong, _time(until))
            if is_locked(tries, at):
                return PinAnswer.LOCKED
            _write_tries(database, person_id, after_wrong(tries, at))
            return person_id, stored

    def _refund(self, person_id: str) -> None:
        with self._open() as database, transaction(database):
            _write_tries(database, person_id, Tries())

    @contextmanager
    def _open(self) -> Iterator[Database]:
        with self._lock, storage_errors("PINs and passes cannot be read or written"):
            yield self._file.database()


def _own_key(database: Database) -> bytes:
    """The key that seals passes, made with the first one.

    Read each time: whoever remembers it would go on sealing with it after a rescue brought another.
    """
    found = _stored_key(database)
    if found is not None:
        return found
    fresh = secrets.token_bytes(KEY_BYTES)
    database.execute("INSERT INTO meta (key, value) VALUES ('pass_key', :key)", {"key": fresh.hex()})
    return fresh


def _stored_key(database: Database) -> bytes | None:
    """None if no pass was ever issued."""
    found = scalar(database, "SELECT value FROM meta WHERE key = 'pass_key'")
    return None if found is None else bytes.fromhex(str(found))


def _write_tries(database: Database, person_id: str, tries: Tries) -> None:
    database.execute(
        "UPDATE pins SET wrong = :wrong, locked_until = :until WHERE person_id = :id",
        {
            "wrong": tries.wrong,
            "until": tries.locked_until.isoformat() if tries.locked_until else None,
            "id": person_id,
        },
    )


def _kept_number(database: Database, person_id: str) -> str:
    """The number that somebody has, or would be given."""
    kept = scalar(database, "SELECT number FROM pins WHERE person_id = :id", {"id": person_id})
    return kept if isinstance(kept, str) else number_of(person_id)


def _checked_number(number: str, pin: str) -> str:
    typed = number.strip().upper()
    if not typed or len(typed) > NUMBER_LIMIT or not typed.isprintable():
        raise InputError(f"a number has 1 to {NUMBER_LIMIT} characters")
    if pin == typed:
        raise InputError("the PIN is the person's number; choose another")
    return typed


def _expect_person(database: Database, person_id: str) -> None:
    if scalar(database, "SELECT 1 FROM people WHERE id = :id", {"id": person_id}) is None:
        raise InputError(f"nobody is enrolled as {person_id}: see glancein people list")


def _matches(stored: str, pin: str) -> bool:
    try:
        return HASHER.verify(stored, pin)
    except InvalidHashError as err:
        raise StoreError("the stored PIN is damaged; set it anew with glancein people pin") from err
    except Argon2Error:
        return False


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
