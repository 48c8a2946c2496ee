"""The machine's clocks, and whether the wall clock can be believed: the kernel says so, without privilege."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from glancein.types import ClockTrust, Moment

STA_UNSYNC = 0x0040  # linux/timex.h: set until something disciplines the clock
TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
STEP_S = 0.5  # what the wall clock may move against the monotonic one and not have been set by somebody
WORST_DRIFT = 500e-6  # as fast as the kernel slews a clock (adjtimex(2))
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class SystemClock:
    """Implements the port Clock; wall times carry the offset of ``zone``, or the machine's own.

    The clock is synchronised while the kernel says so, in holdover once it was so earlier in this process
    and has run on since without a step, and otherwise unsynchronised. ``is_synchronised`` can be passed in
    where the kernel cannot be asked.
    """

    def __init__(
        self, zone: tzinfo | None = None, *, is_synchronised: Callable[[], bool] | None = None
    ) -> None:
        self._zone = zone
        self._is_synchronised = is_synchronised or kernel_is_synchronised
        self._good: tuple[float, float] | None = None  # wall and monotonic clock when it last was
        self._boot_id = read_boot_id()

    def now(self) -> Moment:
        """One reading of every clock."""
        wall_s, mono_s = time.time(), time.monotonic()
        return Moment(
            wall=datetime.fromtimestamp(wall_s, UTC).astimezone(self._zone),
            mono_s=mono_s,
            boot_id=self._boot_id,
            trust=self._trust(wall_s, mono_s),
        )

    def _trust(self, wall_s: float, mono_s: float) -> ClockTrust:
        if self._is_synchronised():
            self._good = wall_s, mono_s
            return ClockTrust.SYNCHRONISED
        if self._good is not None and self._has_stepped(self._good, wall_s, mono_s):
            self._good = None
        return ClockTrust.UNSYNCHRONISED if self._good is None else ClockTrust.HOLDOVER

    @staticmethod
    def _has_stepped(good: tuple[float, float], wall_s: float, mono_s: float) -> bool:
        elapsed_s = mono_s - good[1]
        return abs(wall_s - good[0] - elapsed_s) > STEP_S + elapsed_s * WORST_DRIFT


def kernel_is_synchronised() -> bool:
    """True while the kernel's clock is disciplined (adjtimex(2) with nothing to change)."""
    status = _Timex()
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(status))
    except (OSError, AttributeError):  # not Linux: nobody to ask
        return False
    return state not in {-1, TIME_ERROR} and not status.status & STA_UNSYNC


def read_boot_id() -> str:
    """The kernel's name for this boot; where there is none, one made from the time of boot."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return f"since-{round(time.time() - time.monotonic())}"


class _Timex(ctypes.Structure):
    """struct timex up to the fields read here; the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint),  # 0: only read
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("room", ctypes.c_byte * 256),
    )
