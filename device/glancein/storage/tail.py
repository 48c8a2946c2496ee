"""A second copy of the events that nobody has acknowledged, in plain files beside the database.

Each file holds frames: length, CRC-32, then one line of JSON: an event as it is in the ledger, or the word
that numbers of an epoch are gone from the outbox for good. A frame is appended after the commit to the
database and synced before the event is shown: so this copy is never ahead of a sound database, and if it is,
the database is an old one. Every process that records has a file of its own, locked while it lives. A file is
deleted once every event in it is gone, except the newest, which also says how far the stream has come. What a
deleted file said to be gone of a file that stays is said again.
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import struct
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from glancein.domain import wire
from glancein.domain.event_body import EPOCH
from glancein.domain.strict_json import canonical, matching, parse_object, whole
from glancein.errors import FeedError
from glancein.types import Event

log = logging.getLogger(__name__)

FRAME = struct.Struct("<II")  # length and CRC-32 of what follows
FILE_BYTES = 1_000_000  # then the next file begins; about 1,300 events
LARGEST_FRAME = 1 << 20
BEYOND_ALL = (1 << 63) - 1  # no row of the database has so high a number


@dataclass(frozen=True, slots=True)
class Gone:
    """These numbers of an epoch have left the outbox for good."""

    epoch: str
    first: int
    last: int


@dataclass(slots=True)
class Memory:
    """What the files say as a whole: how far each epoch goes, its last event that is here, what is gone."""

    highest: dict[str, int] = field(default_factory=dict)
    last: dict[str, Event] = field(default_factory=dict)
    gone: list[Gone] = field(default_factory=list)
    is_damaged: bool = False

    def take(self, said: Event | Gone) -> None:
        """Add one line of a file."""
        seq = said.last if isinstance(said, Gone) else said.seq
        self.highest[said.epoch] = max(seq, self.highest.get(said.epoch, 0))
        if isinstance(said, Gone):
            _merge(self.gone, said)
        elif said.epoch not in self.last or said.seq >= self.last[said.epoch].seq:
            self.last[said.epoch] = said

    def waits(self, event: Event) -> bool:
        """True unless the event is gone."""
        return not any(g.epoch == event.epoch and g.first <= event.seq <= g.last for g in self.gone)


@dataclass(slots=True)
class _Holds:
    """What waited in a file when it was read or written: the numbers in the database; and all its epochs."""

    first: int = BEYOND_ALL
    last: int = 0
    epochs: set[str] = field(default_factory=set)


class Tail:
    """The files of one database; used by one thread at a time. Raises OSError where the disk fails."""

    def __init__(self, database: Path, *, file_bytes: int = FILE_BYTES) -> None:
        self._stem = f"{database.name}.tail-"
        self._folder = database.parent
        self._file_bytes = file_bytes
        self._holds: dict[Path, _Holds] = {}  # but for what another process may be writing
        self._path: Path | None = None
        self._descriptor = -1
        self._size = 0

    def remember(self) -> Memory:
        """Read everything once; what is torn or damaged is passed over."""
        memory = Memory()
        for path in self._paths():
            for said in _said(path, memory):
                memory.take(said)
        return memory

    def waiting(self, memory: Memory) -> Iterator[tuple[Path, Event]]:
        """Every event that is not gone, file by file."""
        for path in self._paths():
            holds = self._holds.setdefault(path, _Holds()) if _is_free(path) else _Holds()
            for said in _said(path, memory):
                if isinstance(said, Event):
                    holds.epochs.add(said.epoch)
                    if memory.waits(said):
                        yield path, said

    def place(self, path: Path, number: int) -> None:
        """An event of that file has this number in the database."""
        if (holds := self._holds.get(path)) is not None:
            holds.first, holds.last = min(number, holds.first), max(number, holds.last)

    def append(self, events: Iterable[tuple[Event, int]]) -> None:
        """Add events with their numbers in the database, and sync once. Raises OSError."""
        try:
            for event, number in events:
                path = self._write(wire.encode_event(event))
                self._holds[path].epochs.add(event.epoch)
                self.place(path, number)
            if self._descriptor >= 0:
                os.fdatasync(self._descriptor)
        except OSError:
            self.close()  # after a failed sync nobody knows what of the last frames is on the disk
            raise

    def note(self, gone: Iterable[Gone]) -> None:
        """Write down what left the outbox. Raises OSError.

        Not synced: a note that a power cut takes away only means that these events are sent once more.
        """
        for span in gone:
            self._write(canonical({"gone": span.epoch, "first": span.first, "last": span.last}))

    def done(self, waits: Callable[[int, int], bool]) -> list[Path]:
        """Files that can go; ``waits`` says whether anything between two numbers must be kept."""
        return [
            path
            for path in self._paths()[:-1]
            if path != self._path and not waits(*self._numbers(path)) and _is_free(path)
        ]

    def epochs_without(self, done: Collection[Path]) -> set[str]:
        """The epochs of the events in all other files."""
        return {epoch for path, holds in self._holds.items() if path not in done for epoch in holds.epochs}

    def delete(self, done: Iterable[Path]) -> None:
        """Let these files go. Raises OSError."""
        for path in done:
            path.unlink(missing_ok=True)
            self._holds.pop(path, None)

    def close(self) -> None:
        """Let the file go; the next word begins a new one."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._path = -1, None

    def _numbers(self, path: Path) -> tuple[int, int]:
        holds = self._holds.get(path)
        return (0, BEYOND_ALL) if holds is None else (holds.first, holds.last)

    def _paths(self) -> list[Path]:
        """The files, oldest first; what somebody else put beside them, such as a copy, is none of them."""
        found = sorted(self._folder.glob(f"{self._stem}*"))
        return [path for path in found if path.name.removeprefix(self._stem).isdecimal()]

    def _write(self, line: bytes) -> Path:
        if self._path is None or self._size > self._file_bytes:
            self._path = self._begin_file()
        frame = FRAME.pack(len(line), zlib.crc32(line)) + line
        written = os.pwrite(self._descriptor, frame, self._size)
        if written != len(frame):  # the next attempt writes over the torn one
            raise OSError(28, "No space left on device")
        self._size += written
        return self._path

    def _begin_file(self) -> Path:
        if self._descriptor >= 0:
            os.fdatasync(self._descriptor)
            self.close()
        paths = self._paths()
        number = int(paths[-1].name.removeprefix(self._stem)) + 1 if paths else 1
        while True:
            path = self._folder / f"{self._stem}{number:08}"
            try:
                self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:  # another process was faster
                number += 1
            else:
                break
        self._size = 0
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._holds[path] = _Holds()
        return path


