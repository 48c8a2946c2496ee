"""The ways in without a face: what makes a PIN good enough, and the signed text of a QR pass. Pure.

A pass is ``GLN1.<serial>.<seal>`` in capitals, so that its QR code is small: a random serial, and the first
80 bits of HMAC-SHA-256 over it with the kiosk's own key. The seal turns away what this kiosk never printed
before any look-up; that a pass was revoked, and whose it is, only the store knows.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from glancein.errors import InputError

PIN_SHORTEST, PIN_LONGEST = 4, 10
PASS_MARK = "GLN1"  # noqa: S105  # what a pass begins with, for all to see
SERIAL_BYTES = 10  # 80 bits: nobody guesses one
SEAL_BYTES = 10
FREE_TRIES = 5  # wrong PINs before the lock
FIRST_LOCK = timedelta(minutes=5)  # doubled with every further wrong PIN
LONGEST_LOCK = timedelta(hours=8)

_PASS = re.compile(rf"{PASS_MARK}\.([A-Z2-7]{{16}})\.([A-Z2-7]{{16}})\Z")


class PinAnswer(StrEnum):
    """Why a PIN did not open the way; whoever asks never learns whether the number or the PIN was wrong."""

    WRONG = "pin_wrong"
    LOCKED = "pin_locked"
    TOO_FAST = "pin_too_fast"


@dataclass(frozen=True, slots=True)
class Tries:
    """Wrong PINs since the last right one, and until when no PIN of this person is looked at."""

    wrong: int = 0
    locked_until: datetime | None = None


def is_locked(tries: Tries, now: datetime) -> bool:
    """True while the person has to wait.

    A clock that was set back makes nobody wait longer than the longest lock.
    """
    until = tries.locked_until
    return until is not None and now < until <= now + LONGEST_LOCK


def after_wrong(tries: Tries, now: datetime) -> Tries:
    """One more wrong PIN: the fifth locks for five minutes, each further one twice as long, 8 h at most."""
    wrong = tries.wrong + 1
    if wrong < FREE_TRIES:
        return replace(tries, wrong=wrong)
    lock = min(FIRST_LOCK * 2 ** min(wrong - FREE_TRIES, 10), LONGEST_LOCK)
    return Tries(wrong, now + lock)


def check_pin(pin: str) -> str:
    """The PIN if it may be used; raises InputError for one that is too short or the first to be guessed."""
    if not (pin.isascii() and pin.isdigit() and PIN_SHORTEST <= len(pin) <= PIN_LONGEST):
        raise InputError(f"a PIN has {PIN_SHORTEST} to {PIN_LONGEST} digits and nothing else")
    steps = {(int(after) - int(before)) % 10 for before, after in itertools.pairwise(pin)}
    if len(steps) <= 1 and steps <= {0, 1, 9}:
        raise InputError(
            "this PIN is among the first to be guessed: not one digit repeated, not 1234 or 4321"
        )
    return pin


def number_of(person_id: str) -> str:
    """What is typed on the pad for a person: the digits of the id, or the id in capitals without any."""
    digits = "".join(character for character in person_id if character in "0123456789")
    return digits or person_id.upper()


def write_pass(serial: bytes, key: bytes) -> str:
    """The text of the QR code for this serial."""
    text = _base32(serial)
    return f"{PASS_MARK}.{text}.{_seal(text, key)}"


def read_pass(text: str, key: bytes) -> str | None:
    """The serial (base 32) of a pass that this key sealed, None for any other text."""
    found = _PASS.match(text)
    if found is None or not hmac.compare_digest(found[2], _seal(found[1], key)):
        return None
    return found[1]


def looks_like_pass(text: str) -> bool:
    """True for what was printed as a pass by some kiosk; other QR codes are nobody's business."""
    return text.startswith(f"{PASS_MARK}.")


def _seal(serial: str, key: bytes) -> str:
    digest = hmac.new(key, f"{PASS_MARK}.{serial}".encode(), hashlib.sha256).digest()
    return _base32(digest[:SEAL_BYTES])


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode()
