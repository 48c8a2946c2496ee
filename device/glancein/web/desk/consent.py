"""Who agreed to which text, when, and who recorded it: always before the enrolment, never without one."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from glancein.errors import SettingsError, StoreError
from glancein.web.desk_file import DeskFile

LONGEST_TEXT = 20_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Consent:
    """That somebody agreed: to which text, when, and who recorded it."""

    version: str
    text: str
    at: float
    by: str


@dataclass(slots=True)
class Pledge:
    """A consent that waits for what it was given for; it is taken back unless that came about."""

    stands: bool = False


def read_own_text(path: str) -> str:
    """The text of the file that ``consent_text`` names. Raises SettingsError."""
    try:
        return Path(path).read_text(encoding="utf-8")[:LONGEST_TEXT].strip()
    except (OSError, ValueError) as err:
        raise SettingsError(f"consent_text = {path!r} cannot be read as UTF-8 text") from err


class Consents:
    """What people agreed to. Raises StoreError."""

    def __init__(self, file: DeskFile) -> None:
        self._file = file

    def of(self, person_id: str) -> list[Consent]:
        """What somebody agreed to, latest first."""
        rows = self._file.rows(
            "SELECT version, text, at, by FROM consents WHERE person_id = :id ORDER BY number DESC",
            id=person_id,
        )
        return [Consent(*row) for row in rows]

    def givers(self) -> set[str]:
        """The ids of all who agreed to something."""
        return {row[0] for row in self._file.rows("SELECT DISTINCT person_id FROM consents")}

    def note(self, person_id: str, consent: Consent, *, by: str) -> int:
        """Record a consent; returns its number."""
        return self._file.add(
            "INSERT INTO consents (person_id, version, text, at, by) VALUES (:id, :version, :text, :at, :by)",
            id=person_id,
            version=consent.version,
            text=consent.text,
            at=time.time(),
            by=by,
        )

    @contextmanager
    def before(self, person_id: str, consent: Consent, *, by: str) -> Iterator[Pledge]:
        """A consent for what the block does: whatever fails, nobody is enrolled without one."""
        number, pledge = self.note(person_id, consent, by=by), Pledge()
        try:
            yield pledge
        finally:
            if not pledge.stands:
                self._take_back(number)

    def _take_back(self, number: int) -> None:
        try:
            self._file.change("DELETE FROM consents WHERE number = :number", number=number)
        except StoreError as err:  # what went wrong before it is what people have to hear
            _log.warning("a consent for an enrolment that did not come about stays: %s", err)