def spans_without(epoch: str, last: int, kept: Sequence[int]) -> list[Gone]:
    """The numbers of an epoch up to the last one, but for those that are kept (in ascending order)."""
    edges = [0, *kept, last + 1]
    pairs = itertools.pairwise(edges)
    return [Gone(epoch, below + 1, above - 1) for below, above in pairs if above - below > 1]


def _is_free(path: Path) -> bool:
    """True if no living process writes to the file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _merge(spans: list[Gone], new: Gone) -> None:
    """Acknowledgements continue each other: a long list of them becomes a few spans."""
    for place, span in enumerate(spans):
        if span.epoch == new.epoch and new.first <= span.last + 1 and new.last >= span.first - 1:
            spans[place] = Gone(span.epoch, min(span.first, new.first), max(span.last, new.last))
            return
    spans.append(new)


def _said(path: Path, memory: Memory) -> Iterator[Event | Gone]:
    for line in _lines(path, memory):
        try:
            fields = parse_object(line)
            if "gone" in fields:
                first, last = whole(fields, "first", low=1), whole(fields, "last", low=1)
                yield Gone(matching(fields, "gone", EPOCH), first, last)
            else:
                yield wire.decode_event(line)
        except FeedError as err:  # another version wrote it
            memory.is_damaged = True
            log.warning("%s holds a line that cannot be read: %s", path.name, err)


def _lines(path: Path, memory: Memory) -> Iterator[bytes]:
    """Every whole frame; behind a damaged one the next whole one is looked for."""
    try:
        content = path.read_bytes()
    except OSError:
        memory.is_damaged = True
        return
    place = 0
    while place + FRAME.size <= len(content):
        line = _line_at(content, place)
        if line is None:
            memory.is_damaged = True
            place = _next_frame(content, place + 1)
            continue
        yield line
        place += FRAME.size + len(line)


def _line_at(content: bytes, place: int) -> bytes | None:
    length, check = FRAME.unpack_from(content, place)
    if not 0 < length <= min(LARGEST_FRAME, len(content) - place - FRAME.size):
        return None
    line = content[place + FRAME.size : place + FRAME.size + length]
    return line if zlib.crc32(line) == check else None


def _next_frame(content: bytes, place: int) -> int:
    """Where the next whole frame begins: every line is a JSON object and begins with a brace."""
    while (brace := content.find(b"{", place + FRAME.size)) >= 0:
        if _line_at(content, brace - FRAME.size) is not None:
            return brace - FRAME.size
        place = brace - FRAME.size + 1
    return len(content)
