"""The main job end to end on an embedded default: SQLite file, in-process broker, replayed camera."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

from glancein import wiring
from glancein.adapters.feed_mqtt import Feed, FeedRules
from glancein.adapters.feed_store import SqliteFeedStore
from glancein.domain.advice import ADVICE
from glancein.mqtt.broker_url import parse_broker_url
from glancein.scenes import Scene, film
from glancein.settings import Settings
from glancein.types import Event, Reason
from glancein.wiring import Home

ENROLLED_ID = "E1001"
BADGE_PHOTO = "obama.jpg"
STRANGERS = ("collins.jpg", "biden.jpg")
# The person's other photos, then strangers, then the person once more inside the quiet period.
SCENES = [
    Scene(None, 6),
    Scene("obama2.jpg", 16),
    Scene(None, 13),
    Scene("collins.jpg", 26),
    Scene(None, 13),
    Scene("biden.jpg", 26),
    Scene(None, 13),
    Scene("obama3.jpg", 16),
    Scene(None, 13),
]
FPS = 10.0
DRAIN_S = 20.0


@dataclass(frozen=True, slots=True)
class FeedRow:
    """One punch as HR's feed received it."""

    time: str
    person_id: str
    direction: str
    event_id: str
    score: float


@dataclass(frozen=True, slots=True)
class Result:
    """What happened, and where it was not as promised."""

    rows: list[FeedRow]
    refusals: dict[str, int]
    repeats: int
    failures: list[str]

    def as_json(self) -> dict[str, object]:
        """As plain JSON values."""
        return asdict(self)


class _DemoScreen:
    """Prints what the person in front of the kiosk would see, and counts."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.refusals: dict[str, int] = {}
        self.repeats = 0

    def show_recorded(self, event: Event, name: str | None) -> None:
        """The punch is committed."""
        self._say(f"  kiosk: {name}, {event.check_in.direction} at {event.check_in.moment.wall:%H:%M:%S}")

    def show_refusal(self, reason: str, advice: str) -> None:
        """Nobody was recognised."""
        self.refusals[reason] = self.refusals.get(reason, 0) + 1
        self._say(f"  kiosk: {advice} ({reason})")

    def show_repeat(self, event: Event, name: str | None) -> None:
        """A second look inside the quiet period."""
        self.repeats += 1
        self._say(f"  kiosk: {name}, recorded already at {event.check_in.moment.wall:%H:%M:%S}")

    def show_not_recorded(self, why: str) -> None:
        """A punch could not be stored."""
        self._say(f"  kiosk: NOT RECORDED: {why}")


def play(folder: Path, *, say: Callable[[str], None]) -> Result:
    """Run the demo in an empty folder; ``say`` gets a line for each thing that happens."""
    home = Home(folder, Settings(kiosk="demo", names_in_feed=True))
    _enrol(home, say)
    pictures = folder / "camera"
    pictures.mkdir()
    frames = film(SCENES, pictures)
    say(f"camera: {frames} frames: the person's other photos, then strangers, moved and lit as at a door")
    screen = _DemoScreen(say)
    rows: list[FeedRow] = []
    with wiring.open_stores(home) as stores, closing(SqliteFeedStore(folder / "hr.sqlite")) as hr:
        feedway = wiring.open_feedway(home, stores.ledger, broker=wiring.EMBEDDED, port=0)
        feed = Feed(parse_broker_url(feedway.broker_url), store=hr, rules=FeedRules())
        listener = threading.Thread(target=_listen, args=(feed, rows), name="demo-feed")
        listener.start()
        try:
            camera = wiring.open_camera(f"{pictures}/", fps=FPS)
            kiosk = wiring.open_kiosk(home, stores, camera=camera, screen=screen, feedway=feedway)
            kiosk.run(threading.Event(), drain_s=DRAIN_S)
            backlog = stores.ledger.position().backlog
        finally:
            feed.stop()
            listener.join(DRAIN_S)
            feedway.close()
    return Result(rows, screen.refusals, screen.repeats, _failures(rows, screen, backlog))


def _enrol(home: Home, say: Callable[[str], None]) -> None:
    photo = resources.files("glancein").joinpath("demo_pictures", BADGE_PHOTO).read_bytes()
    with wiring.open_enroller(home) as enroller:
        enrolled = enroller.enrol(photo, person_id=ENROLLED_ID, name="Barack Obama")
    say(f"enrolled {ENROLLED_ID} from one photo, quality {enrolled.quality.overall:.2f}")


def _listen(feed: Feed, rows: list[FeedRow]) -> None:
    for received in feed:
        event, punch = received.event, received.event.check_in
        rows.append(
            FeedRow(
                time=punch.moment.wall.isoformat(timespec="seconds"),
                person_id=punch.person_id,
                direction=str(punch.direction),
                event_id=f"{event.kiosk}/{event.epoch[:8]}/{event.seq}",
                score=round(punch.score_cos, 3),
            )
        )


def _failures(rows: list[FeedRow], screen: _DemoScreen, backlog: int) -> list[str]:
    """Everything that is not as the demo promises."""
    failures = []
    if [row.person_id for row in rows] != [ENROLLED_ID]:
        failures.append(
            f"the feed should hold one check-in of {ENROLLED_ID}, not {[r.person_id for r in rows]}"
        )
    strangers = screen.refusals.get(Reason.UNKNOWN, 0)
    if strangers != len(STRANGERS):
        told = ADVICE[Reason.UNKNOWN]
        failures.append(f"{len(STRANGERS)} strangers should be told '{told}', not {strangers}")
    if screen.repeats != 1:
        failures.append("the second look inside the quiet period should be told so once")
    if backlog:
        failures.append(f"{backlog} events were not acknowledged by the feed")
    return failures
