"""Events for a program of somebody's own: stored first, handed out, and handed out again until committed."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from glancein.adapters import feed_mqtt
from glancein.adapters.feed_mqtt import FeedRules, Received
from glancein.domain.delivery import Parcel, Punch
from glancein.domain.intake import Counts
from glancein.errors import InputError
from glancein.mqtt.broker_url import parse_broker_url
from glancein.mqtt.link import Connection, Greeting, open_link
from glancein.types import CheckIn, Event

if TYPE_CHECKING:
    from glancein.mqtt.broker_url import BrokerUrl
    from glancein.storage.feed_tables import FeedTables

POSTGRES = ("postgresql://", "postgres://")
LOOK_EVERY_S = 1.0  # how often a store that another program fills is looked at
AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One event of the feed.

    ``event`` is what the kiosk said, ``payload`` the bytes it said it in. ``punch`` is what payroll counts:
    person, direction and time after time fixes and corrections known so far; None for a voided check-in and
    for corrections and time fixes themselves. ``commit`` says that you are done with this event and all
    before it.
    """

    event: Event
    payload: bytes
    punch: Punch | None
    commit: Callable[[], None]

    @property
    def id(self) -> str:
        """The event's name as one word: kiosk/epoch/number. De-duplicate on it."""
        return self.event.id.word


class Feed:
    """Events in order and once each: ``for event in Feed("mqtts://broker", store="feed.db"): ...``.

    ``store`` is a SQLite file, a ``postgresql://`` address, or an opened store. With it, every event is
    committed there and acknowledged to the kiosk before you see it, gaps are asked for, forks and forgeries
    noted; what you did not ``commit`` comes again at the next start, for each ``consumer`` separately.
    Without a store, ``commit`` itself is what tells the kiosk that it may forget.
    ``broker`` None: only the store is read, which ``glancein feed`` or another program fills.
    Raises SettingsError, StoreError and, unless following, FeedError.
    """

    def __init__(
        self,
        broker: str | None,
        *,
        store: str | Path | FeedTables | None = None,
        rules: FeedRules | None = None,
        on_error: Callable[[str], None] | None = None,
        connect: Callable[[BrokerUrl, Greeting], Connection] = open_link,
    ) -> None:
        if broker is None and store is None:
            raise InputError("a feed needs a broker to listen to, a store to read, or both")
        self._rules = rules or FeedRules()
        self._reader = self._rules.consumer
        self._stopping = threading.Event()
        self._owned = isinstance(store, str | Path)
        self.store = open_store(store) if isinstance(store, str | Path) else store
        self._source: feed_mqtt.Feed | None = None
        if broker is not None:
            try:
                self._source = feed_mqtt.Feed(
                    parse_broker_url(broker),
                    store=self.store,
                    rules=self._rules,
                    connect=connect,
                    on_error=on_error,
                )
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[FeedEvent]:
        """Events as they come, until stopped or, without ``follow`` in the rules, until it is quiet."""
        if self.store is None:
            yield from map(_straight_on, self._source or ())
            return
        position = self.store.bookmark(self._reader)
        for _ in self._ticks():
            while parcels := self.store.after(position, AT_ONCE):
                for parcel in parcels:
                    position = parcel.number
                    yield self._from_shelf(self.store, parcel)
                    if self._stopping.is_set():
                        return

    @property
    def counts(self) -> Counts:
        """What came in so far: new, repeated, gaps, and what was wrong by kind."""
        return Counts() if self._source is None else self._source.counts

    def stop(self) -> None:
        """End the iteration soon; may be called from any thread or a signal handler."""
        self._stopping.set()
        if self._source is not None:
            self._source.stop()

    def close(self) -> None:
        """Let the store go, if it was opened here."""
        if self._owned and self.store is not None:
            self.store.close()

    def _ticks(self) -> Iterator[None]:
        """Whenever there may be something new in the store: at once, then as it comes, and at the end."""
        yield
        if self._source is not None:
            for _ in self._source:
                yield
            yield
            return
        while self._rules.follow and not self._stopping.wait(LOOK_EVERY_S):
            yield

    def _from_shelf(self, store: FeedTables, parcel: Parcel) -> FeedEvent:
        def commit() -> None:
            store.set_bookmark(self._reader, parcel.number)

        return FeedEvent(parcel.event, parcel.payload, parcel.punch, commit)


def open_store(word: str | Path) -> FeedTables:
    """The store at that address: a ``postgresql://`` one, or else a SQLite file.

    Raises InputError where PostgreSQL's driver is not installed, StoreError where it cannot be opened.
    """
    if isinstance(word, str) and (word.startswith(POSTGRES) or "=" in word.split("/", maxsplit=1)[0]):
        with contextlib.suppress(ImportError):
            from glancein.adapters.feed_postgres import PostgresFeedStore  # noqa: PLC0415  # an extra

            return PostgresFeedStore(word)
        raise InputError("PostgreSQL needs its driver: pip install 'glancein[postgres]'")
    from glancein.adapters.feed_store import SqliteFeedStore  # noqa: PLC0415  # loads sqlite-utils

    return SqliteFeedStore(Path(word))


def _straight_on(received: Received) -> FeedEvent:
    body = received.event.body
    punch = None
    if isinstance(body, CheckIn):
        punch = Punch(body.person_id, body.direction, body.moment.wall, "recorded")
    return FeedEvent(received.event, received.arrival.payload, punch, received.commit)
