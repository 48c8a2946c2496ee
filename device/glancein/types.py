"""The values that travel from light to payroll: frozen, slotted, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]  # (h, w, 3) RGB wherever it is a picture


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a camera. ``taken_mono_s`` is on the monotonic clock."""

    pixels: Pixels  # (h, w, 3) RGB
    taken_mono_s: float
    number: int = 0


class Pace(StrEnum):
    """How pictures come: as they happen, from a recording at its own speed, or as fast as they are read."""

    LIVE = "live"
    RECORDED = "recorded"
    STEPPED = "stepped"


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What is known of a source of pictures before it is opened. ``name`` holds no password."""

    name: str
    pace: Pace


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a source. ``due_s`` is when a recording shows it, seconds after its beginning."""

    pixels: Pixels  # (h, w, 3) RGB
    due_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of its picture; it may reach over the edge."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Face:
    """A found face. Landmarks: left and right eye, nose tip, left and right mouth corner, as seen."""

    box: Box
    landmarks: Floats  # (5, 2) x, y in pixels from the picture's edge: the first pixel's middle is 0.5
    score: float


@dataclass(frozen=True, slots=True)
class Crop:
    """A face in the canonical pose.

    ``source_px_per_crop_px`` below 1 means the crop was enlarged; ``residual_px`` is how far the landmarks
    lie from the template after alignment, in crop pixels (a turned head lies far).
    """

    pixels: Pixels  # (112, 112, 3) RGB
    source_px_per_crop_px: float
    residual_px: float


class Reason(StrEnum):
    """Why a face was not accepted or a photo not enrolled; feed and scripts rely on the words."""

    NO_FACE = "no_face"
    SEVERAL_FACES = "several_faces"
    TOO_SMALL = "too_small"
    BLURRED = "blurred"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    TURNED_AWAY = "turned_away"
    COVERED = "covered"
    UNKNOWN = "unknown"
    AMBIGUOUS = "ambiguous"
    EMPTY_GALLERY = "empty_gallery"
    NO_AGREEMENT = "no_agreement"
    DUPLICATE_PERSON = "duplicate_person"
    UNREADABLE = "unreadable"
    WRONG_FORMAT = "wrong_format"
    TOO_LARGE = "too_large"
    LOW_CONTRAST = "low_contrast"
    CUT_OFF = "cut_off"


@dataclass(frozen=True, slots=True)
class Finding:
    """One quality check that failed: the measured value, the limit it missed, and what to do."""

    reason: Reason
    value: float
    limit: float
    advice: str


@dataclass(frozen=True, slots=True)
class Quality:
    """How usable a crop is; no findings means usable. ``overall`` is 0 (useless) to 1."""

    overall: float
    findings: tuple[Finding, ...] = ()
    measures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Template:
    """What recognition knows of one person: one unit vector and the hash of the model that made it."""

    person_id: str
    vector: Floats  # (128,)
    model_sha256: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """An enrolled person and the cosine between their template and the probe."""

    person_id: str
    score_cos: float


@dataclass(frozen=True, slots=True)
class Limits:
    """When a candidate is believed: calibrated threshold and distance to the runner-up, both cosines."""

    accept_cos: float
    margin_cos: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """This is that person."""

    person_id: str
    score_cos: float
    runner_up_cos: float | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """Nobody was recognised, and why. ``score_cos`` is the best candidate's, where there was one."""

    reason: Reason
    score_cos: float | None = None
    findings: tuple[Finding, ...] = ()


Decision = Accepted | Rejected


class Direction(StrEnum):
    """Which way a punch goes."""

    IN = "in"
    OUT = "out"


class ClockTrust(StrEnum):
    """How far the wall clock can be believed: disciplined now, disciplined since boot, or never."""

    SYNCHRONISED = "synchronised"
    HOLDOVER = "holdover"
    UNSYNCHRONISED = "unsynchronised"


@dataclass(frozen=True, slots=True)
class Moment:
    """One reading of every clock: aware wall time, monotonic seconds, the boot they belong to, the trust."""

    wall: datetime
    mono_s: float
    boot_id: str
    trust: ClockTrust


class Method(StrEnum):
    """How a person was identified, or that somebody wrote the punch down by hand."""

    FACE = "face"
    PIN = "pin"
    QR = "qr"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class CheckIn:
    """A punch that the rules decided on and the ledger has not yet numbered.

    Without a model (PIN, QR, by hand) score and threshold are 0 and ``model_sha256`` is empty.
    """

    person_id: str
    direction: Direction
    moment: Moment
    score_cos: float
    threshold_cos: float
    model_sha256: str
    method: Method = Method.FACE
    reason: str = "recognised"


