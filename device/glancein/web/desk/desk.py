"""Everything the desk's routes work with, opened once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

from glancein import wiring
from glancein.domain.workdays import Hours, parse_hours
from glancein.ports import Clock
from glancein.web.accounts import Accounts, Throttle
from glancein.web.audit import AuditLog
from glancein.web.desk.live import Live
from glancein.web.desk.record import Record
from glancein.web.desk_file import DeskFile
from glancein.web.uploads import EnrolmentDesk, Jobs
from glancein.wiring import Home

if TYPE_CHECKING:
    from glancein.adapters.ledger_sqlite import SqliteLedger
    from glancein.adapters.passes_sqlite import SqlitePasses
    from glancein.adapters.people_sqlite import SqlitePeople

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts. ``running`` tells of a kiosk in this process: its health in words, None without one."""

    home: Home
    people: SqlitePeople
    ledger: SqliteLedger
    passes: SqlitePasses
    file: DeskFile
    accounts: Accounts
    audit: AuditLog
    enrolment: EnrolmentDesk
    jobs: Jobs
    live: Live
    clock: Clock
    zone: tzinfo
    hours: Hours
    record: Record
    throttle: Throttle = field(default_factory=Throttle)
    running: Callable[[], dict[str, object]] | None = None

    def now(self) -> datetime:
        """Local time of the site."""
        return self.clock.now().wall.astimezone(self.zone)

    def close(self) -> None:
        """Let every file and process go."""
        self.live.close()
        self.jobs.close()
        self.enrolment.close()
        self.passes.close()
        self.ledger.close()
        self.people.close()
        self.file.close()


def open_desk(home: Home, *, running: Callable[[], dict[str, object]] | None = None) -> Desk:
    """The desk on a kiosk's data folder, with connections of its own. Raises StoreError, SettingsError."""
    from glancein.adapters.clock_system import SystemClock  # noqa: PLC0415  # only a running desk needs these
    from glancein.adapters.passes_sqlite import SqlitePasses  # noqa: PLC0415  # as above

    chosen, zone = home.settings, wiring.time_zone(home.settings.time_zone)
    hours = replace(
        parse_hours(chosen.work_start, chosen.late_after_min, chosen.work_days),
        longest=timedelta(hours=chosen.max_shift_h),
        zone=zone,
    )
    clock = SystemClock(zone)
    file = DeskFile(home.folder)
    people, ledger = wiring.open_people(home), wiring.open_ledger(home)
    accounts = Accounts(file)
    enrolment = EnrolmentDesk(home)
    return Desk(
        home=home,
        people=people,
        ledger=ledger,
        passes=SqlitePasses(home.database),
        file=file,
        accounts=accounts,
        audit=AuditLog(file),
        enrolment=enrolment,
        jobs=Jobs(),
        live=Live(ledger),
        clock=clock,
        zone=zone,
        hours=hours,
        record=Record(ledger, clock, hours),
        running=running,
    )
