"""Space kept for check-ins: a file that is given up when the disk is nearly full."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

NAME = "space-for-check-ins"
# A check-in takes 1.2 KB in the database and 0.6 KB in its second copy, and the log 4 MB: room for 10,000.
SIZE_BYTES = 28_000_000
NEARLY_FULL = 0.95
ROOMY = 0.85  # below this the space is set aside anew


class Ballast:
    """One file beside the database. Never raises: without ballast a kiosk works all the same."""

    def __init__(self, folder: Path, *, size_bytes: int = SIZE_BYTES) -> None:
        self._path = folder / NAME
        self._size_bytes = size_bytes
        self.is_tight = False  # the disk is nearly full

    def look(self) -> None:
        """Give the space up if the disk is nearly full, take it again when there is room."""
        try:
            disk = shutil.disk_usage(self._path.parent)
            if disk.used >= NEARLY_FULL * (disk.used + disk.free):
                self._give_up()
            elif disk.used + self._size_bytes < ROOMY * (disk.used + disk.free):
                self._take()
        except OSError as err:
            log.debug("no space is kept for check-ins: %s", err)

    def _give_up(self) -> None:
        if not self.is_tight:
            log.warning("the disk is nearly full: what is kept for check-ins is given up")
        self.is_tight = True
        self._path.unlink(missing_ok=True)

    def _take(self) -> None:
        self.is_tight = False
        if self._path.exists():
            return
        descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._size_bytes)
        except OSError:
            self._path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