@dataclass(frozen=True, slots=True)
class EventId:
    """The name of an event, for ever."""

    kiosk: str
    epoch: str
    seq: int

    @property
    def word(self) -> str:
        """In one word: kiosk/epoch/number."""
        return f"{self.kiosk}/{self.epoch}/{self.seq}"


@dataclass(frozen=True, slots=True)
class Voided:
    """The punch does not count."""


@dataclass(frozen=True, slots=True)
class OtherPerson:
    """It was somebody else's punch."""

    person_id: str


@dataclass(frozen=True, slots=True)
class OtherDirection:
    """It went the other way."""

    direction: Direction


@dataclass(frozen=True, slots=True)
class OtherTime:
    """It happened then."""

    wall: datetime


Becomes = Voided | OtherPerson | OtherDirection | OtherTime


@dataclass(frozen=True, slots=True)
class Correction:
    """What an earlier check-in becomes, why, and who says so; the check-in itself is never touched.

    ``moment`` is when the correction was made, ``method`` how the one who made it was identified.
    """

    of: EventId
    becomes: Becomes
    reason: str
    by: str
    moment: Moment
    method: Method = Method.MANUAL


@dataclass(frozen=True, slots=True)
class TimeFix:
    """The wall clock became good: ``moment`` is a reading then, its wall time is true.

    ``offset_s`` is how far the wall clock was behind before, by the latest event it had stamped. What that
    boot recorded before the fix is put right by the monotonic clock.
    """

    moment: Moment
    offset_s: float


Body = CheckIn | Correction | TimeFix


@dataclass(frozen=True, slots=True)
class Event:
    """Something recorded. (kiosk, epoch, seq) names it for ever; ``previous_hash`` chains it to the last.

    ``name`` is that of a check-in's person, filled only when the settings allow names in the feed.
    """

    site: str
    kiosk: str
    epoch: str
    seq: int
    previous_hash: str
    body: Body
    name: str | None = None

    @property
    def id(self) -> EventId:
        """Its name."""
        return EventId(self.kiosk, self.epoch, self.seq)

    @property
    def check_in(self) -> CheckIn:
        """The punch, of an event that is known to be one; others raise TypeError."""
        if not isinstance(self.body, CheckIn):
            raise TypeError(f"event {self.seq} is a {type(self.body).__name__}, not a check-in")
        return self.body


@dataclass(frozen=True, slots=True)
class LaidAside:
    """An event that left the outbox undelivered, because of the words in ``why``; a person decides."""

    event: Event
    why: str
    at: str  # when, UTC


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """Where the stream that is being written stands; ``history_from`` is the oldest number still kept."""

    epoch: str
    seq: int
    head: str  # hash of the last event
    history_from: int
    backlog: int  # events of any epoch that nobody has acknowledged
    laid_aside: int = 0  # events that cannot be delivered as they are, for a person to look at


@dataclass(frozen=True, slots=True)
class StreamKey:
    """Which stream an event belongs to: the numbers of one kiosk's epoch."""

    kiosk: str
    epoch: str


@dataclass(frozen=True, slots=True)
class Head:
    """The last event of a stream that a consumer has committed."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event as it came over the feed; ``chained`` is False if it does not continue the event before it."""

    event: Event
    hash: str
    payload: bytes
    chained: bool = True

    @property
    def key(self) -> StreamKey:
        """The stream it belongs to."""
        return StreamKey(self.event.kiosk, self.event.epoch)


@dataclass(frozen=True, slots=True)
class Hole:
    """A place in a stream whose event was recorded and cannot be read any more.

    ``previous_hash`` and ``hash`` are those of the event, None where nothing says so any more.
    """

    site: str
    kiosk: str
    epoch: str
    seq: int
    previous_hash: str | None
    hash: str | None

    @property
    def id(self) -> EventId:
        """The name of the event that was there."""
        return EventId(self.kiosk, self.epoch, self.seq)


class TroubleKind(StrEnum):
    """What can be wrong with a stream."""

    UNREADABLE = "unreadable"  # a message that is no event
    FOREIGN = "foreign"  # an event on another kiosk's topic
    FORGED = "forged"  # an event without the kiosk's signature, where signatures are checked
    FORK = "fork"  # a known number with other contents: an old copy of the database is in use
    BROKEN_CHAIN = "broken_chain"  # the event does not continue the one before it
    HISTORY_GONE = "history_gone"  # events the kiosk no longer keeps
    LEFT_OUT = "left_out"  # an event that the kiosk's broker never takes; the kiosk keeps it


@dataclass(frozen=True, slots=True)
class StreamTrouble:
    """Something HR has to know about a stream; kept beside the events.

    With ``passed``, the hash of an event that was refused for good, its number counts as taken.
    """

    kind: TroubleKind
    kiosk: str
    epoch: str
    seq: int
    detail: str
    passed: str | None = None
