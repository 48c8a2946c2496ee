"""What the pipeline and the kiosk need from outside, as protocols of at most four methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from glancein.domain.choice import Question
from glancein.domain.delivery import Answer, Line, Parcel, Slip, Standing
from glancein.domain.person import Enrolment, Outcome, Person, StoredTemplate
from glancein.domain.punches import Punch
from glancein.types import (
    Arrival,
    Body,
    Box,
    Crop,
    Decision,
    Event,
    EventId,
    Face,
    Floats,
    Frame,
    Head,
    Hole,
    LaidAside,
    Moment,
    Picture,
    Pixels,
    SourceFacts,
    StreamKey,
    StreamPosition,
    StreamTrouble,
    Template,
)


class Camera(Protocol):
    """A source of pictures; the newest wins, stale ones are dropped."""

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame not read before; None once a file or folder has ended. Raises CameraError."""

    def close(self) -> None:
        """Let the device go."""


class Source(Protocol):
    """A source whose reads may block, used by one thread for one opening; ``Capture`` makes it a Camera."""

    @property
    def facts(self) -> SourceFacts:
        """Name and pace, known before opening."""

    def open(self) -> None:
        """Take the device or file. Raises CameraError."""

    def read(self) -> Picture | None:
        """The next picture in an array of its own; None at the end of a recording. Raises CameraError."""

    def close(self) -> None:
        """Let go; harmless when never opened."""


class FaceFinder(Protocol):
    """Finds faces with five landmarks."""

    def find(self, pixels: Pixels) -> list[Face]:
        """Faces of one RGB picture (h, w, 3), best score first, the best ones looked at closely."""

    def find_near(self, pixels: Pixels, box: Box) -> list[Face]:
        """The same, looking around the last known face first."""

    def search(self, pixels: Pixels) -> list[Face]:
        """Faces of a scan: small and turned ones too, landmarks from a closer look."""


class Embedder(Protocol):
    """Turns crops into unit vectors."""

    @property
    def model_sha256(self) -> str:
        """Hash of the model file that makes the vectors."""

    def embed(self, crops: Sequence[Crop]) -> Floats:
        """(n, 128) unit rows."""


class People(Protocol):
    """The enrolled people as the kiosk needs them."""

    def version(self) -> int:
        """A number that changes whenever the enrolled people change, whichever process changed them."""

    def templates(self, model_sha256: str) -> list[Template]:
        """Templates made by this model."""

    def name_of(self, person_id: str) -> str | None:
        """The display name, None if the person is not enrolled."""


class Register(Protocol):
    """The enrolled people as enrolment needs them."""

    def templates(self, model_sha256: str) -> list[Template]:
        """Templates made by this model."""

    def people(self) -> list[Person]:
        """Everybody who is enrolled."""

    def replace(self, person_id: str, enrolment: Enrolment, *, at: datetime) -> Outcome:
        """Enrol or re-enrol; the same photo, model and name again changes nothing. Raises InputError."""


class Renewable(Protocol):
    """The enrolled people as a new embedder needs them."""

    def lacking(self, model_sha256: str) -> list[str]:
        """Ids of the people who have no active template of this model."""

    def portrait_of(self, person_id: str) -> StoredTemplate | None:
        """The newest active template, of whichever model, with its crop; None if nobody has that id."""

    def add_template(self, person_id: str, template: StoredTemplate, *, like: StoredTemplate) -> bool:
        """Store another model's template of the portrait ``like``; False if that has been replaced."""


class Models(Protocol):
    """The installed bundles of one kind, as a renewal needs them."""

    def folder(self) -> Path:
        """The bundle in use."""

    def pending(self) -> Path | None:
        """The bundle that waits until everybody has a template of it."""

    def switch(self) -> None:
        """Use the pending bundle from now on."""

    def drop_pending(self) -> None:
        """Forget the pending bundle."""


class Pictures(Protocol):
    """The only way a file from outside becomes pixels."""

    def fetch(self, source: Path | str | bytes) -> tuple[bytes, str]:
        """The bytes of a picture file and the name to call it by. Raises PhotoError."""

    def decode(self, data: bytes, name: str) -> Pixels:
        """Upright RGB (h, w, 3). Raises PhotoError."""


class Ledger(Protocol):
    """The append-only record of punches and its outbox."""

    def record(self, body: Body) -> Event:
        """Write event and outbox row in one transaction. Raises NotRecorded if it was not committed.

        A check-in, a correction of one that is recorded here, or a time fix.
        """

    def last_of(self, person_id: str) -> Punch | None:
        """The person's punch that happened last and counts, as it stands by its corrections."""

    def pending(self, limit: int) -> list[Event]:
        """Oldest events not yet acknowledged."""

    def acknowledge(self, epoch: str, up_to_seq: int) -> int:
        """Take events up to this number out of the outbox; returns how many. Ignores what was never sent."""


class History(Protocol):
    """What the publisher needs of the record beside the outbox; a Ledger on SQLite is both."""

    def position(self) -> StreamPosition:
        """Where the current stream stands and how much waits."""

    def history(self, epoch: str, from_seq: int, limit: int) -> list[Event | Hole]:
        """So many numbers of an epoch from one on, acknowledged or not: events, and holes among them."""

    def renewed(self, epoch: str, first_seq: int, last_seq: int) -> dict[int, int]:
        """Which of these events were recorded anew, and under which numbers."""

    def hash_of(self, epoch: str, seq: int) -> str | None:
        """The hash of one recorded event, None if it is not here."""

    def open_epoch(self, why: str) -> None:
        """Begin a new stream for what is recorded from now on; what waits keeps its name."""


