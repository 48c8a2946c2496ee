"""Moments, check-ins and events for the tests, with one thing changed at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from glancein.domain import wire
from glancein.domain.person import Enrolment
from glancein.types import (
    Becomes,
    Body,
    CheckIn,
    ClockTrust,
    Correction,
    Direction,
    Event,
    Floats,
    Moment,
    Voided,
)

EPOCH = "6b1eff0d-ada2-4fe2-ac29-a549dcda56a8"
MODEL = "ab" * 32
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
# By its header 112 x 112 pixels.
TINY_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x70\0\0\0\x70" + b"a picture of a face" * 3


def moment(
    seconds: float = 0.0,
    *,
    boot: str = "boot-1",
    wall: datetime | None = None,
    trust: ClockTrust = ClockTrust.SYNCHRONISED,
) -> Moment:
    """So many seconds after noon, on both clocks; ``wall`` sets the wall clock apart."""
    at = NOON + timedelta(seconds=seconds) if wall is None else wall
    return Moment(at, 1000.0 + seconds, boot, trust)


def check_in(
    person_id: str = "E1",
    *,
    at: Moment | None = None,
    direction: Direction = Direction.IN,
    score_cos: float = 0.6123,
) -> CheckIn:
    """A punch by face."""
    return CheckIn(person_id, direction, at or moment(), score_cos, 0.41, MODEL)


def correction_of(event: Event, becomes: Becomes | None = None, *, at: Moment | None = None) -> Correction:
    """HR says that a check-in was otherwise, or (by default) that it does not count."""
    return Correction(event.id, becomes or Voided(), "by mistake", "hr.lee", at or moment(3600))


def event(seq: int = 1, previous_hash: str = wire.NO_HASH, *, punch: Body | None = None) -> Event:
    """A recorded punch of kiosk hq/door."""
    return Event("hq", "door", EPOCH, seq, previous_hash, punch or check_in())


def chain(count: int) -> list[Event]:
    """Events that continue each other, of as many people."""
    events: list[Event] = []
    previous = wire.NO_HASH
    for seq in range(1, count + 1):
        events.append(event(seq, previous, punch=check_in(f"E{seq}", at=moment(seq))))
        previous = wire.event_hash(events[-1])
    return events


def unit_vector(seed: int = 0) -> Floats:
    """A (128,) float32 vector of length 1."""
    vector = np.random.default_rng(seed).normal(size=128)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def enrolment(
    name: str = "Ada Lovelace", *, seed: int = 0, photo: str = "p1", model: str = MODEL
) -> Enrolment:
    """What one badge photo gives."""
    return Enrolment(name, unit_vector(seed), model, TINY_PNG, photo, {"sharpness": 0.8}, "new hire")
