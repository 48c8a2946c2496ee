"""Everything glancein raises on purpose. One sentence each: what is wrong and what to do.

GlanceinError
 +-- InputError            what a person gave us cannot be used          exit code 2
 |    +-- PhotoError       a picture cannot be read or enrolled (carries a reason code)
 |    +-- AmbiguousTime    a local time that came twice (carries both offsets)
 |    +-- SettingsError    an unknown or impossible setting
 +-- StoreError            the database cannot be read or written        exit code 3
 |    +-- NotRecorded      a check-in could not be committed: it must not be shown as done
 |    +-- DamagedError     the database does not hold what was written to it
 +-- CameraError           no picture from the camera                    exit code 4
 +-- FeedError             the broker or the feed does not work          exit code 5
 +-- ModelError            a model is missing, damaged or does not fit   exit code 6
"""

from __future__ import annotations


class GlanceinError(Exception):
    """Base of all our errors; ``exit_code`` is what the command line ends with."""

    exit_code = 1


class InputError(GlanceinError):
    """What a person gave us cannot be used."""

    exit_code = 2


class PhotoError(InputError):
    """A picture cannot be read or enrolled; ``reason`` is a stable code."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class AmbiguousTime(InputError):  # noqa: N818  # what it is, not that it is an error
    """A local time that came twice, as clocks were set back; ``offsets`` from UTC tell the two apart."""

    def __init__(self, time: str, offsets: tuple[str, str]) -> None:
        super().__init__(f"{time} came twice, as clocks were set back: say whether at {' or '.join(offsets)}")
        self.offsets = offsets


class SettingsError(InputError):
    """An unknown or impossible setting."""


class StoreError(GlanceinError):
    """The database cannot be read or written."""

    exit_code = 3


class NotRecorded(StoreError):  # noqa: N818  # the words the screen shows
    """A check-in could not be committed: it must not be shown as done."""


class DamagedError(StoreError):
    """The database does not hold what was written to it."""


class CameraError(GlanceinError):
    """No picture from the camera."""

    exit_code = 4


class FeedError(GlanceinError):
    """The broker or the feed does not work."""

    exit_code = 5


class ModelError(GlanceinError):
    """A model is missing, damaged or does not fit."""

    exit_code = 6