class DeadLetters(Protocol):
    """Events that cannot be delivered as they are, and must not hold up the others."""

    def lay_aside(self, name: EventId, why: str) -> bool:
        """Take a waiting event out of the outbox and keep it for a person; False if it does not wait."""

    def laid_aside(self) -> list[LaidAside]:
        """What was laid aside, oldest first."""

    def send_again(self) -> int:
        """Record all of it anew, under new names, with its corrections; returns how many."""

    def renew(self, epoch: str, first_seq: int, last_seq: int) -> int:
        """Record waiting events of an epoch anew, under new names in another; returns how many.

        For a stream whose numbers mean something else to the consumer. Corrections go with their check-ins.
        """


class Archive(Protocol):
    """What looks back over the record; a Ledger on SQLite is one too."""

    def find(self, name: EventId) -> Event | None:
        """The recorded event of that name, None if it is not here."""

    def between(self, first: datetime, end: datetime, person_id: str | None = None) -> list[Event]:
        """Every event that bears on the check-ins of a span of time, in the order of recording.

        Check-ins from ``first`` on and before ``end``, by the recorded, the fixed or the corrected time;
        their corrections; the time fixes of their boots. ``domain.punches.settle`` makes punches of them.
        Of one person: what is needed for that person's punches, which may be a little more.
        """

    def unfixed(self, boot_id: str) -> Event | None:
        """The latest check-in of that boot with a time nobody could believe and no time fix after it."""


class FeedStore(Protocol):
    """Where a consumer of the feed keeps what it received."""

    def heads(self) -> dict[StreamKey, Head]:
        """The last committed event of every stream."""

    def hash_of(self, key: StreamKey, seq: int) -> str | None:
        """The hash of one committed event, None if it is not here."""

    def commit(self, arrivals: Sequence[Arrival], troubles: Sequence[StreamTrouble]) -> None:
        """Write all of it for good, or nothing; an event that is here already changes nothing."""

    def close(self) -> None:
        """Let the file go."""


class Shelf(Protocol):
    """What a program of somebody's own reads from a feed store; each reader has a bookmark."""

    def after(self, number: int, most: int) -> list[Parcel]:
        """Stored events behind this number, in the order of arrival."""

    def bookmark(self, reader: str) -> int:
        """The number of the last event this reader has done with, 0 if it is new."""

    def set_bookmark(self, reader: str, number: int) -> None:
        """This reader has done with every event up to this number; never goes back."""


class Deliveries(Protocol):
    """What a connector needs of a feed store: where every event stands with it."""

    def enlist(self, line: Line) -> Standing:
        """Take new events into the connector's list, and say how it stands. An unknown one begins."""

    def due(
        self, connector: str, *, now_s: float, most: int, latest_s: float = math.inf, begun: bool = False
    ) -> list[Parcel]:
        """What to hand over now: in order, and nothing that waits behind an earlier event of its lane.

        What waits for a time behind ``latest_s`` is due: a wrong clock set it. ``begun``: only what belongs
        to a batch that was under way.
        """

    def settle(self, connector: str, slips: Sequence[Slip], standing: Standing) -> None:
        """Write down what became of events and how the connector stands, all or nothing."""


class Remote(Protocol):
    """Another HR system. Handing over the same events again must do no harm: a connector may be killed."""

    @property
    def most(self) -> int:
        """How many events it takes at once; of more than one, their first one's ``label`` names the batch."""

    def deliver(self, parcels: Sequence[Parcel]) -> Answer:
        """Hand over; never raises for what the other side says or fails to say."""

    def close(self) -> None:
        """Let go."""


class Publisher(Protocol):
    """The way to HR. Every method returns at once; work goes on in the publisher's own thread."""

    def start(self) -> None:
        """Begin delivering the ledger's outbox."""

    def wake(self) -> None:
        """There is something new in the outbox."""

    def state(self) -> dict[str, object]:
        """What the health page and the state topic show: connected, backlog, last error in words."""

    def stop(self, timeout_s: float) -> None:
        """Publish the offline state and end."""


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> Moment:
        """One reading of every clock."""


class Screen(Protocol):
    """What the person in front sees."""

    def show_recorded(self, event: Event, name: str | None) -> None:
        """Only ever called after the event is committed."""

    def show_refusal(self, reason: str, advice: str) -> None:
        """Why there was no punch and what to do."""

    def show_repeat(self, event: Event, name: str | None) -> None:
        """The person is in their quiet period: ``event`` is the punch that stands."""

    def show_not_recorded(self, why: str) -> None:
        """A punch could not be stored: say so loudly."""


@runtime_checkable
class Panel(Protocol):
    """What a screen that people look into and touch needs besides; every method returns at once."""

    def see(self, frame: Frame, face: Face | None, decision: Decision | None) -> None:
        """What the kiosk made of one frame; ``decision`` is None while nobody is there."""

    def ask_direction(self, question: Question) -> None:
        """The policy leaves the direction to the person."""
